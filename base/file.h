/* Files that are replaced whole: the steps that base/file.c and the directory
 * store share. Functions without an err report through errno. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <cygnet/status.h>
#include <stddef.h>

#define FILE_PATH_MAX 4096
#define FILE_TEMPORARY_PREFIX ".cygnet-tmp-"

/* All the bytes, over short writes and EINTR. 0 or -1. */
int file_write_all(int fd, const void *data, size_t len);

/* Opens a fresh temporary file in the folder of `path`; writes its name to tmp
 * (FILE_PATH_MAX bytes). It is locked (flock) while it is open: a temporary file
 * that nobody has locked was left behind by a crash. The descriptor, or -1. */
int file_open_temporary(char *tmp, const char *path);

/* fsync, rename to path, close, fsync of the folder. Closes fd in any case and
 * removes tmp on failure. 0 or -1. */
int file_publish(int fd, const char *tmp, const char *path);

/* fsync of the folder that `path` lies in. 0 or -1. */
int file_sync_folder(const char *path);

/* Creates the folder and its parents, mode 0700. 0 or -1. */
int file_make_folders(const char *path);

/* "path: cannot what: reason" from errno: ENOSPC, ENOMEM, else ESTORAGE. */
cygnet_status file_failed(const char *path, const char *what, cygnet_error *err);

/* Replaces one file as file_replace does, with what `write` writes to fd, piece by
 * piece; it returns 0, or -1 with errno. Errors: ESTORAGE, ENOSPC, ENOMEM. */
cygnet_status file_replace_by(const char *path, int (*write)(int fd, const void *content),
                              const void *content, cygnet_error *err);

#endif
