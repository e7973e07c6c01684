#include "bench.h"

#include "examples/coordinator/hash.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t mono_ms(void *user)
{
    return ((struct bench *)user)->now_ms;
}

static int64_t wall_ms(void *user)
{
    return ((struct bench *)user)->now_ms + INT64_C(1700000000000);
}

void bench_init(struct bench *b)
{
    *b = (struct bench){.now_ms = 1000000, .clock = {mono_ms, wall_ms, b}};
    b->options = (struct options){.population = "test",
                                  .model = "none",
                                  .codec = "none",
                                  .classes = 2,
                                  .rounds = 10,
                                  .participants = 2,
                                  .over_commitment = 1,
                                  .min_clients = 2,
                                  .max_clients = 200,
                                  .max_examples_weight = 1000,
                                  .min_fraction = 0.5,
                                  .deadline_s = BENCH_DEADLINE_MS / 1000,
                                  .lease_s = BENCH_LEASE_MS / 1000,
                                  .grace_s = BENCH_GRACE_MS / 1000,
                                  .server_lr = 1,
                                  .target_accuracy = 2,
                                  .seed = 1};
    memcpy(b->folder, "/tmp/cygnet-rounds-XXXXXX", 26);
    assert_non_null(mkdtemp(b->folder));
}

static cygnet_tensors *make_tensors(float value)
{
    const uint64_t shape[] = {BENCH_WEIGHTS};
    cygnet_tensors *list = NULL;
    cygnet_tensor *t = NULL;

    assert_int_equal(cygnet_tensors_create(&list, 1024, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(&t, list, "w", CYGNET_F32, shape, 1, NULL),
                     CYGNET_OK);
    for (size_t i = 0; i < BENCH_WEIGHTS; i++)
        ((float *)t->data)[i] = value;
    return list;
}

void bench_start(struct bench *b)
{
    char path[FILES_PATH_MAX];
    cygnet_error err = {0};

    b->tools = (struct tools){&b->options, &b->files, NULL, &b->clock};
    assert_int_equal(files_open(&b->files, b->folder, &err), CYGNET_OK);
    files_db_path(path, &b->files);
    assert_int_equal(db_open(&b->tools.db, path, &err), CYGNET_OK);
    if (rounds_create(&b->r, &b->tools, make_tensors(1), &err) != CYGNET_OK)
        fail_msg("rounds_create: %s", err.message);
}

static void stop(struct bench *b)
{
    rounds_destroy(b->r);
    db_close(b->tools.db);
    files_close(&b->files);
    b->r = NULL;
}

void bench_restart(struct bench *b)
{
    stop(b);
    bench_start(b);
}

static int remove_entry(const char *path, const struct stat *info, int kind,
                        struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void bench_clear(struct bench *b)
{
    if (b->r)
        stop(b);
    nftw(b->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

cygnet_status bench_try_tick(struct bench *b)
{
    cygnet_error err = {0};

    return rounds_tick(b->r, &err);
}

void bench_pass(struct bench *b, int64_t ms)
{
    b->now_ms += ms;
    assert_int_equal(bench_try_tick(b), CYGNET_OK);
}

enum answer bench_check_in(struct bench *b, struct seat *seat, int n)
{
    cygnet_error err = {0};
    enum answer answer;
    char id[16];

    snprintf(id, sizeof id, "client-%d", n);
    if (rounds_check_in(&answer, seat, b->r, id, &err) != CYGNET_OK)
        fail_msg("rounds_check_in: %s", err.message);
    return answer;
}

struct seat bench_task(struct bench *b, int n)
{
    struct seat seat = {0};

    assert_int_equal(bench_check_in(b, &seat, n), ANSWER_TASK);
    assert_int_equal(seat.state, SEAT_ASSIGNED);
    return seat;
}

static void save_update(struct bench *b, const struct seat *seat, const char *sha256,
                        const void *bytes, size_t len)
{
    char path[FILES_PATH_MAX];

    files_update_path(path, &b->files, seat->token, sha256);
    assert_int_equal(files_save(path, bytes, len, NULL), CYGNET_OK);
}

/* The container of docs/update-format.md, codec none. */
static void *encode(size_t *len, const struct seat *seat, cygnet_tensors *deltas,
                    uint64_t examples)
{
    void *bytes = NULL;
    char text[160];

    snprintf(text, sizeof text,
             "{\"version\":1,\"kind\":\"delta\",\"round\":%llu,\"examples\":%llu,"
             "\"steps\":1}",
             (unsigned long long)seat->round, (unsigned long long)examples);
    assert_int_equal(cygnet_tensors_set_metadata(deltas, "cygnet_update", text, NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_set_metadata(deltas, "cygnet_codec",
                                                 "{\"version\":1,\"name\":\"none\","
                                                 "\"stages\":[],\"parameters\":{},"
                                                 "\"tensors\":{}}",
                                                 NULL),
                     CYGNET_OK);
    assert_int_equal(cygnet_tensors_serialize(&bytes, len, deltas, NULL), CYGNET_OK);
    return bytes;
}

enum verdict bench_update(struct bench *b, const struct seat *seat, float delta,
                          uint64_t examples)
{
    cygnet_tensors *deltas = make_tensors(delta);
    uint8_t digest[HASH_BYTES];
    char hex[HASH_HEX + 1];
    cygnet_error err = {0};
    enum verdict verdict;
    size_t len = 0;
    void *bytes = encode(&len, seat, deltas, examples);

    hash_bytes(digest, bytes, len);
    hash_hex(hex, digest);
    verdict = rounds_judge(b->r, seat->round, seat->token, hex);
    if (verdict == VERDICT_GO) {
        save_update(b, seat, hex, bytes, len);
        if (rounds_accept(b->r, seat->token, hex, deltas, examples, len, &err) !=
            CYGNET_OK)
            fail_msg("rounds_accept: %s", err.message);
    }
    cygnet_tensors_free_bytes(deltas, bytes);
    cygnet_tensors_destroy(deltas);
    return verdict;
}

void bench_close(struct bench *b, double accuracy)
{
    struct round_row row = b->r->round.row;
    cygnet_tensors *weights = NULL;
    struct global *next = NULL;

    assert_int_equal(b->r->phase, PHASE_CLOSING);
    assert_int_equal(aggregate_apply(&weights, b->r->round.sum,
                                     global_weights(b->r->global), 1, NULL),
                     CYGNET_OK);
    assert_int_equal(global_create(&next, weights, &b->files, NULL), CYGNET_OK);
    row.state = ROUND_DONE;
    row.accuracy = accuracy;
    memcpy(row.result, global_sha256(next), sizeof row.result);
    assert_int_equal(rounds_finish(b->r, next, &row, NULL), CYGNET_OK);
    rounds_prune(b->r);
}

float bench_weight(const struct bench *b)
{
    return ((const float *)cygnet_tensors_at(global_weights(b->r->global), 0)->data)[0];
}
