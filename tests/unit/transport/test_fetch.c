/* Weights: verified, resumed when a transfer breaks, kept in a bounded cache. */
#include "bench.h"

#include "base/bytes.h"
#include "base/crypto.h"
#include "transport/blob_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define N_VALUES 2000

/* A model of one tensor as a file, and a task that names it. */
struct model {
    void *file;
    size_t len;
    cygnet_tensors *list;
};

static void model_init(struct model *m, cygnet_task *task, float value)
{
    const uint64_t shape[] = {N_VALUES};
    cygnet_tensor *tensor;

    assert_int_equal(cygnet_tensors_create(&m->list, 1 << 20, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(&tensor, m->list, "w", CYGNET_F32, shape, 1,
                                        NULL),
                     CYGNET_OK);
    for (int i = 0; i < N_VALUES; i++)
        ((float *)tensor->data)[i] = value;
    assert_int_equal(cygnet_tensors_serialize(&m->file, &m->len, m->list, NULL),
                     CYGNET_OK);
    (void)snprintf(task->weights_url, sizeof(task->weights_url), "/v1/blobs/x");
    task->weights_bytes = m->len;
    assert_int_equal(sha256_hex(task->weights_sha256, m->file, m->len, NULL), CYGNET_OK);
}

static void model_clear(struct model *m)
{
    cygnet_tensors_free_bytes(m->list, m->file);
    cygnet_tensors_destroy(m->list);
}

static void remember(uint64_t n, void *user)
{
    *(uint64_t *)user = n;
}

/* Fetches and checks what came; n_moved receives the bytes over the network. */
static cygnet_status fetch(struct bench *b, uint64_t *n_moved)
{
    cygnet_tensors *weights = NULL;
    uint64_t moved = 0;
    cygnet_status st = b->coordinator->fetch(b->coordinator, &weights, &b->task, remember,
                                             &moved, NULL, &b->err);

    if (st == CYGNET_OK)
        assert_int_equal(cygnet_tensors_at(weights, 0)->shape[0], N_VALUES);
    else
        assert_null(weights);
    cygnet_tensors_destroy(weights);
    if (n_moved)
        *n_moved = moved;
    return st;
}

static struct fake_reply *reply_part(struct bench *b, const struct model *m, size_t from)
{
    char range[80];
    struct fake_reply *reply =
        fake_http_reply_bytes(b->http, 206, (const char *)m->file + from, m->len - from);

    (void)snprintf(range, sizeof(range), "bytes %zu-%zu/%zu", from, m->len - 1, m->len);
    fake_reply_header(reply, "content-range", range);
    return reply;
}

static void set_url(struct bench *b, const char *url)
{
    (void)snprintf(b->task.weights_url, sizeof(b->task.weights_url), "%s", url);
}

static void break_off(struct fake_reply *reply, size_t after)
{
    reply->fail_with = CYGNET_ENETWORK;
    reply->cut_after = after;
}

/* ---- Over the network ---------------------------------------------------- */

static void test_a_transfer_may_take_as_long_as_the_round(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 2500);
    reply_part(&b, &m, 2500);

    assert_int_equal(fetch(&b, NULL), CYGNET_OK);
    assert_int_equal(b.http->requests[0].timeout_ms, 60000);
    assert_int_equal(b.http->requests[1].timeout_ms, 60000); /* the clock stood still */
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_broken_transfer_does_not_go_on_after_the_round(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    b.task.deadline_s = 0; /* over by the time the first attempt breaks */
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 2500);

    assert_int_equal(fetch(&b, NULL), CYGNET_ENETWORK);
    assert_int_equal(b.http->n_requests, 1);
    model_clear(&m);
    bench_clear(&b);
}

static void test_weights_are_fetched_and_counted(void **state)
{
    struct bench b;
    struct model m;
    uint64_t moved;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    fake_http_reply_bytes(b.http, 200, m.file, m.len);
    assert_int_equal(fetch(&b, &moved), CYGNET_OK);
    assert_int_equal(moved, m.len);
    assert_string_equal(b.http->requests[0].url,
                        "https://coordinator.example:443/fl/v1/blobs/x");
    assert_null(fake_request_header(&b.http->requests[0], "Range"));
    model_clear(&m);
    bench_clear(&b);
}

static void test_an_absolute_url_on_the_same_origin_is_taken(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    set_url(&b, "https://COORDINATOR.example/blobs/y");
    fake_http_reply_bytes(b.http, 200, m.file, m.len);
    assert_int_equal(fetch(&b, NULL), CYGNET_OK);
    assert_string_equal(b.http->requests[0].url,
                        "https://coordinator.example:443/blobs/y");
    set_url(&b, "https://elsewhere.example/blobs/y");
    assert_int_equal(fetch(&b, NULL), CYGNET_EPROTOCOL);
    assert_int_equal(b.http->n_requests, 1);
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_broken_transfer_goes_on_where_it_was(void **state)
{
    struct bench b;
    struct model m;
    uint64_t moved;
    char etag[80];

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 3000);
    break_off(reply_part(&b, &m, 3000), 500);
    reply_part(&b, &m, 3500);
    assert_int_equal(fetch(&b, &moved), CYGNET_OK);
    assert_int_equal(moved, m.len);
    (void)snprintf(etag, sizeof(etag), "\"%s\"", b.task.weights_sha256);
    assert_string_equal(fake_request_header(&b.http->requests[1], "Range"),
                        "bytes=3000-");
    assert_string_equal(fake_request_header(&b.http->requests[1], "If-Range"), etag);
    assert_string_equal(fake_request_header(&b.http->requests[2], "Range"),
                        "bytes=3500-");
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_transfer_that_breaks_after_its_last_byte_is_whole(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), m.len);
    fake_http_reply_bytes(b.http, 416, "", 0); /* to a range that begins at the end */
    assert_int_equal(fetch(&b, NULL), CYGNET_OK);
    assert_int_equal(b.http->n_requests, 1);
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_200_to_a_range_starts_again(void **state)
{
    struct bench b;
    struct model m;
    uint64_t moved;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 3000);
    fake_http_reply_bytes(b.http, 200, m.file, m.len);
    assert_int_equal(fetch(&b, &moved), CYGNET_OK);
    assert_int_equal(moved, m.len + 3000);
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_206_must_be_the_range_that_was_asked_for(void **state)
{
    static const char *const bad[] = {"bytes 2999-8143/8144", "bytes 3001-8143/8144",
                                      "bytes 3000-8143/*",    "bytes 3000-8143/9000",
                                      "bytes 3000-2000/8144", "nonsense",
                                      "bytes */8144",         NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bench b;
        struct model m;
        struct fake_reply *reply;

        bench_init(&b);
        model_init(&m, &b.task, 1.0f);
        break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 3000);
        reply = fake_http_reply_bytes(b.http, 206, (char *)m.file + 3000, m.len - 3000);
        if (bad[i])
            fake_reply_header(reply, "content-range", bad[i]);
        assert_int_equal(fetch(&b, NULL), CYGNET_EPROTOCOL);
        model_clear(&m);
        bench_clear(&b);
    }
}

static void test_a_206_nobody_asked_for_is_refused(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    reply_part(&b, &m, 0);
    assert_int_equal(fetch(&b, NULL), CYGNET_EPROTOCOL);
    model_clear(&m);
    bench_clear(&b);
}

static void test_attempts_end_when_they_bring_nothing_or_are_too_many(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 3000);
    break_off(reply_part(&b, &m, 3000), 0);
    assert_int_equal(fetch(&b, NULL), CYGNET_ENETWORK);
    assert_int_equal(b.http->n_requests, 2);
    bench_clear(&b);
    model_clear(&m);

    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    break_off(fake_http_reply_bytes(b.http, 200, m.file, m.len), 10);
    for (size_t at = 10; at < 200; at += 10)
        break_off(reply_part(&b, &m, at), 10);
    assert_int_equal(fetch(&b, NULL), CYGNET_ENETWORK);
    assert_int_equal(b.http->n_requests, 5);
    bench_clear(&b);
    model_clear(&m);
}

static void test_a_silent_short_body_counts_as_broken(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    fake_http_reply_bytes(b.http, 200, m.file, m.len - 1);
    reply_part(&b, &m, m.len - 1);
    assert_int_equal(fetch(&b, NULL), CYGNET_OK);
    model_clear(&m);
    bench_clear(&b);
}

static void test_what_is_not_the_promised_blob_is_refused(void **state)
{
    struct bench b;
    struct model m;
    char *longer;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    longer = calloc(1, m.len + 1);
    fake_http_reply_bytes(b.http, 200, longer, m.len);
    fake_http_reply_bytes(b.http, 200, longer, m.len + 1);
    assert_int_equal(fetch(&b, NULL), CYGNET_EHASH);
    b.http->piece = m.len / 2; /* the stack's own limit is not what saves us */
    assert_int_equal(fetch(&b, NULL), CYGNET_EPROTOCOL);
    free(longer);
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_blob_that_hashes_well_but_is_no_safetensors_is_refused(void **state)
{
    static const char blob[] = "\x01\0\0\0\0\0\0\0?"; /* a header that is no JSON */
    struct bench b;

    (void)state;
    bench_init(&b);
    set_url(&b, "/x");
    b.task.weights_bytes = 9;
    assert_int_equal(sha256_hex(b.task.weights_sha256, blob, 9, NULL), CYGNET_OK);
    fake_http_reply_bytes(b.http, 200, blob, 9);
    assert_int_equal(fetch(&b, NULL), CYGNET_EFORMAT);
    bench_clear(&b);
}

static void test_a_blob_that_is_gone_is_final(void **state)
{
    static const struct {
        int http;
        cygnet_status status;
    } cases[] = {{404, CYGNET_EREFUSED},
                 {410, CYGNET_EREFUSED},
                 {416, CYGNET_EREFUSED},
                 {503, CYGNET_ESERVER},
                 {302, CYGNET_EPROTOCOL}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench b;
        struct model m;

        bench_init(&b);
        model_init(&m, &b.task, 1.0f);
        fake_http_reply(b.http, cases[i].http, "");
        assert_int_equal(fetch(&b, NULL), cases[i].status);
        assert_int_equal(b.err.detail, cases[i].http);
        if (i < 2)
            assert_non_null(strstr(b.err.message, "the blob is gone"));
        model_clear(&m);
        bench_clear(&b);
    }
}

static void test_a_model_beyond_the_limit_is_not_asked_for(void **state)
{
    struct bench b;
    struct model m;

    (void)state;
    bench_init(&b);
    model_init(&m, &b.task, 1.0f);
    b.task.weights_bytes = 1000001;
    assert_int_equal(fetch(&b, NULL), CYGNET_ELIMIT);
    assert_non_null(strstr(b.err.message, "1000000"));
    assert_int_equal(b.http->n_requests, 0);
    model_clear(&m);
    bench_clear(&b);
}

/* ---- The cache ----------------------------------------------------------- */

struct sandbox {
    char folder[64];
    struct store *store;
};

static int set_up(void **state)
{
    struct sandbox *box = calloc(1, sizeof(*box));

    (void)snprintf(box->folder, sizeof(box->folder), "/tmp/cygnet-cache-XXXXXX");
    assert_non_null(mkdtemp(box->folder));
    assert_int_equal(store_open_directory(&box->store, box->folder, 0, NULL, NULL),
                     CYGNET_OK);
    *state = box;
    return 0;
}

static void remove_files(const char *folder)
{
    char path[512];
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    if (dir)
        (void)closedir(dir);
    (void)rmdir(folder);
}

static int tear_down(void **state)
{
    struct sandbox *box = *state;
    char blobs[80];

    store_destroy(box->store);
    (void)snprintf(blobs, sizeof(blobs), "%s/blobs", box->folder);
    remove_files(blobs);
    remove_files(box->folder);
    free(box);
    return 0;
}

static void test_a_cached_blob_is_not_fetched_again(void **state)
{
    struct sandbox *box = *state;
    struct bench b;
    struct model m;
    uint64_t moved;

    bench_init_cache(&b, box->store, 1 << 20);
    model_init(&m, &b.task, 1.0f);
    fake_http_reply_bytes(b.http, 200, m.file, m.len);
    assert_int_equal(fetch(&b, &moved), CYGNET_OK);
    assert_int_equal(fetch(&b, &moved), CYGNET_OK);
    assert_int_equal(moved, 0);
    assert_int_equal(b.http->n_requests, 1);
    model_clear(&m);
    bench_clear(&b);
}

static void test_a_damaged_cache_entry_is_dropped_and_fetched_anew(void **state)
{
    struct sandbox *box = *state;
    static const char *const damage[] = {"short", "same size", "empty"};

    for (size_t i = 0; i < 3; i++) {
        struct bench b;
        struct model m;
        char name[80];
        char *rubbish;

        bench_init_cache(&b, box->store, 1 << 20);
        model_init(&m, &b.task, 1.0f);
        rubbish = calloc(1, m.len);
        (void)snprintf(name, sizeof(name), "blobs/%s", b.task.weights_sha256);
        assert_int_equal(store_replace(box->store, name, rubbish,
                                       damage[i][0] == 's' && damage[i][1] == 'a' ? m.len
                                       : damage[i][0] == 'e'                      ? 0
                                                                                  : 5,
                                       NULL),
                         CYGNET_OK);
        fake_http_reply_bytes(b.http, 200, m.file, m.len);
        assert_int_equal(fetch(&b, NULL), CYGNET_OK);
        assert_int_equal(fetch(&b, NULL), CYGNET_OK);
        assert_int_equal(b.http->n_requests, 1);
        free(rubbish);
        model_clear(&m);
        bench_clear(&b);
    }
}

static void test_a_wrong_blob_does_not_enter_the_cache(void **state)
{
    struct sandbox *box = *state;
    struct bench b;
    struct model m;
    uint64_t size;
    char name[80];

    bench_init_cache(&b, box->store, 1 << 20);
    model_init(&m, &b.task, 1.0f);
    ((char *)m.file)[m.len - 1] ^= 1;
    fake_http_reply_bytes(b.http, 200, m.file, m.len);
    assert_int_equal(fetch(&b, NULL), CYGNET_EHASH);
    (void)snprintf(name, sizeof(name), "blobs/%s", b.task.weights_sha256);
    assert_int_equal(store_size(box->store, &size, name, NULL), CYGNET_ENOTFOUND);
    model_clear(&m);
    bench_clear(&b);
}

/* A blob of `len` bytes `c`; its hash. */
static void put(struct blob_cache *cache, char hex[SHA256_HEX + 1], char c, size_t len)
{
    char data[100];

    assert_true(len <= sizeof(data));
    memset(data, c, len);
    assert_int_equal(sha256_hex(hex, data, len, NULL), CYGNET_OK);
    blob_cache_put(cache, hex, data, len);
}

static cygnet_status get(struct blob_cache *cache, const char *hex, size_t len)
{
    struct bytes out;
    cygnet_status st;

    bytes_init(&out, 100, NULL);
    st = blob_cache_get(cache, &out, hex, len, NULL);
    bytes_clear(&out);
    return st;
}

/* Makes the entry look as if it was last used `s` seconds after 1970. */
static void date(const struct sandbox *box, const char *hex, time_t s)
{
    struct timespec times[2] = {{.tv_sec = s}, {.tv_sec = s}};
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/blobs/%s", box->folder, hex);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_the_least_recently_used_blob_makes_room(void **state)
{
    struct sandbox *box = *state;
    struct blob_cache cache = {.store = box->store, .max_bytes = 100};
    char a[SHA256_HEX + 1], b[SHA256_HEX + 1], c[SHA256_HEX + 1];

    put(&cache, a, 'a', 40);
    put(&cache, b, 'b', 40);
    date(box, a, 1000);
    date(box, b, 2000);
    assert_int_equal(get(&cache, a, 40), CYGNET_OK); /* a is the younger one now */
    put(&cache, c, 'c', 40);
    assert_int_equal(get(&cache, a, 40), CYGNET_OK);
    assert_int_equal(get(&cache, b, 40), CYGNET_ENOTFOUND);
    assert_int_equal(get(&cache, c, 40), CYGNET_OK);
}

static void test_the_cache_never_holds_more_than_its_bound(void **state)
{
    struct sandbox *box = *state;
    struct blob_cache cache = {.store = box->store, .max_bytes = 100};
    char hex[20][SHA256_HEX + 1];
    size_t n_kept = 0;

    for (int i = 0; i < 20; i++)
        put(&cache, hex[i], (char)('a' + i), 30);
    for (int i = 0; i < 20; i++)
        n_kept += get(&cache, hex[i], 30) == CYGNET_OK;
    assert_int_equal(n_kept, 3);
    cache.max_bytes = 29;
    put(&cache, hex[0], 'A', 30);
    assert_int_equal(get(&cache, hex[0], 30), CYGNET_ENOTFOUND);
}

static void test_a_cache_that_cannot_write_does_not_fail_the_fetch(void **state)
{
    struct sandbox *box = *state;
    struct bench b;
    struct model m;
    char path[80];
    int fd;

    /* A file where the folder of blobs should be: every write fails, as it does on
     * a full disk. */
    (void)snprintf(path, sizeof(path), "%s/blobs", box->folder);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    bench_init_cache(&b, box->store, 1 << 20);
    model_init(&m, &b.task, 1.0f);
    fake_http_reply_bytes(b.http, 200, m.file, m.len);
    assert_int_equal(fetch(&b, NULL), CYGNET_OK);
    model_clear(&m);
    bench_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_are_fetched_and_counted),
        cmocka_unit_test(test_a_transfer_may_take_as_long_as_the_round),
        cmocka_unit_test(test_a_broken_transfer_does_not_go_on_after_the_round),
        cmocka_unit_test(test_an_absolute_url_on_the_same_origin_is_taken),
        cmocka_unit_test(test_a_broken_transfer_goes_on_where_it_was),
        cmocka_unit_test(test_a_transfer_that_breaks_after_its_last_byte_is_whole),
        cmocka_unit_test(test_a_200_to_a_range_starts_again),
        cmocka_unit_test(test_a_206_must_be_the_range_that_was_asked_for),
        cmocka_unit_test(test_a_206_nobody_asked_for_is_refused),
        cmocka_unit_test(test_attempts_end_when_they_bring_nothing_or_are_too_many),
        cmocka_unit_test(test_a_silent_short_body_counts_as_broken),
        cmocka_unit_test(test_what_is_not_the_promised_blob_is_refused),
        cmocka_unit_test(test_a_blob_that_hashes_well_but_is_no_safetensors_is_refused),
        cmocka_unit_test(test_a_blob_that_is_gone_is_final),
        cmocka_unit_test(test_a_model_beyond_the_limit_is_not_asked_for),
        cmocka_unit_test_setup_teardown(test_a_cached_blob_is_not_fetched_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_damaged_cache_entry_is_dropped_and_fetched_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_wrong_blob_does_not_enter_the_cache,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_least_recently_used_blob_makes_room,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_cache_never_holds_more_than_its_bound,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_cache_that_cannot_write_does_not_fail_the_fetch, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
