/* The store interface: named files that are replaced whole and durably, plus
 * streamed files that appear only once complete. The directory store is the
 * production one; tests bring their own (in memory, failing, recording).
 *
 * A name is a file's, behind up to two folders and their '/'; each of [A-Za-z0-9._-]
 * without a dot in front, at most 200 bytes in all. */
#ifndef BASE_STORE_H
#define BASE_STORE_H

#include "base/bytes.h"

struct store;
struct store_file;

/* Errors of each: EINVAL (not a name), ESTORAGE, ENOSPC, ENOMEM.
 *
 * read     appends the whole file to *out (its max bounds it: ELIMIT);
 *          ENOTFOUND when there is none
 * replace  after OK the new content survives power loss; after a failure or a
 *          crash the file holds either the old or the new content, whole
 * remove   OK also when there was no such file
 * create   a new streamed file, invisible under its name until commit
 * write    appends to a streamed file
 * commit   makes it durable, then visible under its name; consumes the file
 * abandon  drops it; consumes the file; accepts NULL
 * size     bytes of a file in *out; ENOTFOUND
 * list     calls `each` for every file directly below `folder` ("" is the top),
 *          in no particular order; stops when each returns non-OK
 * touch    marks the file as just used (for LRU); best effort
 * age      wall ms of the last touch or write in *out; ENOTFOUND */
struct store_ops {
    cygnet_status (*read)(struct store *s, struct bytes *out, const char *name,
                          cygnet_error *err);
    cygnet_status (*replace)(struct store *s, const char *name, const void *data,
                             size_t len, cygnet_error *err);
    cygnet_status (*remove)(struct store *s, const char *name, cygnet_error *err);
    cygnet_status (*create)(struct store *s, struct store_file **out, const char *name,
                            cygnet_error *err);
    cygnet_status (*write)(struct store_file *f, const void *data, size_t len,
                           cygnet_error *err);
    cygnet_status (*commit)(struct store_file *f, cygnet_error *err);
    void (*abandon)(struct store_file *f);
    cygnet_status (*size)(struct store *s, uint64_t *out, const char *name,
                          cygnet_error *err);
    cygnet_status (*list)(struct store *s, const char *folder,
                          cygnet_status (*each)(const char *name, void *user), void *user,
                          cygnet_error *err);
    void (*touch)(struct store *s, const char *name);
    cygnet_status (*age)(struct store *s, int64_t *out, const char *name,
                         cygnet_error *err);
    void (*destroy)(struct store *s);
};

/* Implementations begin with this. */
struct store {
    const struct store_ops *ops;
};

/* Implementations' streamed files begin with this. */
struct store_file {
    struct store *store;
};

cygnet_status store_read(struct store *s, struct bytes *out, const char *name,
                         cygnet_error *err);
cygnet_status store_replace(struct store *s, const char *name, const void *data,
                            size_t len, cygnet_error *err);
cygnet_status store_remove(struct store *s, const char *name, cygnet_error *err);
cygnet_status store_create(struct store *s, struct store_file **out, const char *name,
                           cygnet_error *err);
cygnet_status store_write(struct store_file *f, const void *data, size_t len,
                          cygnet_error *err);
cygnet_status store_commit(struct store_file *f, cygnet_error *err);
void store_abandon(struct store_file *f);
cygnet_status store_size(struct store *s, uint64_t *out, const char *name,
                         cygnet_error *err);
cygnet_status store_list(struct store *s, const char *folder,
                         cygnet_status (*each)(const char *name, void *user), void *user,
                         cygnet_error *err);
void store_touch(struct store *s, const char *name);
cygnet_status store_age(struct store *s, int64_t *out, const char *name,
                        cygnet_error *err);
void store_destroy(struct store *s); /* accepts NULL */

/* A store in a directory (created with its parents if absent, mode 0700). With
 * `exclusive`, takes an advisory lock on it for the store's life: EBUSY when
 * another process or another store of this process holds it; the lock ends with the
 * process, however that ends. Temporary files that a crash left behind are removed,
 * down to two folders below, except those that somebody is writing.
 * out  receives the store; destroy with store_destroy
 * Errors: EINVAL (path empty or too long), EBUSY, ESTORAGE, ENOSPC, ENOMEM. */
cygnet_status store_open_directory(struct store **out, const char *path, int exclusive,
                                   const cygnet_allocator *alloc, cygnet_error *err);

/* Replaces one file by path, atomically and durably (temporary file beside it,
 * fsync, rename, fsync of the folder). Errors: ESTORAGE, ENOSPC, ENOMEM. */
cygnet_status file_replace(const char *path, const void *data, size_t len,
                           cygnet_error *err);

/* Appends the whole file to *out. Errors: ENOTFOUND, ESTORAGE, ELIMIT, ENOMEM. */
cygnet_status file_read(struct bytes *out, const char *path, cygnet_error *err);

#endif
