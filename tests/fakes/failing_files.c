#include "tests/fakes/failing_files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct failing_files failing_files;

void files_begin(enum files_trouble trouble, long at, int error)
{
    failing_files = (struct failing_files){trouble, at, error, 0};
}

int files_end(void)
{
    failing_files.trouble = FILES_FINE;
    return failing_files.n >= failing_files.at;
}

/* Whether this call is the one; FILES_FAIL and FILES_FULL set errno. */
static enum files_trouble trouble_now(void)
{
    enum files_trouble trouble = failing_files.trouble;
    long n = ++failing_files.n;

    if (trouble == FILES_FINE || n < failing_files.at ||
        (n > failing_files.at && trouble != FILES_FULL))
        return FILES_FINE;
    errno = failing_files.error;
    return trouble;
}

/* Whether the call must fail; for a kill there is no answer. */
static int refused(void)
{
    enum files_trouble trouble = trouble_now();

    if (trouble == FILES_KILL)
        (void)raise(SIGKILL);
    return trouble != FILES_FINE;
}

ssize_t write(int fd, const void *data, size_t len)
{
    enum files_trouble trouble = trouble_now();

    if (trouble == FILES_KILL) {
        (void)syscall(SYS_write, fd, data, len / 2);
        (void)raise(SIGKILL);
    }
    return trouble == FILES_FINE ? syscall(SYS_write, fd, data, len) : -1;
}

int fsync(int fd)
{
    return refused() ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    return refused() ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path)
{
    return refused() ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int mkdir(const char *path, mode_t mode)
{
    return refused() ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int mkostemp(char *template, int flags)
{
    static unsigned n_made;
    char *end = template + strlen(template) - strlen("XXXXXX");
    int fd;

    if (refused())
        return -1;
    do {
        char digits[16];

        (void)snprintf(digits, sizeof(digits), "%06u", n_made++ % 1000000);
        memcpy(end, digits, strlen("XXXXXX"));
        fd = (int)syscall(SYS_openat, AT_FDCWD, template,
                          O_RDWR | O_CREAT | O_EXCL | flags, 0600);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}
