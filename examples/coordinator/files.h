/* Durable files of the state directory: content-addressed weights in blobs/ and
 * the raw updates of the open round in updates/. */
#ifndef COORDINATOR_FILES_H
#define COORDINATOR_FILES_H

#include "hash.h"

#include <cygnet/status.h>

#define FILES_PATH_MAX 1024

struct files {
    char root[FILES_PATH_MAX - 256];
    int lock_fd;
};

/* Creates the directories and takes the lock that keeps a second coordinator out.
 * Errors: EBUSY, ESTORAGE, ENOSPC, ELIMIT (path too long). */
cygnet_status files_open(struct files *f, const char *root, cygnet_error *err);
void files_close(struct files *f);

void files_db_path(char path[FILES_PATH_MAX], const struct files *f);
void files_blob_path(char path[FILES_PATH_MAX], const struct files *f, const char *hex);
void files_update_path(char path[FILES_PATH_MAX], const struct files *f,
                       const char *token, const char *hex);

/* After OK the file survives power loss; after a failure or a crash `path` is as
 * it was. Errors: ENOSPC, ESTORAGE. */
cygnet_status files_save(const char *path, const void *data, size_t len,
                         cygnet_error *err);

/* The whole file; free() it. Errors: ENOTFOUND, ELIMIT, ESTORAGE, ENOMEM. */
cygnet_status files_read(void **out, size_t *len, const char *path, size_t max,
                         cygnet_error *err);

/* The same for a blob or an update, whose name ends with the SHA-256 of its bytes.
 * Errors: also EHASH (not the bytes that were saved). */
cygnet_status files_read_named(void **out, size_t *len, const char *path, size_t max,
                               cygnet_error *err);

#define FILES_UNWANTED_MAX 256 /* names in a list of what may go */
#define FILES_NAME_MAX 255

struct unwanted {
    char (*names)[FILES_NAME_MAX + 1];
    size_t n;
};

/* Names of a sub-folder that `keep` does not want; best effort, so that a failure
 * gives an empty list. Give the list to files_remove. */
void files_list_unwanted(struct unwanted *out, const struct files *f, const char *folder,
                         int (*keep)(const char *name, void *user), void *user);

/* Removes what is listed, and frees the list. */
void files_remove(struct unwanted *list, const struct files *f, const char *folder);

#endif
