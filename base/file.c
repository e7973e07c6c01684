/* Atomic, durable files: temporary file, fsync, rename, fsync of the folder. */
#include "base/file.h"

#include "base/error.h"
#include "base/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 65536
#define MAX_TRIES 16 /* a cleaner comes by once, when a store is opened */

int file_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* no progress and no reason: not worth a loop */
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Writes the folder of path, "." when it has none. */
static int folder_of(char *folder, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;

    if (strlen(path) >= FILE_PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (!slash)
        (void)snprintf(folder, FILE_PATH_MAX, ".");
    else if (len == 0)
        (void)snprintf(folder, FILE_PATH_MAX, "/");
    else
        (void)snprintf(folder, FILE_PATH_MAX, "%.*s", (int)len, path);
    return 0;
}

/* The lock says that the file is being written. True unless a cleaner took the file
 * for a left-over between its making and its locking. */
static bool keep(int fd)
{
    struct stat about;

    /* Best effort: where locks fail, no crash's left-overs are removed either. */
    (void)flock(fd, LOCK_EX);
    return fstat(fd, &about) != 0 || about.st_nlink > 0;
}

int file_open_temporary(char *tmp, const char *path)
{
    char folder[FILE_PATH_MAX];

    if (folder_of(folder, path) != 0)
        return -1;
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        int n =
            snprintf(tmp, FILE_PATH_MAX, "%s/" FILE_TEMPORARY_PREFIX "XXXXXX", folder);
        int fd;

        if (n < 0 || n >= FILE_PATH_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = mkostemp(tmp, O_CLOEXEC);
        if (fd < 0 || keep(fd))
            return fd;
        (void)close(fd);
    }
    errno = EAGAIN;
    return -1;
}

int file_sync_folder(const char *path)
{
    char folder[FILE_PATH_MAX];
    int fd;
    int result;

    if (folder_of(folder, path) != 0)
        return -1;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    result = fsync(fd);
    (void)close(fd);
    return result;
}

/* Closed last: until it has its name the lock says that it is not a left-over. */
int file_publish(int fd, const char *tmp, const char *path)
{
    int saved;
    int result = fsync(fd);

    if (result == 0)
        result = rename(tmp, path);
    saved = errno;
    if (result != 0)
        (void)unlink(tmp);
    if (close(fd) != 0 && result == 0) {
        result = -1;
        saved = errno;
    }
    if (result != 0) {
        errno = saved;
        return -1;
    }
    return file_sync_folder(path);
}

int file_make_folders(const char *path)
{
    char part[FILE_PATH_MAX];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(part)) {
        errno = len ? ENAMETOOLONG : ENOENT;
        return -1;
    }
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        part[i] = 0;
        if (mkdir(part, 0700) == 0)
            (void)file_sync_folder(part); /* the new entry itself must survive too */
        else if (errno != EEXIST)
            return -1;
        part[i] = path[i];
    }
    return 0;
}

cygnet_status file_failed(const char *path, const char *what, cygnet_error *err)
{
    int number = errno;
    cygnet_status st = status_of_errno(number);

    /* Where something is to be written, a folder that is gone is a fault. */
    return fail(err, st == CYGNET_ENOTFOUND ? CYGNET_ESTORAGE : st, number,
                "%.160s: cannot %s: %s", path, what, strerror(number));
}

cygnet_status file_replace_by(const char *path, int (*write)(int fd, const void *content),
                              const void *content, cygnet_error *err)
{
    char tmp[FILE_PATH_MAX];
    int fd = file_open_temporary(tmp, path);

    if (fd < 0)
        return file_failed(path, "create", err);
    if (write(fd, content) != 0) {
        cygnet_status st = file_failed(path, "write", err);

        (void)close(fd);
        (void)unlink(tmp);
        return st;
    }
    if (file_publish(fd, tmp, path) != 0)
        return file_failed(path, "make durable", err);
    return CYGNET_OK;
}

struct span {
    const void *data;
    size_t len;
};

static int write_span(int fd, const void *content)
{
    const struct span *span = content;

    return file_write_all(fd, span->data, span->len);
}

cygnet_status file_replace(const char *path, const void *data, size_t len,
                           cygnet_error *err)
{
    const struct span span = {data, len};

    return file_replace_by(path, write_span, &span, err);
}

static cygnet_status read_all(struct bytes *out, int fd, const char *path,
                              cygnet_error *err)
{
    for (;;) {
        size_t left = out->max - out->len;
        size_t step = left < READ_STEP ? left + (left == 0) : READ_STEP;
        uint8_t *to;
        ssize_t n;
        cygnet_status st = bytes_reserve(&to, out, step, err);

        if (st != CYGNET_OK)
            return fail_within(err, st, "%.160s", path);
        n = read(fd, to, step);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_failed(path, "read", err);
        if (n == 0)
            return CYGNET_OK;
        out->len += (size_t)n;
    }
}

/* Refuses what is too large before reading it, and reserves what is known. */
static cygnet_status prepare_read(struct bytes *out, int fd, const char *path,
                                  cygnet_error *err)
{
    struct stat about;
    uint8_t *to;
    cygnet_status st;

    if (fstat(fd, &about) != 0)
        return file_failed(path, "read", err);
    if (S_ISDIR(about.st_mode))
        return fail(err, CYGNET_ESTORAGE, EISDIR, "%.160s: is a folder", path);
    if (about.st_size < 0 || !S_ISREG(about.st_mode))
        return CYGNET_OK;
    st = bytes_reserve(&to, out, (size_t)about.st_size, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "%.160s", path);
}

/* At the limit exactly one more byte must still be asked for, to see the end. */
static cygnet_status read_to_end(struct bytes *out, int fd, const char *path,
                                 cygnet_error *err)
{
    size_t max = out->max;
    cygnet_status st;

    if (max < SIZE_MAX)
        out->max++;
    st = read_all(out, fd, path, err);
    out->max = max;
    if (st == CYGNET_OK && out->len > max)
        st = fail(err, CYGNET_ELIMIT, 0, "%.160s: more than the limit of %zu bytes", path,
                  max);
    return st;
}

cygnet_status file_read(struct bytes *out, const char *path, cygnet_error *err)
{
    size_t before = out->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cygnet_status st;

    if (fd < 0)
        return fail(err, status_of_errno(errno), errno, "%.160s: cannot open: %s", path,
                    strerror(errno));
    st = prepare_read(out, fd, path, err);
    if (st == CYGNET_OK)
        st = read_to_end(out, fd, path, err);
    (void)close(fd);
    if (st != CYGNET_OK)
        out->len = before;
    return st;
}
