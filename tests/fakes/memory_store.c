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
    file->used = ++fake->n_turns;
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

/* A streamed file: its content until it is committed. */
struct stream {
    struct store_file file;
    char name[201];
    struct bytes content;
};

static cygnet_status create(struct store *s, struct store_file **out, const char *name,
                            cygnet_error *err)
{
    cygnet_status st = begin(self(s), "create", err);
    struct stream *stream;

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    stream = calloc(1, sizeof(*stream));
    if (!stream)
        abort();
    stream->file.store = s;
    (void)snprintf(stream->name, sizeof(stream->name), "%s", name);
    bytes_init(&stream->content, SIZE_MAX, NULL);
    *out = &stream->file;
    return CYGNET_OK;
}

static cygnet_status write_stream(struct store_file *f, const void *data, size_t len,
                                  cygnet_error *err)
{
    struct stream *stream = (struct stream *)(void *)f;
    cygnet_status st = begin(self(f->store), "write", err);

    return st == CYGNET_OK ? bytes_append(&stream->content, data, len, err) : st;
}

static void abandon(struct store_file *f)
{
    struct stream *stream = (struct stream *)(void *)f;

    bytes_clear(&stream->content);
    free(stream);
}

static cygnet_status commit(struct store_file *f, cygnet_error *err)
{
    struct stream *stream = (struct stream *)(void *)f;
    cygnet_status st = begin(self(f->store), "commit", err);

    if (st == CYGNET_OK)
        put(self(f->store), stream->name, bytes_text(&stream->content),
            stream->content.len);
    abandon(f);
    return st;
}

/* The name behind "folder/" when the file lies directly there, else NULL. */
static const char *name_in(const char *folder, const char *name)
{
    size_t len = strlen(folder);

    if (len > 0 && (strncmp(name, folder, len) != 0 || name[len] != '/'))
        return NULL;
    name += len > 0 ? len + 1 : 0;
    return strchr(name, '/') ? NULL : name;
}

static cygnet_status list(struct store *s, const char *folder,
                          cygnet_status (*each)(const char *name, void *user), void *user,
                          cygnet_error *err)
{
    struct memory_store *fake = self(s);
    cygnet_status st = begin(fake, "list", err);

    for (size_t i = 0; i < MEMORY_STORE_FILES && st == CYGNET_OK; i++) {
        const char *name =
            fake->files[i].data ? name_in(folder, fake->files[i].name) : NULL;

        if (name)
            st = each(name, user);
    }
    return st;
}

static void touch(struct store *s, const char *name)
{
    struct memory_file *file = memory_store_find(self(s), name);

    if (file)
        file->used = ++self(s)->n_turns;
}

static cygnet_status age(struct store *s, int64_t *out, const char *name,
                         cygnet_error *err)
{
    cygnet_status st = begin(self(s), "age", err);
    struct memory_file *file = memory_store_find(self(s), name);

    if (st != CYGNET_OK)
        return st;
    if (!file)
        return fail(err, CYGNET_ENOTFOUND, 0, "fake store: no \"%s\"", name);
    *out = file->used;
    return CYGNET_OK;
}

/* Its owner has it: memory_store_clear frees. */
static void destroy(struct store *s)
{
    (void)s;
}

static const struct store_ops ops = {
    .read = read_file,
    .replace = replace,
    .remove = remove_file,
    .create = create,
    .write = write_stream,
    .commit = commit,
    .abandon = abandon,
    .size = size_of,
    .list = list,
    .touch = touch,
    .age = age,
    .destroy = destroy,
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
