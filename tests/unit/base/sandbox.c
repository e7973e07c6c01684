/* See sandbox.h. */
#include "tests/unit/base/sandbox.h"

#include "tests/unit/base/base_test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int sandbox_set_up(void **state)
{
    struct sandbox *box = calloc(1, sizeof(*box));

    assert_non_null(box);
    (void)snprintf(box->folder, sizeof(box->folder), "/tmp/cygnet-store-XXXXXX");
    assert_non_null(mkdtemp(box->folder));
    (void)snprintf(box->path, sizeof(box->path), "%s/deep/store", box->folder);
    *state = box;
    return store_open_directory(&box->store, box->path, 1, NULL, NULL) != CYGNET_OK;
}

int sandbox_tear_down(void **state)
{
    struct sandbox *box = *state;
    char command[128];
    int failed;

    store_destroy(box->store);
    (void)snprintf(command, sizeof(command), "rm -rf %s", box->folder);
    failed = system(command);
    free(box);
    return failed;
}

void assert_content(struct store *s, const char *name, const char *want)
{
    struct bytes out;

    bytes_init(&out, 1 << 20, NULL);
    assert_int_equal(store_read(s, &out, name, NULL), CYGNET_OK);
    assert_string_equal(bytes_text(&out), want);
    bytes_clear(&out);
}

int count_files(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    (void)closedir(dir);
    return n - 2; /* "." and ".." */
}
