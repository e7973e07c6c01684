/* FedScale's pickles against recorded ones: weights of every protocol, what comes
 * beside them, and what is sent, byte for byte. */
#include "tests/unit/transport/pickle_fixture.h"

#include "tests/fakes/fake_alloc.h"
#include "transport/torch_storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT ((uint64_t)1 << 20)

static cygnet_status read_weights(cygnet_tensors **out, const void *data, size_t len,
                                  const struct fedscale_layout *layout, cygnet_error *err)
{
    return fedscale_weights_read(out, data, len, layout, LIMIT, NULL, err);
}

static cygnet_tensors *golden_tensors(const char *name)
{
    cygnet_tensors *list;
    cygnet_error err = {0};
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    if (cygnet_tensors_load(&list, path, LIMIT, NULL, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return list;
}

static void assert_same_tensors(const cygnet_tensors *got, const cygnet_tensors *want)
{
    assert_int_equal(cygnet_tensors_count(got), cygnet_tensors_count(want));
    for (size_t i = 0; i < cygnet_tensors_count(want); i++) {
        const cygnet_tensor *a = cygnet_tensors_at(got, i);
        const cygnet_tensor *b = cygnet_tensors_at(want, i);

        assert_string_equal(a->name, b->name);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->n_dims, b->n_dims);
        assert_memory_equal(a->shape, b->shape, a->n_dims * sizeof(a->shape[0]));
        assert_int_equal(a->size_bytes, b->size_bytes);
        assert_memory_equal(a->data, b->data, a->size_bytes);
    }
}

static void check_weights(const char *pickle, const char *expected,
                          const struct fedscale_layout *layout)
{
    cygnet_tensors *want = golden_tensors(expected);
    cygnet_tensors *got;
    cygnet_error err = {0};
    size_t len;
    uint8_t *data = golden_read(&len, pickle);

    assert_true(fedscale_has_weights(data, len));
    if (read_weights(&got, data, len, layout, &err) != CYGNET_OK)
        fail_msg("%s: %s", pickle, err.message);
    assert_same_tensors(got, want);
    cygnet_tensors_destroy(got);
    cygnet_tensors_destroy(want);
    free(data);
}

static void test_weights_of_protocols_3_to_5_are_read(void **state)
{
    (void)state;
    check_weights("weights_3.pickle", "weights.safetensors", &small_layout);
    check_weights("weights_4.pickle", "weights.safetensors", &small_layout);
    check_weights("weights_5.pickle", "weights.safetensors", &small_layout);
    check_weights("lr_weights_4.pickle", "lr_weights.safetensors", &dense_layout);
}

/* The layout of the small model, which a test may spoil. */
struct spoilt {
    cygnet_tensor items[10];
    struct fedscale_layout layout;
};

static void spoilt_init(struct spoilt *s)
{
    memcpy(s->items, small_layout.items, 9 * sizeof(s->items[0]));
    s->items[9] = (cygnet_tensor){.name = "extra", .dtype = CYGNET_F32};
    s->layout = (struct fedscale_layout){s->items, 9};
}

static void assert_layout_refused(const struct spoilt *s, const char *message)
{
    cygnet_tensors *list = (cygnet_tensors *)(void *)&list;
    cygnet_error err = {0};
    size_t len;
    uint8_t *data = golden_read(&len, "weights_4.pickle");

    assert_failed(read_weights(&list, data, len, &s->layout, &err), CYGNET_ESHAPE, err,
                  message);
    assert_null(list);
    free(data);
}

static void test_another_layout_is_refused_by_tensor(void **state)
{
    struct spoilt s;

    (void)state;
    spoilt_init(&s);
    s.items[0].shape[1] = 1;
    assert_layout_refused(&s, "tensor \"conv.weight\": expected F32 (4, 1, 3, 3), "
                              "found F32 (4, 3, 3, 3)");
    spoilt_init(&s);
    s.items[6].dtype = CYGNET_F32;
    assert_layout_refused(&s,
                          "\"bn.num_batches_tracked\": expected F32 (), found I64 ()");
    spoilt_init(&s);
    s.items[8].n_dims = 2;
    s.items[8].shape[1] = 1;
    assert_layout_refused(&s, "tensor \"fc.bias\": expected F32 (10, 1), found F32 (10)");
    spoilt_init(&s);
    s.layout.n = 10;
    assert_layout_refused(&s, "expected 10 tensors, found 9: \"extra\" is missing");
    spoilt_init(&s);
    s.layout.n = 8;
    assert_layout_refused(&s,
                          "expected 8 tensors, found 9: what is behind \"fc.weight\"");
}

static void test_weights_beyond_the_limit_are_refused(void **state)
{
    cygnet_tensors *list;
    cygnet_error err = {0};
    size_t len;
    uint8_t *data = golden_read(&len, "weights_4.pickle");

    (void)state;
    assert_failed(fedscale_weights_read(&list, data, len, &small_layout, 500, NULL, &err),
                  CYGNET_ELIMIT, err, "more than the limit of 500 bytes");
    free(data);
}

struct patch {
    const char *from;
    const char *to;
    size_t len;
    cygnet_status status;
    const char *message;
};

#define BYTES(a, b) a, b, sizeof(a) - 1

/* Each puts other bytes of the same number where some stand first. */
static const struct patch patches[] = {
    {BYTES("_rebuild_tensor_v2", "_rebuild_tensor_v3"), CYGNET_EUNSUPPORTED,
     "the global \"torch._utils _rebuild_tensor_v3\" is not allowed"},
    {BYTES("FloatStorage", "ShortStorage"), CYGNET_EUNSUPPORTED,
     "\"conv.weight\": torch storage: pickle: byte 17: the global \"torch "
     "ShortStorage\""},
    {BYTES("little_endianq\2\x88", "little_endianq\2\x89"), CYGNET_EFORMAT,
     "its bytes are not little-endian"},
    {BYTES("little_endian", "Little_endian"), CYGNET_EFORMAT, "not little-endian"},
    {BYTES("protocol_versionq\1M\xe9", "protocol_versionq\1M\xea"), CYGNET_EFORMAT,
     "is not of version 1001"},
    {BYTES("\x8a\nl\xfc", "\x8a\nm\xfc"), CYGNET_EFORMAT,
     "does not begin as one of version 1001"},
    {BYTES("X\7\0\0\0storage", "X\7\0\0\0storagf"), CYGNET_EFORMAT,
     "its third part is not a storage's id"},
    {BYTES("a.l\0\0\0\0\0\0\0", "a.m\0\0\0\0\0\0\0"), CYGNET_EFORMAT,
     "two numbers of elements differ"},
    {BYTES("K\0(K\4K\3K\3K\3t", "K\1(K\4K\3K\3K\3t"), CYGNET_EFORMAT,
     "it does not begin where its storage begins"},
    {BYTES("(K\4K\3K\3K\3t", "(K\4K\3K\3K\2t"), CYGNET_EFORMAT,
     "its storage does not have the elements of its size"},
    {BYTES("(K\x1bK\tK\3K\1t", "(K\x1bK\tK\1K\3t"), CYGNET_EFORMAT,
     "\"conv.weight\": it is not contiguous"},
    {BYTES("\x89\x8c\x0b"
           "coll",
           "N\x8c\x0b"
           "coll"),
     CYGNET_EFORMAT, "it has hooks"},
};

static uint8_t *find(uint8_t *data, size_t len, const char *what, size_t what_len)
{
    for (size_t i = 0; i + what_len <= len; i++)
        if (memcmp(data + i, what, what_len) == 0)
            return data + i;
    fail_msg("the recorded weights hold no \"%s\"", what);
    return NULL;
}

/* Each tensor has one: what is long in it would be read as often. */
static void test_the_parts_of_a_storage_are_short(void **state)
{
    static const char head[] = "\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                               "\x80\2M\xe9\3.\x80\2](";
    struct torch_storage storage;
    cygnet_error err = {0};
    char blob[10000];

    (void)state;
    memset(blob, 'N', sizeof(blob));
    memcpy(blob, head, sizeof(head) - 1);
    memcpy(blob + sizeof(blob) - 2, "e.", 2);
    assert_failed(torch_storage_read(&storage, blob, sizeof(blob), NULL, &err),
                  CYGNET_EFORMAT, err, "ends after 4096 bytes");
}

static void test_spoilt_weights_are_refused_with_their_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
        const struct patch *p = &patches[i];
        cygnet_tensors *list;
        cygnet_error err = {0};
        size_t len;
        uint8_t *data = golden_read(&len, "weights_4.pickle");

        memcpy(find(data, len, p->from, p->len), p->to, p->len);
        assert_failed(read_weights(&list, data, len, &small_layout, &err), p->status, err,
                      p->message);
        assert_null(list);
        free(data);
    }
}

static void check_cuts(const char *name)
{
    size_t len;
    uint8_t *data = golden_read(&len, name);

    for (size_t n = 0; n < len; n++) {
        uint8_t *cut = exact_copy(data, n);
        struct fedscale_meta meta;
        cygnet_tensors *list;
        cygnet_error err = {0};

        if (read_weights(&list, cut, n, &small_layout, &err) == CYGNET_OK ||
            fedscale_meta_read(&meta, cut, n, NULL, &err) == CYGNET_OK)
            fail_msg("%s is accepted after %zu bytes", name, n);
        assert_true(err.message[0] != '\0');
        free(cut);
    }
    free(data);
}

static void test_a_payload_cut_anywhere_is_refused(void **state)
{
    (void)state;
    check_cuts("weights_3.pickle");
    check_cuts("weights_5.pickle");
    check_cuts("train_meta_3.pickle");
    check_cuts("train_meta_4.pickle");
    check_cuts("no_data.pickle");
}

/* What is still read has the layout's shapes. */
static void test_a_flipped_bit_is_refused_or_changes_a_value(void **state)
{
    size_t len;
    uint8_t *data = golden_read(&len, "weights_3.pickle");
    size_t n_read = 0;

    (void)state;
    for (size_t bit = 0; bit < 8 * len; bit++) {
        cygnet_tensors *list;

        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (read_weights(&list, data, len, &small_layout, NULL) == CYGNET_OK) {
            n_read++;
            assert_int_equal(cygnet_tensors_count(list), 9);
            assert_int_equal(cygnet_tensors_at(list, 0)->size_bytes, 432);
        }
        cygnet_tensors_destroy(list);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(n_read > 8 * 1200); /* all those in elements */
    free(data);
}

static void read_meta(struct fedscale_meta *meta, const char *name)
{
    cygnet_error err = {0};
    size_t len;
    uint8_t *data = golden_read(&len, name);

    if (fedscale_meta_read(meta, data, len, NULL, &err) != CYGNET_OK)
        fail_msg("%s: %s", name, err.message);
    free(data);
}

static void test_meta_of_training_has_id_and_rate(void **state)
{
    static const char *const names[] = {"train_meta_3.pickle", "train_meta_4.pickle",
                                        "train_meta_5.pickle"};
    struct fedscale_meta meta;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        read_meta(&meta, names[i]);
        assert_string_equal(meta.client_id, "1");
        assert_false(meta.client_id_is_int);
        assert_true(meta.has_lr && meta.lr == 0.05);
    }
}

static void test_meta_without_a_rate_or_anything_is_read(void **state)
{
    struct fedscale_meta meta;
    size_t len;
    uint8_t *data = golden_read(&len, "no_data.pickle");

    (void)state;
    assert_false(fedscale_has_weights(data, len));
    free(data);
    read_meta(&meta, "lr_test_meta.pickle");
    assert_string_equal(meta.client_id, "1");
    assert_false(meta.has_lr);
    read_meta(&meta, "no_data.pickle");
    assert_string_equal(meta.client_id, "");
    assert_false(meta.has_lr);
}

struct meta_case {
    const char *text;
    size_t len;
    const char *message; /* NULL: read */
};

#define TEXT(literal) literal, sizeof(literal) - 1
#define ID                                                                               \
    "\x80\x04}\x8c\x09"                                                                  \
    "client_id"
#define RATE "\x80\x04}\x8c\x0btask_config}\x8c\rlearning_rate"

static const struct meta_case meta_cases[] = {
    {TEXT(ID "K\x07s."), NULL},
    {TEXT(RATE "K\1ss."), NULL},
    {TEXT(ID "Ns."), "\"client_id\" is neither"},
    {TEXT(ID "\x8c\2a\0s."), "\"client_id\" is not a text"},
    {TEXT(ID "\x8c\2\xc3(s."), "\"client_id\" is not a text"},
    {TEXT(RATE "G\x7f\xf8\0\0\0\0\0\0ss."), "\"learning_rate\" is not a finite"},
    {TEXT(RATE "G\xbf\xf0\0\0\0\0\0\0ss."), "\"learning_rate\" is not a finite"},
    {TEXT(RATE "\x88ss."), "\"learning_rate\" is not a finite"},
    {TEXT("\x80\x04}\x8c\x0btask_configNs."), "\"task_config\" is not a dict"},
    {TEXT("\x80\x04]."), "neither a dict nor a string"},
};

static void test_meta_of_other_kinds_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(meta_cases) / sizeof(meta_cases[0]); i++) {
        const struct meta_case *c = &meta_cases[i];
        struct fedscale_meta meta;
        cygnet_error err = {0};
        cygnet_status st = fedscale_meta_read(&meta, c->text, c->len, NULL, &err);

        if (c->message)
            assert_failed(st, CYGNET_EFORMAT, err, c->message);
        else
            assert_int_equal(st, CYGNET_OK);
    }
}

static void test_an_id_that_is_a_number_stays_one(void **state)
{
    struct fedscale_meta meta;

    (void)state;
    assert_int_equal(fedscale_meta_read(&meta, meta_cases[0].text, meta_cases[0].len,
                                        NULL, NULL),
                     CYGNET_OK);
    assert_true(meta.client_id_is_int);
    assert_int_equal(meta.client_id_int, 7);
    assert_string_equal(meta.client_id, "7");
}

static void assert_golden(struct bytes *out, const char *name)
{
    size_t len;
    uint8_t *data = golden_read(&len, name);

    assert_int_equal(out->len, len);
    assert_memory_equal(out->data, data, len);
    free(data);
    bytes_clear(out);
}

static void test_info_and_results_are_the_recorded_bytes(void **state)
{
    const struct fedscale_results results = {25, 126, 632.5, 256};
    struct bytes out;

    (void)state;
    bytes_init(&out, 4096, NULL);
    assert_int_equal(fedscale_info_write(&out, 600, NULL), CYGNET_OK);
    assert_golden(&out, "minimal_info.pickle");
    assert_int_equal(fedscale_results_write(&out, "1", &results, NULL), CYGNET_OK);
    assert_golden(&out, "minimal_results.pickle");
}

static const cygnet_tensor minimal_items[] = {
    {.name = "w", .dtype = CYGNET_F32, .n_dims = 2, .shape = {2, 3}},
    {.name = "b", .dtype = CYGNET_F32, .n_dims = 1, .shape = {2}},
    {.name = "n", .dtype = CYGNET_I64},
};
static const struct fedscale_layout minimal_layout = {minimal_items, 3};
static const struct fedscale_meta minimal_who = {.client_id = "1"};

/* In another order than the layout's: names decide. */
static cygnet_tensors *minimal_weights(void)
{
    cygnet_tensors *list;
    cygnet_tensor *w, *b, *n;

    assert_int_equal(cygnet_tensors_create(&list, 4096, NULL, NULL), CYGNET_OK);
    assert_int_equal(cygnet_tensors_add(&n, list, "n", CYGNET_I64, NULL, 0, NULL), 0);
    assert_int_equal(cygnet_tensors_add(&w, list, "w", CYGNET_F32, minimal_items[0].shape,
                                        2, NULL),
                     0);
    assert_int_equal(cygnet_tensors_add(&b, list, "b", CYGNET_F32, minimal_items[1].shape,
                                        1, NULL),
                     0);
    for (int i = 0; i < 8; i++)
        (i < 6 ? (float *)w->data : (float *)b->data - 6)[i] = (float)(i < 6 ? i : i + 1);
    *(int64_t *)n->data = 5;
    return list;
}

static struct fedscale_upload minimal_upload(const cygnet_tensors *weights)
{
    return (struct fedscale_upload){.who = &minimal_who,
                                    .weights = weights,
                                    .layout = &minimal_layout,
                                    .moving_loss = 0.5,
                                    .utility = 12.0,
                                    .trained_size = 600,
                                    .success = true};
}

static void test_an_upload_is_the_recorded_bytes(void **state)
{
    cygnet_tensors *weights = minimal_weights();
    struct fedscale_upload upload = minimal_upload(weights);
    struct bytes out;

    (void)state;
    bytes_init(&out, 4096, NULL);
    assert_int_equal(fedscale_upload_write(&out, &upload, NULL), CYGNET_OK);
    assert_golden(&out, "minimal_upload.pickle");
    cygnet_tensors_destroy(weights);
}

static void assert_upload_refused(const struct fedscale_upload *upload,
                                  cygnet_status status, const char *message)
{
    cygnet_error err = {0};
    struct bytes out;

    bytes_init(&out, 4096, NULL);
    assert_failed(fedscale_upload_write(&out, upload, &err), status, err, message);
    assert_int_equal(out.len, 0);
    bytes_clear(&out);
}

static void test_numbers_that_would_kill_the_aggregator_are_not_sent(void **state)
{
    static const struct fedscale_meta nobody = {0};
    cygnet_tensors *weights = minimal_weights();
    struct fedscale_upload upload = minimal_upload(weights);

    (void)state;
    upload.moving_loss = -1;
    assert_upload_refused(&upload, CYGNET_EINVAL, "a number that cannot be averaged");
    upload = minimal_upload(weights);
    upload.moving_loss = (double)NAN;
    assert_upload_refused(&upload, CYGNET_EINVAL, "a number that cannot be averaged");
    upload = minimal_upload(weights);
    upload.utility = (double)INFINITY;
    assert_upload_refused(&upload, CYGNET_EINVAL, "a number that cannot be averaged");
    upload = minimal_upload(weights);
    upload.who = &nobody;
    assert_upload_refused(&upload, CYGNET_EINVAL, "there is no client id");
    cygnet_tensors_destroy(weights);
}

static void test_weights_that_would_kill_the_aggregator_are_not_sent(void **state)
{
    cygnet_tensors *weights = minimal_weights();
    struct fedscale_upload upload = minimal_upload(weights);
    const struct fedscale_layout shorter = {minimal_items, 2};

    (void)state;
    upload.layout = &dense_layout;
    assert_upload_refused(&upload, CYGNET_ESHAPE, "\"fc.weight\" is missing");
    upload.layout = &shorter;
    assert_upload_refused(&upload, CYGNET_ESHAPE, "expected 2 tensors, found 3");
    upload.layout = &minimal_layout;
    *(float *)cygnet_tensors_find(weights, "b")->data = (float)NAN;
    assert_upload_refused(&upload, CYGNET_ENUMERIC, "\"b\" holds NaN or infinity");
    cygnet_tensors_destroy(weights);
}

static void test_results_that_cannot_be_averaged_are_not_sent(void **state)
{
    const struct fedscale_results bad[] = {{1, 1, (double)NAN, 1},
                                           {1, 1, 1, 0},
                                           {1, 1, 1, (double)INFINITY},
                                           {-1, 1, 1, 1}};
    const struct fedscale_results empty = {0, 0, 0, 1e-9};
    cygnet_error err = {0};
    struct bytes out;

    (void)state;
    bytes_init(&out, 4096, NULL);
    for (size_t i = 0; i < 4; i++)
        assert_failed(fedscale_results_write(&out, "1", &bad[i], &err), CYGNET_EINVAL,
                      err, "cannot be averaged");
    assert_int_equal(fedscale_results_write(&out, "1", &empty, &err), CYGNET_OK);
    bytes_clear(&out);
}

static void test_each_refused_allocation_is_an_error(void **state)
{
    struct fake_alloc fake;
    cygnet_tensors *list;
    cygnet_status st = CYGNET_ENOMEM;
    size_t len;
    uint8_t *data = golden_read(&len, "weights_4.pickle");

    (void)state;
    for (long k = 1; st != CYGNET_OK; k++) {
        fake_alloc_init(&fake);
        fake.fail_at = k;
        st = fedscale_weights_read(&list, data, len, &small_layout, LIMIT, &fake.alloc,
                                   NULL);
        assert_true(st == CYGNET_OK ? k > 50 : st == CYGNET_ENOMEM);
        cygnet_tensors_destroy(list);
        assert_int_equal(fake.n_live, 0);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_of_protocols_3_to_5_are_read),
        cmocka_unit_test(test_another_layout_is_refused_by_tensor),
        cmocka_unit_test(test_weights_beyond_the_limit_are_refused),
        cmocka_unit_test(test_the_parts_of_a_storage_are_short),
        cmocka_unit_test(test_spoilt_weights_are_refused_with_their_reason),
        cmocka_unit_test(test_a_payload_cut_anywhere_is_refused),
        cmocka_unit_test(test_a_flipped_bit_is_refused_or_changes_a_value),
        cmocka_unit_test(test_meta_of_training_has_id_and_rate),
        cmocka_unit_test(test_meta_without_a_rate_or_anything_is_read),
        cmocka_unit_test(test_meta_of_other_kinds_is_refused),
        cmocka_unit_test(test_an_id_that_is_a_number_stays_one),
        cmocka_unit_test(test_info_and_results_are_the_recorded_bytes),
        cmocka_unit_test(test_an_upload_is_the_recorded_bytes),
        cmocka_unit_test(test_numbers_that_would_kill_the_aggregator_are_not_sent),
        cmocka_unit_test(test_weights_that_would_kill_the_aggregator_are_not_sent),
        cmocka_unit_test(test_results_that_cannot_be_averaged_are_not_sent),
        cmocka_unit_test(test_each_refused_allocation_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
