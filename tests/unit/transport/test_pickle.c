/* The reader of pickles: what it reads, what it refuses and why, its limits; and the
 * writer held against it. */
#include "tests/unit/transport/pickle_fixture.h"

#include "tests/fakes/fake_alloc.h"
#include "transport/pickle.h"

#include <math.h>
#include <stdlib.h>

static const struct pickle_global known[] = {{"collections", "OrderedDict"},
                                             {"torch._utils", "_rebuild_tensor_v2"}};
static const struct pickle_rules rules = {known, 2, true};

struct refusal {
    const char *text;
    size_t len;
    cygnet_status status;
    const char *message;
};

#define TEXT(literal) literal, sizeof(literal) - 1

static const struct refusal refusals[] = {
    {TEXT(""), CYGNET_EFORMAT, "the text ends after 0 bytes"},
    {TEXT("N."), CYGNET_EFORMAT, "does not begin with PROTO"},
    {TEXT("\x80\x01N."), CYGNET_EUNSUPPORTED, "protocol 1 is not known"},
    {TEXT("\x80\x06N."), CYGNET_EUNSUPPORTED, "protocol 6 is not known"},
    {TEXT("\x80\x02\x80\x02N."), CYGNET_EFORMAT, "byte 2: PROTO: stands at"},
    {TEXT("\x80\x02N"), CYGNET_EFORMAT, "the text ends after 3 bytes"},
    {TEXT("\x80\x02."), CYGNET_EFORMAT, "byte 2: STOP: the stack does not hold one"},
    {TEXT("\x80\x02NN."), CYGNET_EFORMAT, "byte 4: STOP: the stack does not hold one"},
    {TEXT("\x80\x02N(."), CYGNET_EFORMAT, "byte 4: STOP: the stack does not hold one"},
    {TEXT("\x80\x02N.N"), CYGNET_EFORMAT, "1 bytes follow its end"},
    {TEXT("\x80\x02t."), CYGNET_EFORMAT, "byte 2: TUPLE: there is no mark"},
    {TEXT("\x80\x02N(\x85."), CYGNET_EFORMAT, "byte 4: TUPLE1: the stack has too few"},
    {TEXT("\x80\x02NNa."), CYGNET_EFORMAT, "byte 4: APPEND: there is no list"},
    {TEXT("\x80\x02](Nu."), CYGNET_EFORMAT, "byte 5: SETITEMS: there is no dict"},
    {TEXT("\x80\x02}(X\1\0\0\0au."), CYGNET_EFORMAT, "SETITEMS: a key has no value"},
    {TEXT("\x80\x02}K\1Ns."), CYGNET_EFORMAT, "SETITEM: a key is not a short string"},
    {TEXT("\x80\x02}(\x8c\1aN\x8c\1aNu."), CYGNET_EFORMAT, "a key is there twice"},
    {TEXT("\x80\x02}\x8c\1aNs\x8c\1aNs."), CYGNET_EFORMAT, "a key is there twice"},
    {TEXT("\x80\x02]q\0h\0a."), CYGNET_EFORMAT, "APPEND: a value changes after it"},
    {TEXT("\x80\x02]q\0\x85h\0Na."), CYGNET_EFORMAT, "APPEND: a value changes after it"},
    {TEXT("\x80\x02h\0."), CYGNET_EFORMAT, "byte 2: BINGET: nothing has that number"},
    {TEXT("\x80\x02j\xff\xff\xff\xff."), CYGNET_EFORMAT, "LONG_BINGET: nothing has"},
    {TEXT("\x80\x02Nr\0\0\x10\0."), CYGNET_ELIMIT, "LONG_BINPUT: a number beyond"},
    {TEXT("\x80\x02\x8a\x09\1\1\1\1\1\1\1\1\1."), CYGNET_ELIMIT, "more than 64 bits"},
    {TEXT("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff."), CYGNET_EFORMAT,
     "byte 2: BINBYTES8: the text ends within"},
    {TEXT("\x80\x04\x95\xff\0\0\0\0\0\0\0N."), CYGNET_EFORMAT, "byte 2: FRAME: the text"},
    {TEXT("\x80\x02"
          "cos\nsystem\n(X\2\0\0\0lstR."),
     CYGNET_EUNSUPPORTED, "byte 2: the global \"os system\" is not allowed"},
    {TEXT("\x80\x04\x8c\2os\x8c\6sy\nt\0m\x93."), CYGNET_EUNSUPPORTED,
     "byte 14: the global \"os sy?t?m\" is not allowed"},
    {TEXT("\x80\x04NN\x93."), CYGNET_EFORMAT, "STACK_GLOBAL: module and name are not"},
    {TEXT("\x80\x02"
          "ccollections"),
     CYGNET_EFORMAT, "byte 2: GLOBAL: the text ends within"},
    {TEXT("\x80\x02N)R."), CYGNET_EFORMAT, "REDUCE: only a global is called"},
    {TEXT("\x80\x02"
          "ccollections\nOrderedDict\nNR."),
     CYGNET_EFORMAT, "REDUCE: only a global is called"},
    {TEXT("\x80\x02"
          "ccollections\nOrderedDict\n)\x81."),
     CYGNET_EUNSUPPORTED, "the opcode 0x81 (NEWOBJ) is not allowed"},
    {TEXT("\x80\x02Nb."), CYGNET_EUNSUPPORTED, "byte 3: the opcode 0x62 (BUILD) is"},
    {TEXT("\x80\x02\xff."), CYGNET_EUNSUPPORTED, "0xff (no opcode of Python's)"},
};

static cygnet_status load(struct pickle **out, const char *text, size_t len,
                          cygnet_error *err)
{
    return pickle_load(out, text, len, NULL, &rules, NULL, err);
}

static void test_every_malformation_is_refused_with_place_and_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct pickle *pickle = (struct pickle *)(void *)&pickle;
        uint8_t *text = exact_copy(refusals[i].text, refusals[i].len);
        cygnet_error err = {0};

        assert_failed(load(&pickle, (char *)text, refusals[i].len, &err),
                      refusals[i].status, err, refusals[i].message);
        assert_null(pickle);
        free(text);
    }
}

static void test_only_the_known_opcodes_are_run(void **state)
{
    static const char allowed[] = "(.)BCGJKMNQRX]acehjqrstu}"
                                  "\x80\x85\x86\x87\x88\x89\x8a\x8c\x8e\x93\x94\x95";
    (void)state;
    for (int code = 0; code < 256; code++) {
        const char text[] = {(char)0x80, 2, (char)code};
        struct pickle *pickle;
        cygnet_error err = {0};
        cygnet_status st = load(&pickle, text, sizeof(text), &err);
        int is_allowed = code > 0 && strchr(allowed, code) != NULL;

        assert_int_equal(st, is_allowed ? CYGNET_EFORMAT : CYGNET_EUNSUPPORTED);
    }
}

static void test_numbers_are_read_at_their_ends(void **state)
{
    static const char text[] = "\x80\x04]\x94(K\xffM\xff\xffJ\xff\xff\xff\xff"
                               "J\xff\xff\xff\x7f\x8a\0\x8a\1\xff\x8a\2\xff\0"
                               "\x8a\x08\0\0\0\0\0\0\0\x80"
                               "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"
                               "e.";
    static const int64_t expected[] = {255, 65535, -1,        INT32_MAX, 0,
                                       -1,  255,   INT64_MIN, INT64_MAX};
    struct pickle *pickle;
    const struct pickle_value *list;

    (void)state;
    assert_int_equal(load(&pickle, TEXT(text), NULL), CYGNET_OK);
    list = pickle_root(pickle);
    assert_int_equal(list->n, 9);
    for (size_t i = 0; i < 9; i++) {
        int64_t value = 7;

        assert_true(pickle_int(&value, list->as.items[i]));
        assert_true(value == expected[i]);
    }
    pickle_destroy(pickle);
}

static void test_calls_and_persistent_ids_are_handed_over(void **state)
{
    static const char text[] = "\x80\x02"
                               "ctorch._utils\n_rebuild_tensor_v2\n"
                               "K\5ccollections\nOrderedDict\n)R\x86R\x85Q.";
    struct pickle *pickle;
    const struct pickle_value *id, *call;

    (void)state;
    assert_int_equal(load(&pickle, TEXT(text), NULL), CYGNET_OK);
    id = pickle_root(pickle);
    assert_true(pickle_is(id, PICKLE_PERSISTENT));
    assert_true(pickle_is(id->as.items[0], PICKLE_TUPLE));
    call = id->as.items[0]->as.items[0];
    assert_true(pickle_is_call(call, 1, 2));
    assert_false(pickle_is_call(call, 0, 2));
    assert_true(pickle_is(call->as.items[0], PICKLE_INT));
    assert_true(pickle_is_call(call->as.items[1], 0, 0));
    pickle_destroy(pickle);
}

static void test_without_rules_there_are_no_globals_or_ids(void **state)
{
    struct pickle *pickle;
    cygnet_error err = {0};

    (void)state;
    assert_failed(pickle_load(&pickle,
                              TEXT("\x80\x02"
                                   "ccollections\nOrderedDict\n."),
                              NULL, NULL, NULL, &err),
                  CYGNET_EUNSUPPORTED, err, "\"collections OrderedDict\" is not allowed");
    assert_failed(pickle_load(&pickle, TEXT("\x80\x02NQ."), NULL, NULL, NULL, &err),
                  CYGNET_EUNSUPPORTED, err, "BINPERSID: is not allowed here");
}

static void test_pickles_are_read_one_behind_the_other(void **state)
{
    static const char text[] = "\x80\x02K\1.\x80\x02K\2.rest";
    struct pickle *pickle;
    int64_t value;
    size_t used = 0, at = 0;

    (void)state;
    for (int64_t i = 1; i <= 2; i++) {
        assert_int_equal(pickle_load(&pickle, text + at, sizeof(text) - 1 - at, &used,
                                     NULL, NULL, NULL),
                         CYGNET_OK);
        assert_true(pickle_int(&value, pickle_root(pickle)) && value == i);
        pickle_destroy(pickle);
        at += used;
    }
    assert_string_equal(text + at, "rest");
}

/* PROTO, `n` times the head, the middle, `n` times the tail, STOP. */
static cygnet_status load_repeated(const char *head, size_t n, const char *middle,
                                   const char *tail, cygnet_error *err)
{
    struct bytes text;
    struct pickle *pickle;
    cygnet_status st;

    bytes_init(&text, (size_t)1 << 26, NULL);
    assert_int_equal(bytes_append(&text, "\x80\x02", 2, NULL), CYGNET_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes_append(&text, head, strlen(head), NULL), CYGNET_OK);
    assert_int_equal(bytes_append(&text, middle, strlen(middle), NULL), CYGNET_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes_append(&text, tail, strlen(tail), NULL), CYGNET_OK);
    assert_int_equal(bytes_append(&text, ".", 1, NULL), CYGNET_OK);
    st = load(&pickle, (char *)text.data, text.len, err);
    pickle_destroy(pickle);
    bytes_clear(&text);
    return st;
}

static void test_limits_hold(void **state)
{
    cygnet_error err = {0};

    (void)state;
    assert_int_equal(load_repeated("", PICKLE_MAX_DEPTH - 1, ")", "\x85", &err), 0);
    assert_failed(load_repeated("", PICKLE_MAX_DEPTH, ")", "\x85", &err), CYGNET_ELIMIT,
                  err, "too deep");
    assert_failed(load_repeated("(", PICKLE_MAX_MARKS + 1, "", "t", &err), CYGNET_ELIMIT,
                  err, "too many marks");
    assert_failed(load_repeated("N", PICKLE_MAX_STACK + 1, "", "", &err), CYGNET_ELIMIT,
                  err, "more than the reader's limit");
    assert_int_equal(load_repeated("", 1000, "]", "Na", &err), 0);
    assert_failed(load_repeated("", PICKLE_MAX_STEPS, "]", "Na", &err), CYGNET_ELIMIT,
                  err, "opcodes");
    assert_failed(load_repeated("", PICKLE_MAX_MEMO + 1, "N", "\x94", &err),
                  CYGNET_ELIMIT, err, "beyond the memo");
}

static cygnet_status load_dict(int n_pairs, cygnet_error *err)
{
    struct pickle *pickle;
    struct bytes text;
    cygnet_status st;

    bytes_init(&text, 65536, NULL);
    assert_int_equal(bytes_append(&text, "\x80\x02}", 3, NULL), CYGNET_OK);
    for (int i = 0; i < n_pairs; i++)
        assert_int_equal(bytes_printf(&text, NULL, "\x8c\3%03dNs", i), CYGNET_OK);
    assert_int_equal(bytes_append(&text, ".", 1, NULL), CYGNET_OK);
    st = load(&pickle, (char *)text.data, text.len, err);
    pickle_destroy(pickle);
    bytes_clear(&text);
    return st;
}

static void test_a_dict_has_a_limit(void **state)
{
    cygnet_error err = {0};

    (void)state;
    assert_int_equal(load_dict(PICKLE_MAX_PAIRS, &err), CYGNET_OK);
    assert_failed(load_dict(PICKLE_MAX_PAIRS + 1, &err), CYGNET_ELIMIT, err,
                  "a dict has too many pairs");
}

static void write_one_of_each(struct bytes *out)
{
    struct pickle_writer w;

    pickle_write_begin(&w, out, NULL);
    pickle_write_open_dict(&w);
    pickle_write_text(&w, "ints");
    pickle_write_open_list(&w);
    pickle_write_int(&w, INT32_MIN);
    pickle_write_int(&w, INT64_C(1) << 31);
    pickle_write_int(&w, INT64_MIN);
    pickle_write_close_list(&w);
    pickle_write_text(&w, "float");
    pickle_write_float(&w, -0.1);
    pickle_write_text(&w, "call");
    pickle_write_global(&w, "collections", "OrderedDict");
    pickle_write_open_tuple(&w);
    pickle_write_bytes(&w, "\0\n", 2);
    pickle_write_bool(&w, false);
    pickle_write_close_tuple(&w);
    pickle_write_call(&w);
    pickle_write_close_dict(&w);
    assert_int_equal(pickle_write_finish(&w), CYGNET_OK);
}

static void test_what_is_written_is_read(void **state)
{
    static const int64_t expected[] = {INT32_MIN, INT64_C(1) << 31, INT64_MIN};
    const struct pickle_value *root, *ints, *call;
    struct pickle *pickle;
    struct bytes text;
    double real;

    (void)state;
    bytes_init(&text, 4096, NULL);
    write_one_of_each(&text);
    assert_int_equal(load(&pickle, (char *)text.data, text.len, NULL), CYGNET_OK);
    root = pickle_root(pickle);
    ints = pickle_member(root, "ints");
    for (size_t i = 0; i < 3; i++) {
        int64_t value;

        assert_true(pickle_int(&value, ints->as.items[i]) && value == expected[i]);
    }
    assert_true(pickle_number(&real, pickle_member(root, "float")) && real == -0.1);
    call = pickle_member(root, "call");
    assert_true(pickle_is_call(call, 0, 2));
    assert_int_equal(call->as.items[0]->n, 2);
    assert_memory_equal(call->as.items[0]->as.bytes, "\0\n", 2);
    assert_false(call->as.items[1]->as.truth);
    assert_null(pickle_member(root, "other"));
    pickle_destroy(pickle);
    bytes_clear(&text);
}

static void test_writing_stops_at_the_buffers_limit(void **state)
{
    struct pickle_writer w;
    struct bytes text;
    cygnet_error err = {0};

    (void)state;
    bytes_init(&text, 8, NULL);
    pickle_write_begin(&w, &text, &err);
    pickle_write_text(&w, "too long for it");
    pickle_write_bool(&w, true);
    assert_failed(pickle_write_finish(&w), CYGNET_ELIMIT, err, "limit of 8 bytes");
    bytes_clear(&text);
}

static void test_each_refused_allocation_is_an_error(void **state)
{
    struct fake_alloc fake;
    struct pickle *pickle;
    cygnet_status st = CYGNET_ENOMEM;
    size_t len;
    uint8_t *text = golden_read(&len, "train_meta_4.pickle");

    (void)state;
    for (long k = 1; st != CYGNET_OK; k++) {
        fake_alloc_init(&fake);
        fake.fail_at = k;
        st = pickle_load(&pickle, text, len, NULL, NULL, &fake.alloc, NULL);
        assert_true(st == CYGNET_OK ? k > 4 : st == CYGNET_ENOMEM);
        pickle_destroy(pickle);
        assert_int_equal(fake.n_live, 0);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_malformation_is_refused_with_place_and_reason),
        cmocka_unit_test(test_only_the_known_opcodes_are_run),
        cmocka_unit_test(test_numbers_are_read_at_their_ends),
        cmocka_unit_test(test_calls_and_persistent_ids_are_handed_over),
        cmocka_unit_test(test_without_rules_there_are_no_globals_or_ids),
        cmocka_unit_test(test_pickles_are_read_one_behind_the_other),
        cmocka_unit_test(test_limits_hold),
        cmocka_unit_test(test_a_dict_has_a_limit),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_writing_stops_at_the_buffers_limit),
        cmocka_unit_test(test_each_refused_allocation_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
