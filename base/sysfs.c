/* Reading the kernel's small text files. */
#include "base/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool sysfs_line(char line[SYSFS_LINE_BYTES], int folder, const char *name)
{
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (file < 0)
        return false;
    do
        n = read(file, line, SYSFS_LINE_BYTES - 1);
    while (n < 0 && errno == EINTR);
    (void)close(file);
    if (n < 0)
        return false;
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return true;
}

bool sysfs_int64(int64_t *out, int folder, const char *name)
{
    char line[SYSFS_LINE_BYTES];
    char *end;
    long long value;

    if (!sysfs_line(line, folder, name))
        return false;
    errno = 0;
    value = strtoll(line, &end, 10);
    if (errno != 0 || end == line || *end != '\0')
        return false;
    *out = value;
    return true;
}

bool sysfs_number(long *out, int folder, const char *name)
{
    int64_t value;

    if (!sysfs_int64(&value, folder, name) || value < LONG_MIN || value > LONG_MAX)
        return false;
    *out = (long)value;
    return true;
}
