/* gRPC calls over a scripted HTTP stack: what is sent, what an answer may be. */
#include "tests/fakes/fake_alloc.h"
#include "tests/fakes/fake_http.h"
#include "transport/grpc.h"
#include "transport/grpc_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define METHOD "/fedscale.JobService/CLIENT_PING"
#define MAX_ANSWER 100

struct bench {
    struct fake_http *http;
    struct grpc grpc;
    struct bytes message;
    struct bytes answer;
    struct grpc_outcome outcome;
    uint64_t progress;
    cygnet_error err;
};

static int set_up(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    b.http = fake_http_create();
    b.grpc = (struct grpc){.http = &b.http->face,
                           .base_url = "http://job.example:50051",
                           .timeout_ms = 30000,
                           .max_answer = MAX_ANSWER};
    bytes_init(&b.message, 1000, NULL);
    assert_int_equal(grpc_begin(&b.message, NULL), CYGNET_OK);
    assert_int_equal(bytes_append(&b.message, "hello", 5, NULL), CYGNET_OK);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    bytes_clear(&b->message);
    bytes_clear(&b->answer);
    fake_http_destroy(b->http);
    return 0;
}

static void on_progress(uint64_t bytes, void *user)
{
    struct bench *b = user;

    b->progress = bytes;
}

static cygnet_status call(struct bench *b)
{
    struct grpc_request request = {.method = METHOD,
                                   .message = &b->message,
                                   .progress = on_progress,
                                   .user = b};

    bytes_clear(&b->answer);
    return grpc_call(&b->answer, &b->outcome, &b->grpc, &request, &b->err);
}

static struct fake_reply *reply_bytes(struct bench *b, const void *body, size_t len)
{
    struct fake_reply *reply = fake_http_reply_bytes(b->http, 200, body, len);

    fake_reply_header(reply, "content-type", "application/grpc");
    return reply;
}

/* A whole message "abc" and a status behind it. */
static struct fake_reply *reply_abc(struct bench *b, const char *status)
{
    struct fake_reply *reply = reply_bytes(b, "\0\0\0\0\3abc", 8);

    if (status)
        fake_reply_trailer(reply, "grpc-status", status);
    return reply;
}

static void assert_fails(struct bench *b, cygnet_status status, const char *words)
{
    assert_int_equal(call(b), status);
    assert_int_equal(b->err.status, status);
    assert_non_null(strstr(b->err.message, METHOD));
    assert_non_null(strstr(b->err.message, words));
    assert_int_equal(b->answer.len, 0);
}

/* ---- What is sent -------------------------------------------------------- */

static void test_a_call_is_a_post_of_one_framed_message(void **state)
{
    struct bench *b = *state;
    const struct fake_request *sent = &b->http->requests[0];

    reply_abc(b, "0");
    assert_int_equal(call(b), CYGNET_OK);
    assert_string_equal(sent->method, "POST");
    assert_string_equal(sent->url, "http://job.example:50051" METHOD);
    assert_int_equal(sent->version, CYGNET_HTTP_2);
    assert_string_equal(fake_request_header(sent, "content-type"), "application/grpc");
    assert_string_equal(fake_request_header(sent, "te"), "trailers");
    assert_int_equal(sent->body_len, 10);
    assert_memory_equal(sent->body, "\0\0\0\0\5hello", 10);
}

static void test_the_server_learns_the_time_limit(void **state)
{
    static const struct {
        int64_t ms;
        const char *header;
    } cases[] = {{1, "1m"},
                 {99999999, "99999999m"},
                 {100000000, "100000S"},
                 {INT64_MAX, "99999999S"}};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        b->grpc.timeout_ms = cases[i].ms;
        reply_abc(b, "0");
        assert_int_equal(call(b), CYGNET_OK);
        assert_string_equal(fake_request_header(&b->http->requests[i], "grpc-timeout"),
                            cases[i].header);
        assert_int_equal(b->http->requests[i].timeout_ms, cases[i].ms);
    }
}

static void test_no_time_limit_is_not_told(void **state)
{
    struct bench *b = *state;

    b->grpc.timeout_ms = 0;
    reply_abc(b, "0");
    assert_int_equal(call(b), CYGNET_OK);
    assert_null(fake_request_header(&b->http->requests[0], "grpc-timeout"));
}

static void test_a_message_can_be_sent_again(void **state)
{
    struct bench *b = *state;

    reply_abc(b, "0");
    reply_abc(b, "0");
    assert_int_equal(call(b), CYGNET_OK);
    assert_int_equal(call(b), CYGNET_OK);
    assert_memory_equal(b->http->requests[1].body, "\0\0\0\0\5hello", 10);
}

static void test_a_url_that_is_too_long_is_refused(void **state)
{
    struct bench *b = *state;
    char url[3000];

    memset(url, 'x', sizeof(url));
    url[sizeof(url) - 1] = '\0';
    b->grpc.base_url = url;
    assert_fails(b, CYGNET_EINVAL, "URL is longer");
    assert_false(b->outcome.sent);
}

/* ---- Good answers -------------------------------------------------------- */

static void test_the_answer_is_the_message(void **state)
{
    struct bench *b = *state;

    reply_abc(b, "0");
    assert_int_equal(call(b), CYGNET_OK);
    assert_int_equal(b->answer.len, 3);
    assert_memory_equal(b->answer.data, "abc", 3);
    assert_int_equal(b->outcome.status, 0);
    assert_true(b->outcome.sent);
    assert_int_equal(b->outcome.up, 10);
    assert_int_equal(b->outcome.down, 8);
    assert_int_equal(b->progress, 18);
}

static void test_a_message_arrives_in_any_pieces(void **state)
{
    struct bench *b = *state;

    for (b->http->piece = 1; b->http->piece < 9; b->http->piece++) {
        reply_abc(b, "0");
        assert_int_equal(call(b), CYGNET_OK);
        assert_memory_equal(b->answer.data, "abc", 3);
    }
}

static void test_an_empty_message_is_a_message(void **state)
{
    struct bench *b = *state;

    fake_reply_trailer(reply_bytes(b, "\0\0\0\0\0", 5), "grpc-status", "0");
    assert_int_equal(call(b), CYGNET_OK);
    assert_int_equal(b->answer.len, 0);
}

static void test_content_types_of_grpc_are_known(void **state)
{
    static const char *const types[] = {"application/grpc+proto",
                                        "application/grpc;charset=utf-8"};
    struct bench *b = *state;

    for (int i = 0; i < 2; i++) {
        struct fake_reply *reply =
            fake_http_reply_bytes(b->http, 200, "\0\0\0\0\3abc", 8);

        fake_reply_header(reply, "content-type", types[i]);
        fake_reply_trailer(reply, "grpc-status", "0");
        assert_int_equal(call(b), CYGNET_OK);
    }
}

/* ---- What the server says about a call ----------------------------------- */

static void test_a_status_without_a_body_is_understood(void **state)
{
    struct bench *b = *state;
    struct fake_reply *reply = reply_bytes(b, "", 0);

    fake_reply_header(reply, "grpc-status", "2");
    fake_reply_header(reply, "grpc-message", "Exception calling application: %27x%27");
    assert_fails(b, CYGNET_ESERVER, "grpc-status 2 UNKNOWN: Exception calling");
    assert_string_equal(b->outcome.words, "Exception calling application: 'x'");
    assert_int_equal(b->outcome.status, 2);
    assert_int_equal(b->err.detail, 2);
}

static void test_each_status_has_its_meaning(void **state)
{
    static const struct {
        const char *status;
        cygnet_status meaning;
    } cases[] = {
        {"1", CYGNET_ESERVER},    {"2", CYGNET_ESERVER},    {"3", CYGNET_EREFUSED},
        {"4", CYGNET_ETIMEOUT},   {"5", CYGNET_EREFUSED},   {"7", CYGNET_EREFUSED},
        {"8", CYGNET_ELIMIT},     {"10", CYGNET_ESERVER},   {"12", CYGNET_EREFUSED},
        {"13", CYGNET_EPROTOCOL}, {"14", CYGNET_ENETWORK},  {"15", CYGNET_EPROTOCOL},
        {"16", CYGNET_EAUTH},     {"17", CYGNET_EPROTOCOL}, {"9999", CYGNET_EPROTOCOL},
    };
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reply_abc(b, cases[i].status);
        assert_fails(b, cases[i].meaning, cases[i].status);
    }
}

static void test_a_status_that_is_no_number_breaks_the_protocol(void **state)
{
    static const char *const bad[] = {"", "x", "-1", "0x", " 0", "00000", "99999999999"};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        reply_abc(b, bad[i]);
        assert_fails(b, CYGNET_EPROTOCOL, "is no number");
    }
}

static void test_an_answer_without_a_status_is_none(void **state)
{
    struct bench *b = *state;

    reply_abc(b, NULL);
    assert_fails(b, CYGNET_ENETWORK, "without a grpc-status");
    assert_int_equal(b->outcome.status, GRPC_NO_STATUS);
    assert_true(b->outcome.sent);
}

static void test_a_status_counts_though_the_rest_breaks_off(void **state)
{
    struct bench *b = *state;
    struct fake_reply *reply = reply_abc(b, "8");

    reply->fail_with = CYGNET_ENETWORK;
    assert_fails(b, CYGNET_ELIMIT, "RESOURCE_EXHAUSTED");
    reply = reply_abc(b, "0");
    reply->fail_with = CYGNET_ENETWORK;
    reply->cut_after = reply->body_len;
    assert_int_equal(call(b), CYGNET_OK);
    assert_memory_equal(b->answer.data, "abc", 3);
}

/* ---- Bad answers --------------------------------------------------------- */

static void test_a_compressed_answer_is_refused(void **state)
{
    struct bench *b = *state;

    fake_reply_trailer(reply_bytes(b, "\1\0\0\0\3abc", 8), "grpc-status", "0");
    assert_fails(b, CYGNET_EPROTOCOL, "compressed");
    fake_reply_trailer(reply_bytes(b, "\2\0\0\0\3abc", 8), "grpc-status", "0");
    assert_fails(b, CYGNET_EPROTOCOL, "no gRPC message");
}

static void test_a_second_message_is_refused(void **state)
{
    struct bench *b = *state;

    fake_reply_trailer(reply_bytes(b, "\0\0\0\0\3abc\0\0\0\0\0", 13), "grpc-status", "0");
    assert_fails(b, CYGNET_EPROTOCOL, "follow");
}

static void test_less_than_a_message_is_refused(void **state)
{
    struct bench *b = *state;

    for (size_t len = 0; len < 8; len++) {
        fake_reply_trailer(reply_bytes(b, "\0\0\0\0\3abc", len), "grpc-status", "0");
        assert_fails(b, CYGNET_EPROTOCOL, "not one whole message");
    }
}

static void test_an_answer_beyond_the_limit_is_refused_by_its_length(void **state)
{
    struct bench *b = *state;

    reply_bytes(b, "\0\0\0\0\x65x", 6);
    assert_fails(b, CYGNET_ELIMIT, "101 bytes, more than the limit of 100");
    reply_bytes(b, "\0\xff\xff\xff\xffx", 6);
    assert_fails(b, CYGNET_ELIMIT, "4294967295 bytes");
}

static void test_a_page_of_something_else_is_no_answer(void **state)
{
    static const struct {
        int http;
        cygnet_status meaning;
    } cases[] = {{200, CYGNET_EPROTOCOL}, {302, CYGNET_EPROTOCOL}, {401, CYGNET_EAUTH},
                 {404, CYGNET_EREFUSED},  {429, CYGNET_ESERVER},   {502, CYGNET_ESERVER}};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_reply *reply = fake_http_reply(b->http, cases[i].http, "<html>");

        fake_reply_header(reply, "content-type", "text/html");
        assert_fails(b, cases[i].meaning, "no gRPC");
        assert_int_equal(b->err.detail, cases[i].http);
    }
}

/* ---- Transport ----------------------------------------------------------- */

static void test_trouble_of_the_transport_is_passed_up(void **state)
{
    struct bench *b = *state;

    fake_http_fail(b->http, CYGNET_ETIMEOUT);
    assert_fails(b, CYGNET_ETIMEOUT, "broke");
    assert_true(b->outcome.sent);
    assert_int_equal(b->outcome.status, GRPC_NO_STATUS);
}

static void test_a_call_that_never_left_is_known_as_such(void **state)
{
    struct bench *b = *state;

    fake_http_fail(b->http, CYGNET_ENETWORK);
    b->http->replies[0].unsent = true;
    assert_fails(b, CYGNET_ENETWORK, "broke");
    assert_false(b->outcome.sent);
}

/* Whatever a host's own stack says of it. */
static void test_a_call_that_was_answered_has_left(void **state)
{
    struct bench *b = *state;
    struct fake_reply *reply = reply_abc(b, NULL);

    reply->unsent = true;
    reply->fail_with = CYGNET_ENETWORK;
    assert_fails(b, CYGNET_ENETWORK, "broke");
    assert_true(b->outcome.sent);
}

static void test_no_memory_is_said(void **state)
{
    struct bench *b = *state;
    static struct fake_alloc alloc; /* b->answer keeps it */

    fake_alloc_init(&alloc);
    alloc.fail_at = 1;
    b->grpc.alloc = &alloc.alloc;
    reply_abc(b, "0");
    assert_fails(b, CYGNET_ENOMEM, "memory");
    assert_int_equal(alloc.n_live, 0);
}

/* ---- The server's words -------------------------------------------------- */

static void test_words_are_decoded_into_one_clean_line(void **state)
{
    static const struct {
        const char *encoded;
        const char *words;
    } cases[] = {
        {"plain", "plain"},
        {"a%20b%2Fc%2f", "a b/c/"},
        {"50%", "50%"},
        {"%4", "%4"},
        {"%zz", "%zz"},
        {"a%0Ab%00c", "a b c"},
        {"%E2%82%AC", "\xe2\x82\xac"},
        {"%ff!", "?!"},
        {"", ""},
    };
    char words[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        grpc_words_decode(words, sizeof(words), cases[i].encoded);
        assert_string_equal(words, cases[i].words);
    }
}

static void test_words_are_cut_where_they_do_not_fit(void **state)
{
    char words[4];

    (void)state;
    grpc_words_decode(words, sizeof(words), "abcdef");
    assert_string_equal(words, "abc");
    grpc_words_decode(words, sizeof(words), "ab%E2%82%AC");
    assert_string_equal(words, "ab?");
}

#define bench_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        bench_test(test_a_call_is_a_post_of_one_framed_message),
        bench_test(test_the_server_learns_the_time_limit),
        bench_test(test_no_time_limit_is_not_told),
        bench_test(test_a_message_can_be_sent_again),
        bench_test(test_a_url_that_is_too_long_is_refused),
        bench_test(test_the_answer_is_the_message),
        bench_test(test_a_message_arrives_in_any_pieces),
        bench_test(test_an_empty_message_is_a_message),
        bench_test(test_content_types_of_grpc_are_known),
        bench_test(test_a_status_without_a_body_is_understood),
        bench_test(test_each_status_has_its_meaning),
        bench_test(test_a_status_that_is_no_number_breaks_the_protocol),
        bench_test(test_an_answer_without_a_status_is_none),
        bench_test(test_a_status_counts_though_the_rest_breaks_off),
        bench_test(test_a_compressed_answer_is_refused),
        bench_test(test_a_second_message_is_refused),
        bench_test(test_less_than_a_message_is_refused),
        bench_test(test_an_answer_beyond_the_limit_is_refused_by_its_length),
        bench_test(test_a_page_of_something_else_is_no_answer),
        bench_test(test_trouble_of_the_transport_is_passed_up),
        bench_test(test_a_call_that_never_left_is_known_as_such),
        bench_test(test_a_call_that_was_answered_has_left),
        bench_test(test_no_memory_is_said),
        cmocka_unit_test(test_words_are_decoded_into_one_clean_line),
        cmocka_unit_test(test_words_are_cut_where_they_do_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
