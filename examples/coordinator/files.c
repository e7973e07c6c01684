/* See files.h. */
#include "files.h"

#include "../common/complain.h"
#include "hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static cygnet_status broken(const char *what, const char *path, cygnet_error *err)
{
    int number = errno;

    return complain(err, status_of_errno(number), number, "%s %s: %s", what, path,
                    strerror(number));
}

static cygnet_status make_folder(const char *path, cygnet_error *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return broken("cannot create", path, err);
    return CYGNET_OK;
}

static cygnet_status take_lock(struct files *f, cygnet_error *err)
{
    char path[FILES_PATH_MAX];

    snprintf(path, sizeof path, "%s/lock", f->root);
    f->lock_fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (f->lock_fd < 0)
        return broken("cannot open", path, err);
    if (flock(f->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return broken("cannot lock", path, err);
        return complain(err, CYGNET_EBUSY, 0,
                        "another coordinator uses the state directory %s", f->root);
    }
    return CYGNET_OK;
}

cygnet_status files_open(struct files *f, const char *root, cygnet_error *err)
{
    char path[FILES_PATH_MAX];
    cygnet_status st;

    f->lock_fd = -1;
    if (strlen(root) >= sizeof f->root)
        return complain(err, CYGNET_ELIMIT, 0, "--state-dir: the path is too long");
    memcpy(f->root, root, strlen(root) + 1);
    st = make_folder(root, err);
    if (st == CYGNET_OK)
        st = take_lock(f, err);
    snprintf(path, sizeof path, "%s/blobs", f->root);
    if (st == CYGNET_OK)
        st = make_folder(path, err);
    snprintf(path, sizeof path, "%s/updates", f->root);
    if (st == CYGNET_OK)
        st = make_folder(path, err);
    if (st != CYGNET_OK)
        files_close(f);
    return st;
}

void files_close(struct files *f)
{
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    f->lock_fd = -1;
}

void files_db_path(char path[FILES_PATH_MAX], const struct files *f)
{
    snprintf(path, FILES_PATH_MAX, "%s/coordinator.db", f->root);
}

void files_blob_path(char path[FILES_PATH_MAX], const struct files *f, const char *hex)
{
    snprintf(path, FILES_PATH_MAX, "%s/blobs/%.64s", f->root, hex);
}

void files_update_path(char path[FILES_PATH_MAX], const struct files *f,
                       const char *token, const char *hex)
{
    snprintf(path, FILES_PATH_MAX, "%s/updates/%.64s.%.64s", f->root, token, hex);
}

static int write_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

/* A rename is durable once its directory is. */
static int sync_folder_of(const char *path)
{
    char folder[FILES_PATH_MAX];
    const char *slash = strrchr(path, '/');
    int fd;
    int result;

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1,
             slash ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    result = fsync(fd);
    close(fd);
    return result;
}

/* Two threads may save the same path at once, so each has its own file. */
static unsigned next_serial(void)
{
    static atomic_uint serial;

    return atomic_fetch_add(&serial, 1);
}

cygnet_status files_save(const char *path, const void *data, size_t len,
                         cygnet_error *err)
{
    char temporary[FILES_PATH_MAX + 32];
    cygnet_status st = CYGNET_OK;
    int fd;

    snprintf(temporary, sizeof temporary, "%s.%u.tmp", path, next_serial());
    fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return broken("cannot create", temporary, err);
    if (write_all(fd, data, len) != 0)
        st = broken("cannot write", temporary, err);
    if (close(fd) != 0 && st == CYGNET_OK)
        st = broken("cannot close", temporary, err);
    if (st == CYGNET_OK && rename(temporary, path) != 0)
        st = broken("cannot replace", path, err);
    if (st == CYGNET_OK && sync_folder_of(path) != 0)
        st = broken("cannot sync the folder of", path, err);
    if (st != CYGNET_OK)
        unlink(temporary);
    return st;
}

static cygnet_status read_open(void **out, size_t *len, FILE *file, const char *path,
                               size_t max, cygnet_error *err)
{
    struct stat info;
    size_t size;

    if (fstat(fileno(file), &info) != 0)
        return broken("cannot read", path, err);
    if (info.st_size < 0 || (uint64_t)info.st_size > max)
        return complain(err, CYGNET_ELIMIT, 0, "%s is larger than %zu bytes", path, max);
    size = (size_t)info.st_size;
    *out = malloc(size ? size : 1);
    if (!*out)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for %s", path);
    *len = fread(*out, 1, size, file);
    if (*len != size)
        return complain(err, CYGNET_ESTORAGE, 0, "%s is shorter than it was", path);
    return CYGNET_OK;
}

cygnet_status files_read(void **out, size_t *len, const char *path, size_t max,
                         cygnet_error *err)
{
    FILE *file = fopen(path, "rbe");
    cygnet_status st;

    *out = NULL;
    if (!file)
        return broken("cannot open", path, err);
    st = read_open(out, len, file, path, max, err);
    if (st != CYGNET_OK) {
        free(*out);
        *out = NULL;
    }
    fclose(file);
    return st;
}

cygnet_status files_read_named(void **out, size_t *len, const char *path, size_t max,
                               cygnet_error *err)
{
    uint8_t digest[HASH_BYTES];
    char hex[HASH_HEX + 1];
    size_t path_len = strlen(path);
    cygnet_status st = files_read(out, len, path, max, err);

    if (st != CYGNET_OK)
        return st;
    hash_bytes(digest, *out, *len);
    hash_hex(hex, digest);
    if (path_len > HASH_HEX && strcmp(path + path_len - HASH_HEX, hex) == 0)
        return CYGNET_OK;
    free(*out);
    *out = NULL;
    return complain(err, CYGNET_EHASH, 0, "%s is damaged: its name says another SHA-256",
                    path);
}

static DIR *open_folder(const struct files *f, const char *folder)
{
    char path[FILES_PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", f->root, folder);
    return opendir(path);
}

void files_list_unwanted(struct unwanted *out, const struct files *f, const char *folder,
                         int (*keep)(const char *name, void *user), void *user)
{
    DIR *dir = open_folder(f, folder);
    const struct dirent *entry;

    *out = (struct unwanted){malloc(FILES_UNWANTED_MAX * sizeof *out->names), 0};
    while (dir && out->names && out->n < FILES_UNWANTED_MAX &&
           (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && len <= FILES_NAME_MAX &&
            !keep(entry->d_name, user))
            memcpy(out->names[out->n++], entry->d_name, len + 1);
    }
    if (dir)
        closedir(dir);
}

void files_remove(struct unwanted *list, const struct files *f, const char *folder)
{
    DIR *dir = list->n ? open_folder(f, folder) : NULL;

    for (size_t i = 0; dir && i < list->n; i++)
        unlinkat(dirfd(dir), list->names[i], 0);
    if (dir)
        closedir(dir);
    free(list->names);
    list->names = NULL;
}
