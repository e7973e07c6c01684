/* Reading the kernel's small text files: one line, one value. */
#ifndef BASE_SYSFS_H
#define BASE_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYSFS_LINE_BYTES 256

/* The first line of folder/name, relative to the open folder, without its newline.
 * False when there is no such file or it cannot be read. */
bool sysfs_line(char line[SYSFS_LINE_BYTES], int folder, const char *name);

/* The same as a whole number; sysfs_int64 for what a long may not hold. */
bool sysfs_number(long *out, int folder, const char *name);
bool sysfs_int64(int64_t *out, int folder, const char *name);

#endif
