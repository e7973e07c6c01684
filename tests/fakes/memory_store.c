#include "tests/fakes/memory_store.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct memory_store *self(struct store *s)
{
    return (struct memory_store *)(void *)s;
}

static cygnet_status begin(struct memory_store *fake, const char *what, cygnet_error *err)
{
    int n = ++fake->n_ops;

    if (n == fake->fail_at)
        return fail(err, fake->fail_with, 0, "fake store: %s fails", what);
    if (fake->dies_after > 0 && n > fake->dies_after)
        return fail(err, CYGNET_ESTORAGE, 0, "fake store: dead at %s", what);
    return CYGNET_OK;
}

struct memory_file *memory_store_find(struct memory_store *fake, const char *name)
{
    for (size_t i = 0; i < MEMORY_STORE_FILES; i++)
        if (fake->files[i].data && strcmp(fake->files[i].name, name) == 0)
            return &fake->files[i];
    return NULL;
}

static void put(struct memory_store *fake, const char *name, const void *data, size_t len)
{
    struct memory_file *file = memory_store_find(fake, name);

    for (size_t i = 0; !file && i < MEMORY_STORE_FILES; i++)
        if (!fake->files[i].data)
            file = &fake->files[i];
    if (!file)
        abort();
    free(file->data);
    file->data = malloc(len + 1);
    if (!file->data)
        abort();
    memcpy(file->data, data, len);
    file->len = len;
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
}

static cygnet_status read_file(struct store *s, struct bytes *out, const char *name,
                               cygnet_error *err)
{
    cygnet_status st = begin(self(s), "read", err);
    struct memory_file *file = memory_store_find(self(s), name);

    if (st != CYGNET_OK)
        return st;
    if (!file)
        return fail(err, CYGNET_ENOTFOUND, 0, "fake store: no \"%s\"", name);
    return bytes_append(out, file->data, file->len, err);
}

static cygnet_status replace(struct store *s, const char *name, const void *data,
                             size_t len, cygnet_error *err)
{
    cygnet_status st = begin(self(s), "replace", err);

    if (st == CYGNET_OK)
        put(self(s), name, data, len);
    return st;
}

static cygnet_status remove_file(struct store *s, const char *name, cygnet_error *err)
{
    cygnet_status st = begin(self(s), "remove", err);
    struct memory_file *file = memory_store_find(self(s), name);

    if (st == CYGNET_OK && file) {
        free(file->data);
        memset(file, 0, sizeof(*file));
    }
    return st;
}

static cygnet_status size_of(struct store *s, uint64_t *out, const char *name,
                             cygnet_error *err)
{
    cygnet_status st = begin(self(s), "size", err);
    struct memory_file *file = memory_store_find(self(s), name);

    if (st != CYGNET_OK)
        return st;
    if (!file)
        return fail(err, CYGNET_ENOTFOUND, 0, "fake store: no \"%s\"", name);
    *out = file->len;
    return CYGNET_OK;
}

static const struct store_ops ops = {
    .read = read_file,
    .replace = replace,
    .remove = remove_file,
    .size = size_of,
};

void memory_store_init(struct memory_store *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->store.ops = &ops;
    fake->fail_with = CYGNET_ESTORAGE;
}

void memory_store_clear(struct memory_store *fake)
{
    for (size_t i = 0; i < MEMORY_STORE_FILES; i++)
        free(fake->files[i].data);
    memset(fake->files, 0, sizeof(fake->files));
}

void memory_store_copy(struct memory_store *to, const struct memory_store *from)
{
    memory_store_clear(to);
    memory_store_init(to);
    for (size_t i = 0; i < MEMORY_STORE_FILES; i++)
        if (from->files[i].data)
            put(to, from->files[i].name, from->files[i].data, from->files[i].len);
}
