/* The directory store on a system that refuses: files that may not grow, folders
 * that may not be written, owners that were killed. */
#include "tests/unit/base/base_test.h"

#include "base/store.h"
#include "tests/unit/base/sandbox.h"

#include <cygnet/tensors.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM 4096
#define NOBODY 65534

/* Files of this process may not grow past `max` bytes; what would be a signal is an
 * error, as on a disk that is full. */
static void let_files_grow_to(rlim_t max)
{
    struct rlimit limit;

    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = max < limit.rlim_max ? max : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_file_without_room_leaves_the_old_one_whole(void **state)
{
    static const char more[3 * ROOM];
    struct sandbox *box = *state;
    struct store_file *f;
    cygnet_status st[3];

    assert_int_equal(store_replace(box->store, "f", "old", 3, NULL), CYGNET_OK);
    let_files_grow_to(ROOM);
    st[0] = store_replace(box->store, "f", more, sizeof(more), NULL);
    st[1] = store_create(box->store, &f, "f", NULL);
    st[2] = store_write(f, more, sizeof(more), NULL);
    store_abandon(f);
    let_files_grow_to(RLIM_INFINITY);
    assert_int_equal(st[0], CYGNET_ENOSPC);
    assert_int_equal(st[1], CYGNET_OK);
    assert_int_equal(st[2], CYGNET_ENOSPC);
    assert_content(box->store, "f", "old");
    assert_int_equal(count_files(box->path), 2); /* the lock and the file */
}

static void test_tensors_without_room_leave_the_old_file_whole(void **state)
{
    static const uint64_t shape[] = {3 * ROOM};
    struct sandbox *box = *state;
    cygnet_error err = {0};
    char path[128];
    cygnet_tensors *list;
    cygnet_status st;

    (void)snprintf(path, sizeof(path), "%s/t", box->path);
    assert_int_equal(store_replace(box->store, "t", "old", 3, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_create(&list, 4 * ROOM, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(NULL, list, "t", CYGNET_U8, shape, 1, NULL),
                     CYGNET_OK);
    let_files_grow_to(ROOM);
    st = cygnet_tensors_save(list, path, &err);
    let_files_grow_to(RLIM_INFINITY);
    cygnet_tensors_destroy(list);
    assert_failed(st, CYGNET_ENOSPC, err, "/t: cannot write");
    assert_content(box->store, "t", "old");
    assert_int_equal(count_files(box->path), 2);
}

/* The status of what a child without root's rights does with the store. */
static cygnet_status as_nobody(struct store *s)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && setuid(NOBODY) != 0)
            _exit(255);
        _exit((int)store_replace(s, "f", "new", 3, NULL));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return (cygnet_status)WEXITSTATUS(status);
}

static void test_a_folder_that_may_not_be_written_is_a_fault_of_the_storage(void **state)
{
    struct sandbox *box = *state;

    assert_int_equal(store_replace(box->store, "f", "old", 3, NULL), CYGNET_OK);
    assert_int_equal(chmod(box->path, 0500), 0);
    assert_int_equal(as_nobody(box->store), CYGNET_ESTORAGE);
    assert_int_equal(chmod(box->path, 0700), 0);
    assert_content(box->store, "f", "old");
}

/* Takes the store for its own, leaves a file half written, says so, and waits. */
static void own_until_killed(const char *path, int ready)
{
    struct store *s;
    struct store_file *f;

    if (store_open_directory(&s, path, 1, NULL, NULL) != CYGNET_OK ||
        store_create(s, &f, "half", NULL) != CYGNET_OK ||
        store_write(f, "half", 4, NULL) != CYGNET_OK)
        _exit(1);
    (void)!write(ready, "r", 1);
    for (;;)
        (void)pause();
}

static void test_a_killed_owner_leaves_neither_lock_nor_half_a_file(void **state)
{
    struct sandbox *box = *state;
    struct store *mine = NULL;
    int ready[2];
    char byte = 0;
    pid_t child;

    store_destroy(box->store);
    box->store = NULL;
    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        own_until_killed(box->path, ready[1]);
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    assert_int_equal(store_open_directory(&mine, box->path, 1, NULL, NULL), CYGNET_EBUSY);
    assert_int_equal(count_files(box->path), 2); /* the lock, the half-written file */
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(store_open_directory(&box->store, box->path, 1, NULL, NULL),
                     CYGNET_OK);
    assert_int_equal(count_files(box->path), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SANDBOXED(test_a_file_without_room_leaves_the_old_one_whole),
        SANDBOXED(test_tensors_without_room_leave_the_old_file_whole),
        SANDBOXED(test_a_folder_that_may_not_be_written_is_a_fault_of_the_storage),
        SANDBOXED(test_a_killed_owner_leaves_neither_lock_nor_half_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
