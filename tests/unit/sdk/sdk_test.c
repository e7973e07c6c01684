/* What the tests of the client share. */
#include "tests/unit/sdk/sdk_test.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void sandbox_make(char path[SANDBOX_BYTES])
{
    const char *base = getenv("TMPDIR");

    (void)snprintf(path, SANDBOX_BYTES, "%s/cygnet-XXXXXX",
                   base && strlen(base) < 40 ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

void sandbox_remove(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void sandbox_write(const char *folder, const char *name, const char *text)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int data_open(void **cursor, cygnet_dataset_info *info, const char *collection,
                     const char *selector, void *user)
{
    (void)collection, (void)selector, (void)user;
    *cursor = NULL;
    info->n_examples = 4;
    return 0;
}

static int data_read(void *cursor, const uint64_t *indices, const cygnet_batch *batch,
                     void *user)
{
    (void)cursor, (void)user;
    for (uint32_t c = 0; c < batch->n_columns; c++) {
        const cygnet_column *column = &batch->columns[c];
        uint64_t width = 1;

        for (uint32_t d = 0; d < column->n_dims; d++)
            width *= column->row_shape[d];
        for (uint64_t i = 0; i < batch->n_rows * width; i++)
            if (column->dtype == CYGNET_F32)
                ((float *)column->data)[i] = (float)indices[i / width] * 0.25f;
            else
                ((int64_t *)column->data)[i] = (int64_t)(indices[i / width] % 2);
    }
    return 0;
}

static void data_close(void *cursor, void *user)
{
    (void)cursor, (void)user;
}

static int device_state(cygnet_device_state *state, void *user)
{
    if (user)
        atomic_fetch_add((atomic_int *)user, 1);
    state->charging = CYGNET_TRUE;
    state->idle = CYGNET_TRUE;
    state->unmetered = CYGNET_TRUE;
    return 0;
}

void test_host(cygnet_host *host, void *user)
{
    cygnet_host_init(host);
    host->data_open = data_open;
    host->data_read = data_read;
    host->data_close = data_close;
    host->device_state = device_state;
    host->user = user;
}

void test_options(cygnet_options *options, const cygnet_host *host, const char *state)
{
    cygnet_options_init(options);
    options->server_url = "https://cygnet.invalid";
    options->population = "test";
    options->state_dir = state;
    options->seed = 1;
    options->full_priority = 1; /* tests must end on a busy machine too */
    options->host = host;
}
