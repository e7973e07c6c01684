/* Check-in, update, lease and report: what is sent, and what each HTTP status
 * means. */
#include "bench.h"

#include "base/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char busy[] = "{\"retry\":{\"min_s\":1,\"max_s\":3,\"reason\":\"busy\"}}";
static const char *const architectures[] = {"logistic", "mlp", NULL};
static const char *const codecs[] = {"none", NULL};

static cygnet_check_in hello_of(void)
{
    cygnet_check_in hello = {.struct_size = sizeof(hello),
                             .population = "digits",
                             .client_id = "9f2c",
                             .n_examples = 143,
                             .max_model_bytes = 1000000,
                             .n_cpus = 2,
                             .last_round = 2,
                             .last_utility = 81.5,
                             .samples_per_s = (double)NAN,
                             .architectures = architectures,
                             .codecs = codecs};

    hello.device.charging = CYGNET_TRUE;
    hello.device.idle = CYGNET_UNKNOWN;
    hello.device.unmetered = CYGNET_FALSE;
    hello.device.battery_percent = -1;
    return hello;
}

static cygnet_status check_in(struct bench *b, cygnet_answer *answer)
{
    cygnet_check_in hello = hello_of();

    return b->coordinator->check_in(b->coordinator, answer, &hello, NULL, &b->err);
}

static cygnet_status upload(struct bench *b, cygnet_receipt *receipt)
{
    const cygnet_upload what = {.struct_size = sizeof(what), .update = "abc", .len = 3};

    return b->coordinator->upload(b->coordinator, receipt, &b->task, &what, NULL,
                                  &b->err);
}

/* ---- What is sent -------------------------------------------------------- */

static void test_a_check_in_says_what_is_known_and_no_more(void **state)
{
    struct bench b;
    cygnet_answer answer;
    struct json *sent = NULL;
    const struct json *device, *last;
    const struct fake_request *request;

    (void)state;
    bench_init(&b);
    fake_http_reply(b.http, 200, busy);
    assert_int_equal(check_in(&b, &answer), CYGNET_OK);

    request = &b.http->requests[0];
    assert_string_equal(request->method, "POST");
    assert_string_equal(request->url, "https://coordinator.example:443/fl/v1/check-in");
    assert_string_equal(fake_request_header(request, "Content-Type"), "application/json");
    assert_null(fake_request_header(request, "Authorization"));
    assert_true(request->timeout_ms > 0 && request->stall_ms > 0);
    assert_int_equal(json_parse(&sent, request->body, request->body_len,
                                &JSON_DEFAULT_LIMITS, NULL),
                     CYGNET_OK);
    assert_string_equal(json_text(json_member(sent, "population"), ""), "digits");
    assert_int_equal((int)json_number(json_member(sent, "examples"), 0), 143);
    device = json_member(sent, "device");
    assert_true(json_is_null(json_member(device, "idle")));
    assert_true(json_is_null(json_member(device, "battery_percent")));
    last = json_member(sent, "last_round");
    assert_true(json_number(json_member(last, "utility"), 0) == 81.5);
    assert_true(json_is_null(json_member(last, "samples_per_s")));
    json_destroy(sent);
    bench_clear(&b);
}

static void test_a_limit_beyond_what_json_holds_is_sent_as_the_largest(void **state)
{
    struct bench b;
    cygnet_check_in hello = hello_of();
    cygnet_answer answer;
    struct json *sent = NULL;

    (void)state;
    bench_init(&b);
    hello.max_model_bytes = UINT64_MAX;
    fake_http_reply(b.http, 200, busy);
    assert_int_equal(b.coordinator->check_in(b.coordinator, &answer, &hello, NULL,
                                             &b.err),
                     CYGNET_OK);
    assert_int_equal(json_parse(&sent, b.http->requests[0].body,
                                b.http->requests[0].body_len, &JSON_DEFAULT_LIMITS, NULL),
                     CYGNET_OK);
    assert_true(
        json_number(json_member(json_member(sent, "capabilities"), "max_model_bytes"),
                    0) == (double)JSON_EXACT_MAX);
    json_destroy(sent);
    bench_clear(&b);
}

static void test_an_upload_is_idempotent_and_carries_its_digest(void **state)
{
    struct bench b;
    cygnet_receipt receipt = CYGNET_RECEIPT_REJECTED;
    const struct fake_request *first, *second;

    (void)state;
    bench_init(&b);
    fake_http_reply(b.http, 201, "{}");
    fake_http_reply(b.http, 200, "{}");
    assert_int_equal(b.coordinator->delivery, CYGNET_DELIVERY_IDEMPOTENT);
    assert_int_equal(upload(&b, &receipt), CYGNET_OK);
    assert_int_equal(receipt, CYGNET_RECEIPT_ACCEPTED);
    assert_int_equal(upload(&b, &receipt), CYGNET_OK);

    first = &b.http->requests[0];
    second = &b.http->requests[1];
    assert_string_equal(first->method, "PUT");
    assert_string_equal(first->url,
                        "https://coordinator.example:443/fl/v1/rounds/3/updates/tok-3");
    assert_string_equal(fake_request_header(first, "Content-Type"),
                        "application/vnd.cygnet.update");
    /* echo -n abc | sha256sum, in base64 */
    assert_string_equal(fake_request_header(first, "Repr-Digest"),
                        "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
    assert_string_equal(second->url, first->url);
    assert_string_equal(second->body, "abc");
    bench_clear(&b);
}

static void test_a_report_names_outcome_reason_and_metrics(void **state)
{
    struct bench b;
    cygnet_round_report report = {.struct_size = sizeof(report),
                                  .outcome = CYGNET_OUTCOME_ABORTED,
                                  .reason = "requires dp",
                                  .examples = 7,
                                  .loss_first = (double)NAN,
                                  .loss_last = (double)INFINITY,
                                  .train_ms = 210};
    struct json *sent = NULL;
    const struct json *metrics;

    (void)state;
    bench_init(&b);
    fake_http_reply(b.http, 204, "");
    assert_int_equal(b.coordinator->report(b.coordinator, &b.task, &report, NULL, &b.err),
                     CYGNET_OK);
    assert_string_equal(b.http->requests[0].url,
                        "https://coordinator.example:443/fl/v1/rounds/3/reports/tok-3");
    assert_int_equal(json_parse(&sent, b.http->requests[0].body,
                                b.http->requests[0].body_len, &JSON_DEFAULT_LIMITS, NULL),
                     CYGNET_OK);
    assert_string_equal(json_text(json_member(sent, "outcome"), ""), "aborted");
    assert_string_equal(json_text(json_member(sent, "reason"), ""), "requires dp");
    metrics = json_member(sent, "metrics");
    assert_true(json_is_null(json_member(metrics, "loss_first")));
    assert_true(json_is_null(json_member(metrics, "loss_last")));
    assert_int_equal((int)json_number(json_member(metrics, "train_ms"), 0), 210);
    json_destroy(sent);
    bench_clear(&b);
}

static void test_a_renewed_lease_says_how_long_it_holds(void **state)
{
    struct bench b;
    cygnet_receipt receipt = CYGNET_RECEIPT_REJECTED;
    uint32_t lease_s = 0;

    (void)state;
    bench_init(&b);
    fake_http_reply(b.http, 200, "{\"lease_s\":30}");
    fake_http_reply(b.http, 410, "{}");
    fake_http_reply(b.http, 200, "{\"lease_s\":2592001}");
    assert_int_equal(b.coordinator->renew(b.coordinator, &receipt, &lease_s, &b.task,
                                          NULL, &b.err),
                     CYGNET_OK);
    assert_int_equal(receipt, CYGNET_RECEIPT_ACCEPTED);
    assert_int_equal(lease_s, 30);
    assert_int_equal(b.http->requests[0].body_len, 0);
    assert_int_equal(b.coordinator->renew(b.coordinator, &receipt, &lease_s, &b.task,
                                          NULL, &b.err),
                     CYGNET_OK);
    assert_int_equal(receipt, CYGNET_RECEIPT_TOO_LATE);
    assert_int_equal(b.coordinator->renew(b.coordinator, &receipt, &lease_s, &b.task,
                                          NULL, &b.err),
                     CYGNET_EFORMAT);
    bench_clear(&b);
}

/* ---- What a status means ------------------------------------------------- */

static void test_every_http_status_has_one_meaning(void **state)
{
    static const struct {
        int http;
        cygnet_status status;
    } cases[] = {{204, CYGNET_EPROTOCOL}, {302, CYGNET_EPROTOCOL}, {400, CYGNET_EREFUSED},
                 {401, CYGNET_EAUTH},     {403, CYGNET_EREFUSED},  {404, CYGNET_EREFUSED},
                 {408, CYGNET_ESERVER},   {409, CYGNET_EREFUSED},  {413, CYGNET_EREFUSED},
                 {418, CYGNET_EREFUSED},  {425, CYGNET_ESERVER},   {429, CYGNET_ESERVER},
                 {500, CYGNET_ESERVER},   {502, CYGNET_ESERVER},   {503, CYGNET_ESERVER},
                 {599, CYGNET_ESERVER}};
    cygnet_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench b;

        bench_init(&b);
        fake_http_reply(b.http, cases[i].http,
                        "{\"error\":{\"code\":\"x\",\"message\":\"the reason\"}}");
        assert_int_equal(check_in(&b, &answer), cases[i].status);
        assert_int_equal(b.err.detail, cases[i].http);
        assert_non_null(strstr(b.err.message, "the reason"));
        bench_clear(&b);
    }
}

static void test_the_servers_words_are_cleaned_and_cut(void **state)
{
    struct bench b;
    cygnet_answer answer;
    char words[1001];
    char body[1100];
    size_t n;

    (void)state;
    for (n = 0; n < 1000; n += 2)
        memcpy(words + n, "\xc3\xa9", 2);
    words[n] = '\0';
    (void)snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\"}}", words);
    bench_init(&b);
    fake_http_reply(b.http, 400,
                    "{\"error\":{\"message\":\"a\\nb\\u001b[31mc\\u0085d\\u007fe\"}}");
    fake_http_reply(b.http, 400, body);
    fake_http_reply(b.http, 400, "<html>Bad Request</html>");

    assert_int_equal(check_in(&b, &answer), CYGNET_EREFUSED);
    assert_non_null(strstr(b.err.message, "400: a b [31mc d e"));
    assert_int_equal(check_in(&b, &answer), CYGNET_EREFUSED);
    n = strlen(b.err.message);
    assert_true(n < 200 && (unsigned char)b.err.message[n - 2] == 0xc3);
    assert_int_equal(check_in(&b, &answer), CYGNET_EREFUSED);
    assert_string_equal(b.err.message, "check-in: the server answered 400");
    bench_clear(&b);
}

static void test_an_endless_error_page_is_still_that_error(void **state)
{
    struct bench b;
    cygnet_answer answer;
    static char page[2000000];

    (void)state;
    memset(page, '<', sizeof(page));
    bench_init(&b);
    fake_http_reply_bytes(b.http, 502, page, sizeof(page));
    fake_http_reply_bytes(b.http, 200, page, sizeof(page));
    assert_int_equal(check_in(&b, &answer), CYGNET_ESERVER);
    assert_int_equal(check_in(&b, &answer), CYGNET_ELIMIT);
    bench_clear(&b);
}

static void test_a_200_that_is_no_json_is_a_format_error(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init(&b);
    fake_http_reply(b.http, 200, "<html>Log in to the hotel's network</html>");
    assert_int_equal(check_in(&b, &answer), CYGNET_EFORMAT);
    assert_false(answer.has_task);
    bench_clear(&b);
}

static void test_weights_on_another_origin_are_refused_at_check_in(void **state)
{
    static const char *const bad[] = {"https://elsewhere.example/b",
                                      "http://coordinator.example/b",
                                      "https://coordinator.example:444/b",
                                      "//elsewhere.example/b",
                                      "file:///etc/passwd",
                                      "https://coordinator.example@elsewhere.example/b",
                                      "blob",
                                      "/a b"};
    cygnet_answer answer;
    char body[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bench b;

        (void)snprintf(
            body, sizeof(body),
            "{\"task\":{\"id\":\"a\",\"round\":1,\"token\":\"t\",\"deadline_s\":60,"
            "\"model\":{\"architecture\":\"mlp\",\"classes\":10,\"weights\":{\"url\":"
            "\"%s\",\"size\":9,\"sha256\":\"%064d\"}},\"training\":{\"epochs\":1,"
            "\"batch\":1,\"optimizer\":{\"name\":\"sgd\",\"lr\":1}},"
            "\"update\":{\"codec\":\"none\"}}}",
            bad[i], 0);
        bench_init(&b);
        fake_http_reply(b.http, 200, body);
        if (check_in(&b, &answer) != CYGNET_EPROTOCOL)
            fail_msg("%s was accepted", bad[i]);
        assert_false(answer.has_task);
        bench_clear(&b);
    }
}

static void test_what_an_upload_may_be_told(void **state)
{
    static const struct {
        int http;
        cygnet_status status;
        cygnet_receipt receipt;
    } cases[] = {{200, CYGNET_OK, CYGNET_RECEIPT_ACCEPTED},
                 {201, CYGNET_OK, CYGNET_RECEIPT_ACCEPTED},
                 {202, CYGNET_EPROTOCOL, CYGNET_RECEIPT_ACCEPTED},
                 {409, CYGNET_OK, CYGNET_RECEIPT_TOO_LATE},
                 {410, CYGNET_OK, CYGNET_RECEIPT_TOO_LATE},
                 {413, CYGNET_OK, CYGNET_RECEIPT_REJECTED},
                 {422, CYGNET_OK, CYGNET_RECEIPT_REJECTED},
                 {400, CYGNET_EREFUSED, CYGNET_RECEIPT_ACCEPTED},
                 {500, CYGNET_ESERVER, CYGNET_RECEIPT_ACCEPTED}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench b;
        cygnet_receipt receipt = CYGNET_RECEIPT_ACCEPTED;

        bench_init(&b);
        fake_http_reply(b.http, cases[i].http,
                        "{\"error\":{\"message\":\"NaN in fc1\"}}");
        assert_int_equal(upload(&b, &receipt), cases[i].status);
        if (cases[i].status == CYGNET_OK)
            assert_int_equal(receipt, cases[i].receipt);
        if (cases[i].http >= 400)
            assert_non_null(strstr(b.err.message, "NaN in fc1"));
        bench_clear(&b);
    }
}

static void test_network_trouble_is_passed_up_as_it_is(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init(&b);
    fake_http_fail(b.http, CYGNET_ENETWORK);
    fake_http_fail(b.http, CYGNET_ETLS);
    assert_int_equal(check_in(&b, &answer), CYGNET_ENETWORK);
    assert_int_equal(check_in(&b, &answer), CYGNET_ETLS);
    bench_clear(&b);
}

/* ---- Retry-After --------------------------------------------------------- */

static void test_retry_after_is_kept_in_seconds_and_bounded(void **state)
{
    static const struct {
        int http;
        const char *value;
        uint32_t seconds;
    } cases[] = {{429, "7", 7},
                 {503, "2592000", 2592000},
                 {503, "2592001", 2592000},
                 {503, "99999999999999999999", 2592000},
                 {503, "0", 0},
                 {503, "-5", 0},
                 {503, "7 ", 0},
                 {503, "Wed, 21 Oct 2026 07:28:00 GMT", 0},
                 {500, "7", 0},
                 {400, "7", 0}};
    cygnet_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench b;

        bench_init(&b);
        fake_reply_header(fake_http_reply(b.http, cases[i].http, ""), "retry-after",
                          cases[i].value);
        (void)check_in(&b, &answer);
        assert_int_equal(b.coordinator->retry_after_s(b.coordinator), cases[i].seconds);
        bench_clear(&b);
    }
}

static void test_retry_after_is_forgotten_with_the_next_answer(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init(&b);
    fake_reply_header(fake_http_reply(b.http, 503, ""), "retry-after", "9");
    fake_http_reply(b.http, 200, busy);
    assert_int_equal(check_in(&b, &answer), CYGNET_ESERVER);
    assert_int_equal(b.coordinator->retry_after_s(b.coordinator), 9);
    assert_int_equal(check_in(&b, &answer), CYGNET_OK);
    assert_int_equal(b.coordinator->retry_after_s(b.coordinator), 0);
    bench_clear(&b);
}

/* ---- Credentials --------------------------------------------------------- */

static void test_the_token_is_asked_once_and_sent_each_time(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init_tokens(&b);
    b.tokens[0] = "first";
    fake_http_reply(b.http, 200, busy);
    fake_http_reply(b.http, 200, busy);
    assert_int_equal(check_in(&b, &answer), CYGNET_OK);
    assert_int_equal(check_in(&b, &answer), CYGNET_OK);
    for (int i = 0; i < 2; i++)
        assert_string_equal(fake_request_header(&b.http->requests[i], "Authorization"),
                            "Bearer first");
    assert_int_equal(b.n_asked, 1);
    bench_clear(&b);
}

static void test_a_401_refreshes_the_token_once(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init_tokens(&b);
    b.tokens[0] = "old";
    b.tokens[1] = "new";
    fake_http_reply(b.http, 401, "{\"error\":{\"message\":\"expired\"}}");
    fake_http_reply(b.http, 200, busy);
    assert_int_equal(check_in(&b, &answer), CYGNET_OK);
    assert_int_equal(b.n_refreshed, 1);
    assert_string_equal(fake_request_header(&b.http->requests[1], "Authorization"),
                        "Bearer new");
    bench_clear(&b);
}

static void test_a_second_401_is_final(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init_tokens(&b);
    b.tokens[0] = "old";
    b.tokens[1] = "new";
    fake_http_reply(b.http, 401, "");
    fake_http_reply(b.http, 401, "{\"error\":{\"message\":\"unknown device\"}}");
    assert_int_equal(check_in(&b, &answer), CYGNET_EAUTH);
    assert_non_null(strstr(b.err.message, "unknown device"));
    assert_int_equal(b.http->n_requests, 2);
    bench_clear(&b);
}

static void test_an_empty_token_means_no_header(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init_tokens(&b);
    b.tokens[0] = "";
    fake_http_reply(b.http, 200, busy);
    assert_int_equal(check_in(&b, &answer), CYGNET_OK);
    assert_null(fake_request_header(&b.http->requests[0], "Authorization"));
    bench_clear(&b);
}

static void test_a_failing_or_dirty_token_hook_is_a_host_error(void **state)
{
    struct bench b;
    cygnet_answer answer;

    (void)state;
    bench_init_tokens(&b);
    assert_int_equal(check_in(&b, &answer), CYGNET_EHOST);
    assert_int_equal(b.err.detail, 77);
    b.tokens[1] = "a\r\nX-Injected: 1";
    assert_int_equal(check_in(&b, &answer), CYGNET_EHOST);
    assert_int_equal(b.http->n_requests, 0);
    bench_clear(&b);
}

/* ---- Creating ------------------------------------------------------------ */

static void test_a_server_url_that_is_not_safe_is_refused(void **state)
{
    static const char *const bad[] = {"http://coordinator.example",
                                      "coordinator.example",
                                      "https://",
                                      "https://u:p@h",
                                      "https://h/?a=b",
                                      "http://127.0.0.1:80"};
    struct native_config config = {0};
    cygnet_coordinator *coordinator;
    cygnet_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        config.server_url = bad[i];
        assert_int_equal(native_coordinator_create(&coordinator, &config, &err),
                         CYGNET_EINVAL);
        assert_null(coordinator);
        assert_non_null(strstr(err.message, "server_url"));
    }
    config.allow_loopback_http = 1;
    assert_int_equal(native_coordinator_create(&coordinator, &config, &err), CYGNET_OK);
    native_coordinator_destroy(coordinator);
    native_coordinator_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_check_in_says_what_is_known_and_no_more),
        cmocka_unit_test(test_a_limit_beyond_what_json_holds_is_sent_as_the_largest),
        cmocka_unit_test(test_an_upload_is_idempotent_and_carries_its_digest),
        cmocka_unit_test(test_a_report_names_outcome_reason_and_metrics),
        cmocka_unit_test(test_a_renewed_lease_says_how_long_it_holds),
        cmocka_unit_test(test_every_http_status_has_one_meaning),
        cmocka_unit_test(test_the_servers_words_are_cleaned_and_cut),
        cmocka_unit_test(test_an_endless_error_page_is_still_that_error),
        cmocka_unit_test(test_a_200_that_is_no_json_is_a_format_error),
        cmocka_unit_test(test_weights_on_another_origin_are_refused_at_check_in),
        cmocka_unit_test(test_what_an_upload_may_be_told),
        cmocka_unit_test(test_network_trouble_is_passed_up_as_it_is),
        cmocka_unit_test(test_retry_after_is_kept_in_seconds_and_bounded),
        cmocka_unit_test(test_retry_after_is_forgotten_with_the_next_answer),
        cmocka_unit_test(test_the_token_is_asked_once_and_sent_each_time),
        cmocka_unit_test(test_a_401_refreshes_the_token_once),
        cmocka_unit_test(test_a_second_401_is_final),
        cmocka_unit_test(test_an_empty_token_means_no_header),
        cmocka_unit_test(test_a_failing_or_dirty_token_hook_is_a_host_error),
        cmocka_unit_test(test_a_server_url_that_is_not_safe_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
