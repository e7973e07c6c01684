/* The directory store and files replaced whole, in a folder of their own. */
#include "tests/unit/base/base_test.h"

#include "base/store.h"
#include "tests/fakes/fake_alloc.h"
#include "tests/fakes/memory_store.h"
#include "tests/unit/base/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_a_replaced_file_holds_the_new_content(void **state)
{
    struct sandbox *box = *state;
    uint64_t size;

    assert_int_equal(store_replace(box->store, "a/b", "old", 3, NULL), CYGNET_OK);
    assert_int_equal(store_replace(box->store, "a/b", "newer", 5, NULL), CYGNET_OK);
    assert_content(box->store, "a/b", "newer");
    assert_int_equal(store_size(box->store, &size, "a/b", NULL), CYGNET_OK);
    assert_int_equal(size, 5);
}

static void test_absent_files_are_not_found_and_removable(void **state)
{
    struct sandbox *box = *state;
    cygnet_error err = {0};
    struct bytes out;
    uint64_t size;
    int64_t age;

    bytes_init(&out, 8, NULL);
    assert_failed(store_read(box->store, &out, "no", &err), CYGNET_ENOTFOUND, err, "no");
    assert_int_equal(store_size(box->store, &size, "no", NULL), CYGNET_ENOTFOUND);
    assert_int_equal(store_age(box->store, &age, "no", NULL), CYGNET_ENOTFOUND);
    assert_int_equal(store_remove(box->store, "no", NULL), CYGNET_OK);
    assert_int_equal(store_remove(box->store, "no/folder", NULL), CYGNET_OK);
}

static void test_reading_holds_the_buffers_limit(void **state)
{
    struct sandbox *box = *state;
    cygnet_error err = {0};
    struct bytes out;

    assert_int_equal(store_replace(box->store, "f", "12345", 5, NULL), CYGNET_OK);
    bytes_init(&out, 4, NULL);
    assert_failed(store_read(box->store, &out, "f", &err), CYGNET_ELIMIT, err,
                  "limit of 4");
    assert_int_equal(out.len, 0);
    bytes_clear(&out);
    bytes_init(&out, 5, NULL);
    assert_int_equal(store_read(box->store, &out, "f", &err), CYGNET_OK);
    assert_int_equal(out.len, 5);
    bytes_clear(&out);
}

static void test_names_that_could_leave_the_store_are_refused(void **state)
{
    static const char *const names[] = {"",   "/",    "/a",   "a/",      "a//b",
                                        "..", "../a", "a/..", "a/.b",    "a/b/c/d",
                                        ".a", "a b",  "a\\b", "\xc3\xa4"};
    struct sandbox *box = *state;
    char longer[202];

    memset(longer, 'a', 201);
    longer[201] = 0;
    assert_int_equal(store_replace(box->store, longer, "", 0, NULL), CYGNET_EINVAL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct store_file *f;

        assert_int_equal(store_replace(box->store, names[i], "", 0, NULL), CYGNET_EINVAL);
        assert_int_equal(store_create(box->store, &f, names[i], NULL), CYGNET_EINVAL);
        assert_null(f);
    }
}

static cygnet_status count(const char *name, void *user)
{
    (void)name;
    ++*(int *)user;
    return CYGNET_OK;
}

static void test_streamed_files_appear_only_when_committed(void **state)
{
    struct sandbox *box = *state;
    struct store_file *f;
    int n = 0;

    assert_int_equal(store_create(box->store, &f, "b/x", NULL), CYGNET_OK);
    assert_int_equal(store_write(f, "one", 3, NULL), CYGNET_OK);
    assert_int_equal(store_list(box->store, "b", count, &n, NULL), CYGNET_OK);
    assert_int_equal(n, 0);
    assert_int_equal(store_write(f, "two", 3, NULL), CYGNET_OK);
    assert_int_equal(store_commit(f, NULL), CYGNET_OK);
    assert_content(box->store, "b/x", "onetwo");
    assert_int_equal(store_create(box->store, &f, "b/y", NULL), CYGNET_OK);
    store_abandon(f);
    assert_int_equal(store_list(box->store, "b", count, &n, NULL), CYGNET_OK);
    assert_int_equal(n, 1);
}

/* What a caller of the interface may rely on, whoever implements it. */
static void assert_is_a_store(struct store *s)
{
    struct store_file *f;
    uint64_t size = 0;
    int64_t first = 0;
    int64_t second = 0;
    int n = 0;

    assert_int_equal(store_replace(s, "d/one", "1", 1, NULL), CYGNET_OK);
    assert_int_equal(store_create(s, &f, "d/two", NULL), CYGNET_OK);
    assert_int_equal(store_write(f, "12", 2, NULL), CYGNET_OK);
    assert_int_equal(store_size(s, &size, "d/two", NULL), CYGNET_ENOTFOUND);
    assert_int_equal(store_write(f, "34", 2, NULL), CYGNET_OK);
    assert_int_equal(store_commit(f, NULL), CYGNET_OK);
    assert_content(s, "d/two", "1234");
    assert_int_equal(store_create(s, &f, "d/none", NULL), CYGNET_OK);
    store_abandon(f);
    assert_int_equal(store_list(s, "d", count, &n, NULL), CYGNET_OK);
    assert_int_equal(n, 2);
    assert_int_equal(store_list(s, "", count, &n, NULL), CYGNET_OK);
    assert_int_equal(store_list(s, "none", count, &n, NULL), CYGNET_OK);
    assert_int_equal(n, 2);
    store_touch(s, "d/one");
    assert_int_equal(store_age(s, &first, "d/one", NULL), CYGNET_OK);
    assert_int_equal(store_age(s, &second, "d/two", NULL), CYGNET_OK);
    assert_true(first >= second);
    assert_int_equal(store_remove(s, "d/one", NULL), CYGNET_OK);
    assert_int_equal(store_remove(s, "d/one", NULL), CYGNET_OK);
    assert_int_equal(store_age(s, &first, "d/one", NULL), CYGNET_ENOTFOUND);
}

static void test_the_directory_and_the_fake_are_the_same_store(void **state)
{
    struct sandbox *box = *state;
    struct memory_store fake;

    assert_is_a_store(box->store);
    memory_store_init(&fake);
    assert_is_a_store(&fake.store);
    store_destroy(&fake.store);
    memory_store_clear(&fake);
}

static void test_a_second_owner_is_told_that_it_is_busy(void **state)
{
    struct sandbox *box = *state;
    cygnet_error err = {0};
    struct store *other;

    assert_failed(store_open_directory(&other, box->path, 1, NULL, &err), CYGNET_EBUSY,
                  err, "in use");
    assert_null(other);
    store_destroy(box->store);
    assert_int_equal(store_open_directory(&box->store, box->path, 1, NULL, &err),
                     CYGNET_OK);
}

static void test_left_over_temporaries_go_and_folders_are_private(void **state)
{
    struct sandbox *box = *state;
    char left[128];
    struct stat about;

    store_destroy(box->store);
    (void)snprintf(left, sizeof(left), "%s/.cygnet-tmp-abc", box->path);
    assert_int_equal(file_replace(left, "x", 1, NULL), CYGNET_OK);
    assert_int_equal(store_open_directory(&box->store, box->path, 1, NULL, NULL),
                     CYGNET_OK);
    assert_int_equal(access(left, F_OK), -1);
    assert_int_equal(stat(box->path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
}

static void test_left_overs_of_a_shared_store_go_but_not_what_is_being_written(
    void **state)
{
    struct sandbox *box = *state;
    struct store *second;
    struct store_file *file;
    char left[128];

    assert_int_equal(store_replace(box->store, "a/b/there", "x", 1, NULL), CYGNET_OK);
    (void)snprintf(left, sizeof(left), "%s/a/b/.cygnet-tmp-abc", box->path);
    assert_int_equal(file_replace(left, "x", 1, NULL), CYGNET_OK);
    assert_int_equal(store_create(box->store, &file, "a/b/new", NULL), CYGNET_OK);
    assert_int_equal(store_write(file, "y", 1, NULL), CYGNET_OK);

    assert_int_equal(store_open_directory(&second, box->path, 0, NULL, NULL), CYGNET_OK);
    assert_int_equal(access(left, F_OK), -1);
    assert_int_equal(store_commit(file, NULL), CYGNET_OK);
    store_destroy(second);
}

static void test_a_folder_that_is_gone_is_a_fault_of_the_storage(void **state)
{
    cygnet_error err = {0};

    (void)state;
    assert_failed(file_replace("/nowhere/at/all", "x", 1, &err), CYGNET_ESTORAGE, err,
                  "/nowhere/at/all: cannot create");
}

static cygnet_status use(const char *path, const cygnet_allocator *alloc)
{
    struct store *s;
    struct store_file *f;
    struct bytes out;
    cygnet_status st = store_open_directory(&s, path, 0, alloc, NULL);

    if (st != CYGNET_OK)
        return st;
    bytes_init(&out, 100, alloc);
    st = store_create(s, &f, "f", NULL);
    if (st == CYGNET_OK)
        st = store_commit(f, NULL);
    if (st == CYGNET_OK)
        st = store_replace(s, "f", "data", 4, NULL);
    if (st == CYGNET_OK)
        st = store_read(s, &out, "f", NULL);
    bytes_clear(&out);
    store_destroy(s);
    return st;
}

static void test_every_refused_allocation_is_reported_and_nothing_leaks(void **state)
{
    struct sandbox *box = *state;
    struct fake_alloc fake;
    long n;

    fake_alloc_init(&fake);
    assert_int_equal(use(box->path, &fake.alloc), CYGNET_OK);
    n = fake.n_requests;
    assert_true(n >= 3);
    for (long k = 1; k <= n; k++) {
        fake_alloc_init(&fake);
        fake.fail_at = k;
        assert_int_equal(use(box->path, &fake.alloc), CYGNET_ENOMEM);
        assert_int_equal(fake.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SANDBOXED(test_a_replaced_file_holds_the_new_content),
        SANDBOXED(test_absent_files_are_not_found_and_removable),
        SANDBOXED(test_reading_holds_the_buffers_limit),
        SANDBOXED(test_names_that_could_leave_the_store_are_refused),
        SANDBOXED(test_streamed_files_appear_only_when_committed),
        SANDBOXED(test_the_directory_and_the_fake_are_the_same_store),
        SANDBOXED(test_a_second_owner_is_told_that_it_is_busy),
        SANDBOXED(test_left_over_temporaries_go_and_folders_are_private),
        SANDBOXED(test_left_overs_of_a_shared_store_go_but_not_what_is_being_written),
        cmocka_unit_test(test_a_folder_that_is_gone_is_a_fault_of_the_storage),
        SANDBOXED(test_every_refused_allocation_is_reported_and_nothing_leaks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
