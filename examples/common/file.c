/* Files read and replaced whole. */
#include "file.h"
#include "complain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static cygnet_status file_failed(cygnet_error *err, const char *path, const char *what)
{
    int number = errno;

    return complain(err, status_of_errno(number), number, "%s: %s: %s", path, what,
                    strerror(number));
}

cygnet_status file_path(char out[FILE_MAX_PATH], const char *folder, const char *name,
                        cygnet_error *err)
{
    int n = snprintf(out, FILE_MAX_PATH, "%s/%s", folder, name);

    if (n < 0 || n >= FILE_MAX_PATH)
        return complain(err, CYGNET_EINVAL, 0, "a path in %.64s... is too long", folder);
    return CYGNET_OK;
}

static cygnet_status read_all(uint8_t *out, size_t *len, int fd, const char *path,
                              cygnet_error *err)
{
    size_t done = 0;

    while (done < *len) {
        ssize_t n = read(fd, out + done, *len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_failed(err, path, "cannot be read");
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *len = done;
    out[done] = 0;
    return CYGNET_OK;
}

static cygnet_status read_open(uint8_t **out, size_t *out_len, int fd, const char *path,
                               size_t max, cygnet_error *err)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return file_failed(err, path, "cannot be read");
    if (!S_ISREG(info.st_mode))
        return complain(err, CYGNET_ESTORAGE, 0, "%s: is not a regular file", path);
    if ((uint64_t)info.st_size > max)
        return complain(err, CYGNET_ELIMIT, 0, "%s: %lld bytes are more than %zu", path,
                        (long long)info.st_size, max);
    *out_len = (size_t)info.st_size;
    *out = malloc(*out_len + 1);
    if (!*out)
        return complain(err, CYGNET_ENOMEM, 0, "%s: no memory for %zu bytes", path,
                        *out_len);
    return read_all(*out, out_len, fd, path, err);
}

cygnet_status file_read(uint8_t **out, size_t *out_len, const char *path, size_t max,
                        cygnet_error *err)
{
    /* a FIFO must be refused, not waited for */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cygnet_status st;

    *out = NULL;
    *out_len = 0;
    if (fd < 0)
        return file_failed(err, path, "cannot be opened");
    st = read_open(out, out_len, fd, path, max, err);
    close(fd);
    if (st != CYGNET_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

cygnet_status file_write(const char *path, const void *data, size_t len, unsigned mode,
                         cygnet_error *err)
{
    char temporary[FILE_MAX_PATH];
    cygnet_status st = CYGNET_OK;
    int fd;

    if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
        return complain(err, CYGNET_EINVAL, 0, "the path %.64s... is too long", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
    if (fd < 0)
        return file_failed(err, path, "cannot be created");
    if (write_all(fd, data, len) != 0)
        st = file_failed(err, path, "cannot be written");
    if (close(fd) != 0 && st == CYGNET_OK)
        st = file_failed(err, path, "cannot be written");
    if (st == CYGNET_OK && rename(temporary, path) != 0)
        st = file_failed(err, path, "cannot be replaced");
    if (st != CYGNET_OK)
        unlink(temporary);
    return st;
}
