/* The production store: a directory, files replaced by rename, one lock. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_BYTES_MAX 200
#define LOCK_NAME ".lock"
#define FOLDERS_MAX 2 /* in a name: what is cleaned when a store is opened */

struct directory {
    struct store store;
    const cygnet_allocator *alloc;
    int lock_fd; /* -1: not exclusive */
    char path[];
};

struct directory_file {
    struct store_file file;
    int fd;
    char tmp[FILE_PATH_MAX];
    char path[FILE_PATH_MAX];
};

static struct directory *directory_of(struct store *s)
{
    return (struct directory *)s;
}

static struct directory_file *stream_of(struct store_file *f)
{
    return (struct directory_file *)f;
}

static bool component_is_valid(const char *name, size_t len)
{
    if (len == 0 || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-",
                    name[i]))
            return false;
    return true;
}

static bool name_is_valid(const char *name)
{
    if (strlen(name) > NAME_BYTES_MAX)
        return false;
    for (int n_folders = 0; n_folders <= FOLDERS_MAX; n_folders++) {
        size_t part = strcspn(name, "/");

        if (!component_is_valid(name, part))
            return false;
        if (name[part] == 0)
            return true;
        name += part + 1;
    }
    return false;
}

/* The file's path; with `folders`, those above it are made. */
static cygnet_status path_of(char *path, const struct directory *d, const char *name,
                             bool folders, cygnet_error *err)
{
    char *slash;
    int n;

    if (!name_is_valid(name))
        return fail(err, CYGNET_EINVAL, 0, "\"%.64s\" is not a file name of the store",
                    name);
    n = snprintf(path, FILE_PATH_MAX, "%s/%s", d->path, name);
    if (n < 0 || n >= FILE_PATH_MAX)
        return fail(err, CYGNET_ESTORAGE, ENAMETOOLONG, "path of the store is too long");
    slash = strrchr(path, '/');
    if (!folders || !strchr(name, '/'))
        return CYGNET_OK;
    *slash = 0;
    if (file_make_folders(path) != 0)
        return file_failed(name, "create the folder of", err);
    *slash = '/';
    return CYGNET_OK;
}

static cygnet_status directory_read(struct store *s, struct bytes *out, const char *name,
                                    cygnet_error *err)
{
    char path[FILE_PATH_MAX];
    cygnet_status st = path_of(path, directory_of(s), name, false, err);

    return st == CYGNET_OK ? file_read(out, path, err) : st;
}

static cygnet_status directory_replace(struct store *s, const char *name,
                                       const void *data, size_t len, cygnet_error *err)
{
    char path[FILE_PATH_MAX];
    cygnet_status st = path_of(path, directory_of(s), name, true, err);

    return st == CYGNET_OK ? file_replace(path, data, len, err) : st;
}

static cygnet_status directory_remove(struct store *s, const char *name,
                                      cygnet_error *err)
{
    char path[FILE_PATH_MAX];
    cygnet_status st = path_of(path, directory_of(s), name, false, err);

    if (st != CYGNET_OK)
        return st;
    if (unlink(path) != 0)
        return errno == ENOENT ? CYGNET_OK : file_failed(name, "remove", err);
    return file_sync_folder(path) == 0 ? CYGNET_OK
                                       : file_failed(path, "sync the folder of", err);
}

static cygnet_status directory_create(struct store *s, struct store_file **out,
                                      const char *name, cygnet_error *err)
{
    struct directory *d = directory_of(s);
    struct directory_file *f = mem_alloc(d->alloc, sizeof(*f));
    cygnet_status st;

    *out = NULL;
    if (!f)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a file");
    f->file.store = s;
    st = path_of(f->path, d, name, true, err);
    if (st == CYGNET_OK) {
        f->fd = file_open_temporary(f->tmp, f->path);
        if (f->fd < 0)
            st = file_failed(name, "create", err);
    }
    if (st != CYGNET_OK) {
        mem_free(d->alloc, f);
        return st;
    }
    *out = &f->file;
    return CYGNET_OK;
}

static cygnet_status directory_write(struct store_file *file, const void *data,
                                     size_t len, cygnet_error *err)
{
    struct directory_file *f = stream_of(file);

    if (file_write_all(f->fd, data, len) != 0)
        return file_failed(f->path, "write", err);
    return CYGNET_OK;
}

static cygnet_status directory_commit(struct store_file *file, cygnet_error *err)
{
    struct directory_file *f = stream_of(file);
    cygnet_status st = CYGNET_OK;

    if (file_publish(f->fd, f->tmp, f->path) != 0)
        st = file_failed(f->path, "make durable", err);
    mem_free(directory_of(file->store)->alloc, f);
    return st;
}

static void directory_abandon(struct store_file *file)
{
    struct directory_file *f = stream_of(file);

    (void)close(f->fd);
    (void)unlink(f->tmp);
    mem_free(directory_of(file->store)->alloc, f);
}

static cygnet_status stat_of(struct stat *about, struct store *s, const char *name,
                             cygnet_error *err)
{
    char path[FILE_PATH_MAX];
    cygnet_status st = path_of(path, directory_of(s), name, false, err);

    if (st != CYGNET_OK || stat(path, about) == 0)
        return st;
    if (errno == ENOENT || errno == ENOTDIR)
        return fail(err, CYGNET_ENOTFOUND, errno, "%.160s: there is no such file", name);
    return file_failed(path, "look at", err);
}

static cygnet_status directory_size(struct store *s, uint64_t *out, const char *name,
                                    cygnet_error *err)
{
    struct stat about;
    cygnet_status st = stat_of(&about, s, name, err);

    if (st == CYGNET_OK)
        *out = (uint64_t)about.st_size;
    return st;
}

static cygnet_status directory_age(struct store *s, int64_t *out, const char *name,
                                   cygnet_error *err)
{
    struct stat about;
    cygnet_status st = stat_of(&about, s, name, err);

    if (st == CYGNET_OK)
        *out = (int64_t)about.st_mtim.tv_sec * 1000 + about.st_mtim.tv_nsec / 1000000;
    return st;
}

static void directory_touch(struct store *s, const char *name)
{
    char path[FILE_PATH_MAX];

    if (path_of(path, directory_of(s), name, false, NULL) == CYGNET_OK)
        (void)utimensat(AT_FDCWD, path, NULL, 0);
}

static bool is_file(DIR *folder, const struct dirent *entry)
{
    struct stat about;

    return entry->d_name[0] != '.' &&
           fstatat(dirfd(folder), entry->d_name, &about, 0) == 0 &&
           S_ISREG(about.st_mode);
}

static cygnet_status directory_list(struct store *s, const char *folder,
                                    cygnet_status (*each)(const char *name, void *user),
                                    void *user, cygnet_error *err)
{
    char path[FILE_PATH_MAX];
    const struct dirent *entry;
    cygnet_status st = CYGNET_OK;
    DIR *dir;

    if (*folder == 0)
        (void)snprintf(path, sizeof(path), "%s", directory_of(s)->path);
    else
        st = path_of(path, directory_of(s), folder, false, err);
    if (st != CYGNET_OK)
        return st;
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? CYGNET_OK : file_failed(path, "list", err);
    while (st == CYGNET_OK && (errno = 0, entry = readdir(dir)) != NULL)
        if (is_file(dir, entry))
            st = each(entry->d_name, user);
    if (st == CYGNET_OK && errno != 0)
        st = file_failed(path, "list", err);
    (void)closedir(dir);
    return st;
}

static void directory_destroy(struct store *s)
{
    struct directory *d = directory_of(s);

    if (d->lock_fd >= 0)
        (void)close(d->lock_fd);
    mem_free(d->alloc, d);
}

static const struct store_ops directory_ops = {
    .read = directory_read,
    .replace = directory_replace,
    .remove = directory_remove,
    .create = directory_create,
    .write = directory_write,
    .commit = directory_commit,
    .abandon = directory_abandon,
    .size = directory_size,
    .list = directory_list,
    .touch = directory_touch,
    .age = directory_age,
    .destroy = directory_destroy,
};

/* flock belongs to the open file, so that it also holds against another store of
 * this process. */
static cygnet_status take_lock(struct directory *d, cygnet_error *err)
{
    char path[FILE_PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/" LOCK_NAME, d->path);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return file_failed(d->path, "create the lock of", err);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return CYGNET_OK;
    if (errno != EWOULDBLOCK)
        return file_failed(d->path, "lock", err);
    return fail(err, CYGNET_EBUSY, 0, "%.160s: in use by another client", d->path);
}

/* Removes a temporary file, unless somebody is writing it: several clients may share
 * a cache. */
static void remove_left_over(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(folder, name, 0);
    (void)close(fd);
}

/* Removes what crashes left behind in a folder and so many levels below it. */
static void clean(int parent, const char *name, int n_levels)
{
    int follow = parent == AT_FDCWD ? 0 : O_NOFOLLOW;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        if (strncmp(entry->d_name, FILE_TEMPORARY_PREFIX,
                    strlen(FILE_TEMPORARY_PREFIX)) == 0)
            remove_left_over(fd, entry->d_name);
        else if (entry->d_name[0] != '.' && n_levels > 0)
            clean(fd, entry->d_name, n_levels - 1);
    (void)closedir(dir);
}

cygnet_status store_open_directory(struct store **out, const char *path, int exclusive,
                                   const cygnet_allocator *alloc, cygnet_error *err)
{
    size_t len = strlen(path);
    struct directory *d;
    cygnet_status st = CYGNET_OK;

    *out = NULL;
    if (len == 0 || len + NAME_BYTES_MAX + 2 > FILE_PATH_MAX)
        return fail(err, CYGNET_EINVAL, 0, "the store's path is empty or too long");
    if (file_make_folders(path) != 0)
        return file_failed(path, "create", err);
    d = mem_alloc(alloc, sizeof(*d) + len + 1);
    if (!d)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a store");
    d->store.ops = &directory_ops;
    d->alloc = alloc;
    d->lock_fd = -1;
    memcpy(d->path, path, len + 1);
    if (exclusive)
        st = take_lock(d, err);
    if (st != CYGNET_OK) {
        directory_destroy(&d->store);
        return st;
    }
    clean(AT_FDCWD, path, FOLDERS_MAX);
    *out = &d->store;
    return CYGNET_OK;
}
