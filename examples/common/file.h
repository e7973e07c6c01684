/* Whole files in and out of memory. */
#ifndef PROGRAMS_FILE_H
#define PROGRAMS_FILE_H

#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_MAX_PATH 4096

/* Joins folder and name. Errors: EINVAL (longer than FILE_MAX_PATH). */
cygnet_status file_path(char out[FILE_MAX_PATH], const char *folder, const char *name,
                        cygnet_error *err);

/* Reads a whole file, which free() releases; one NUL byte follows the data.
 * Errors: ENOTFOUND, ESTORAGE, ELIMIT (longer than max), ENOMEM. */
cygnet_status file_read(uint8_t **out, size_t *out_len, const char *path, size_t max,
                        cygnet_error *err);

/* Replaces a file: either the old one stays or the whole new one is there.
 * Errors: ENOSPC, ESTORAGE. */
cygnet_status file_write(const char *path, const void *data, size_t len, unsigned mode,
                         cygnet_error *err);

#endif
