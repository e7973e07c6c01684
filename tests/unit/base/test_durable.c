/* The steps by which files become durable, in their order, and each of them failing.
 * The linker puts a recorder in front of the system calls (--wrap). */
#include "tests/unit/base/base_test.h"

#include "base/store.h"
#include "tests/unit/base/sandbox.h"

#include <cygnet/tensors.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* One letter a call: Write, sync of a File, Close, Rename, sync of a foldEr ('e'),
 * Unlink. */
static struct {
    char calls[256];
    size_t n;
    size_t fail_at; /* the call that fails, counted from 1; 0: none */
    int with;       /* its errno */
    size_t slice;   /* most bytes that one write takes; 0: all */
    int interrupts; /* writes still to be interrupted */
    int thefts;     /* files still to be taken for left-overs before they are locked */
} recorder;

ssize_t __real_write(int fd, const void *data, size_t len);
int __real_fsync(int fd);
int __real_close(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_flock(int fd, int operation);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_flock(int fd, int operation);

static void start(size_t fail_at, int with)
{
    memset(&recorder, 0, sizeof(recorder));
    recorder.fail_at = fail_at;
    recorder.with = with;
}

/* Notes the call; true when it shall fail. */
static int failing(char call)
{
    if (recorder.n < sizeof(recorder.calls) - 1)
        recorder.calls[recorder.n] = call;
    recorder.calls[++recorder.n] = 0;
    if (recorder.n != recorder.fail_at)
        return 0;
    errno = recorder.with;
    return 1;
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    if (failing('w'))
        return recorder.with ? -1 : 0;
    if (recorder.interrupts-- > 0) {
        errno = EINTR;
        return -1;
    }
    return __real_write(fd, data,
                        recorder.slice && len > recorder.slice ? recorder.slice : len);
}

int __wrap_fsync(int fd)
{
    struct stat about;

    assert_int_equal(fstat(fd, &about), 0);
    return failing(S_ISDIR(about.st_mode) ? 'e' : 'f') ? -1 : __real_fsync(fd);
}

/* A close that fails has closed all the same, as on Linux. */
int __wrap_close(int fd)
{
    int result = __real_close(fd);

    return failing('c') ? -1 : result;
}

int __wrap_rename(const char *from, const char *to)
{
    return failing('r') ? -1 : __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
    return failing('u') ? -1 : __real_unlink(path);
}

/* A store that is opened elsewhere may see the file before its lock. */
int __wrap_flock(int fd, int operation)
{
    char link[64];
    char path[256] = "";

    if (recorder.thefts > 0) {
        recorder.thefts--;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        assert_true(readlink(link, path, sizeof(path) - 1) > 0);
        assert_int_equal(__real_unlink(path), 0);
    }
    return __real_flock(fd, operation);
}

/* Each puts "new" into the file "a/f". */
static cygnet_status by_replace(struct store *s, cygnet_error *err)
{
    return store_replace(s, "a/f", "new", 3, err);
}

static cygnet_status by_stream(struct store *s, cygnet_error *err)
{
    struct store_file *f;
    cygnet_status st = store_create(s, &f, "a/f", err);

    if (st == CYGNET_OK)
        st = store_write(f, "new", 3, err);
    if (st == CYGNET_OK)
        return store_commit(f, err);
    store_abandon(f);
    return st;
}

static void test_content_is_synced_before_it_is_visible_and_the_name_after(void **state)
{
    struct sandbox *box = *state;

    assert_int_equal(store_replace(box->store, "a/f", "old", 3, NULL), CYGNET_OK);
    start(0, 0);
    assert_int_equal(by_replace(box->store, NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "wfrcec");
    start(0, 0);
    assert_int_equal(by_stream(box->store, NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "wfrcec");
}

static void test_a_new_folder_is_synced_into_its_parent(void **state)
{
    struct sandbox *box = *state;

    start(0, 0);
    assert_int_equal(store_replace(box->store, "new/f", "x", 1, NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "ecwfrcec");
}

static void test_a_removal_is_synced(void **state)
{
    struct sandbox *box = *state;

    assert_int_equal(store_replace(box->store, "f", "x", 1, NULL), CYGNET_OK);
    start(0, 0);
    assert_int_equal(store_remove(box->store, "f", NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "uec");
}

static void test_saved_tensors_are_synced(void **state)
{
    struct sandbox *box = *state;
    static const uint64_t shape[] = {5};
    char path[128];
    cygnet_tensors *list;

    (void)snprintf(path, sizeof(path), "%s/t", box->folder);
    assert_int_equal(cygnet_tensors_create(&list, 100, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(NULL, list, "t", CYGNET_U8, shape, 1, NULL),
                     CYGNET_OK);
    start(0, 0);
    assert_int_equal(cygnet_tensors_save(list, path, NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "wwfrcec"); /* the header, the tensor */
    cygnet_tensors_destroy(list);
}

/* Every call of a replacement failing once: nothing but whole files are seen. */
static void assert_old_or_new(struct sandbox *box, size_t k,
                              cygnet_status (*by)(struct store *, cygnet_error *))
{
    cygnet_error err = {0};
    char folder[128];
    int n_open = count_files("/proc/self/fd");
    cygnet_status st;

    (void)snprintf(folder, sizeof(folder), "%s/a", box->path);
    assert_int_equal(store_replace(box->store, "a/f", "old", 3, NULL), CYGNET_OK);
    start(k, EIO);
    st = by(box->store, &err);
    start(0, 0);
    if (k < 6) /* the folder was synced: only its close could fail */
        assert_failed(st, CYGNET_ESTORAGE, err, "a/f: cannot ");
    else
        assert_int_equal(st, CYGNET_OK);
    assert_content(box->store, "a/f", k < 4 ? "old" : "new");
    assert_int_equal(count_files(folder), 1);
    assert_int_equal(count_files("/proc/self/fd"), n_open);
}

static void test_each_step_that_fails_leaves_the_old_file_or_the_new(void **state)
{
    for (size_t k = 1; k <= 6; k++) {
        assert_old_or_new(*state, k, by_replace);
        assert_old_or_new(*state, k, by_stream);
    }
}

static void test_a_full_disk_is_told_from_a_broken_one(void **state)
{
    static const int full[] = {ENOSPC, EDQUOT, EFBIG};
    struct sandbox *box = *state;

    assert_int_equal(by_replace(box->store, NULL), CYGNET_OK); /* makes the folder */
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 1; k <= 2; k++) {
            start(k, full[i]);
            assert_int_equal(by_replace(box->store, NULL), CYGNET_ENOSPC);
            start(k, full[i]);
            assert_int_equal(by_stream(box->store, NULL), CYGNET_ENOSPC);
        }
    start(0, 0);
}

static void test_short_and_interrupted_writes_are_carried_on(void **state)
{
    struct sandbox *box = *state;

    start(0, 0);
    recorder.slice = 2;
    recorder.interrupts = 2;
    assert_int_equal(store_replace(box->store, "f", "12345", 5, NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "wwwwwfrcec");
    start(0, 0);
    assert_content(box->store, "f", "12345");
}

static void test_a_write_that_takes_nothing_is_an_error_not_a_loop(void **state)
{
    struct sandbox *box = *state;

    start(1, 0);
    assert_int_equal(store_replace(box->store, "f", "x", 1, NULL), CYGNET_ESTORAGE);
    assert_string_equal(recorder.calls, "wcu");
}

static void test_a_temporary_file_that_was_cleaned_away_is_made_again(void **state)
{
    struct sandbox *box = *state;

    start(0, 0);
    recorder.thefts = 2;
    assert_int_equal(store_replace(box->store, "f", "x", 1, NULL), CYGNET_OK);
    assert_string_equal(recorder.calls, "ccwfrcec");
    assert_content(box->store, "f", "x");
    start(0, 0);
    recorder.thefts = 1000;
    assert_int_equal(store_replace(box->store, "f", "y", 1, NULL), CYGNET_ESTORAGE);
    start(0, 0);
    assert_content(box->store, "f", "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SANDBOXED(test_content_is_synced_before_it_is_visible_and_the_name_after),
        SANDBOXED(test_a_new_folder_is_synced_into_its_parent),
        SANDBOXED(test_a_removal_is_synced),
        SANDBOXED(test_saved_tensors_are_synced),
        SANDBOXED(test_each_step_that_fails_leaves_the_old_file_or_the_new),
        SANDBOXED(test_a_full_disk_is_told_from_a_broken_one),
        SANDBOXED(test_short_and_interrupted_writes_are_carried_on),
        SANDBOXED(test_a_temporary_file_that_was_cleaned_away_is_made_again),
        SANDBOXED(test_a_write_that_takes_nothing_is_an_error_not_a_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
