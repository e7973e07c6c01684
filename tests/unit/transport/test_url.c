/* URLs: what is accepted, refused, and where references lead. */
#include "transport/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_a_url_is_taken_apart(void **state)
{
    struct url url;

    (void)state;
    assert_int_equal(url_parse(&url, "HTTPS://Example.COM:8443/a/b?c=d#e", NULL), 0);
    assert_true(url.secure);
    assert_string_equal(url.host, "example.com");
    assert_int_equal(url.port, 8443);
    assert_string_equal(url.path, "/a/b?c=d");
}

static void test_ports_default_by_scheme(void **state)
{
    struct url url;

    (void)state;
    assert_int_equal(url_parse(&url, "https://h", NULL), 0);
    assert_int_equal(url.port, 443);
    assert_string_equal(url.path, "/");
    assert_int_equal(url_parse(&url, "http://[::1]?q", NULL), 0);
    assert_int_equal(url.port, 80);
    assert_string_equal(url.host, "[::1]");
    assert_string_equal(url.path, "/?q");
}

static void test_what_could_be_read_in_two_ways_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "h",
                                      "//h/",
                                      "ftp://h/",
                                      "file:///etc/passwd",
                                      "https://",
                                      "https:///x",
                                      "https://:443/",
                                      "https://h:0/",
                                      "https://h:65536/",
                                      "https://h:/",
                                      "https://h:x/",
                                      "https://u@h/",
                                      "https://u:p@h/",
                                      "https://h /",
                                      "https://h/\n",
                                      "https://h\\@x/",
                                      "https://h/\x7f",
                                      "https://[::1",
                                      "https://[]/",
                                      "https://[::1]x/",
                                      "https://h%2f/",
                                      "https://\xc3\xa9/",
                                      "https://h:4 43/"};
    struct url url;
    cygnet_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (url_parse(&url, bad[i], &err) != CYGNET_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
        assert_true(err.message[0]);
    }
}

static void test_a_url_beyond_the_limit_is_refused(void **state)
{
    char text[URL_MAX + 20];
    struct url url;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "https://h/", 10);
    text[URL_MAX - 1] = '\0';
    assert_int_equal(url_parse(&url, text, NULL), CYGNET_OK);
    text[URL_MAX - 1] = 'a';
    text[URL_MAX] = '\0';
    assert_int_equal(url_parse(&url, text, NULL), CYGNET_EINVAL);
}

static void test_references_lead_where_rfc_3986_says(void **state)
{
    static const char *const cases[][2] = {
        {"/x", "https://h:8443/x"},
        {"x", "https://h:8443/a/x"},
        {"?q", "https://h:8443/a/b?q"},
        {"//g/x", "https://g:443/x"},
        {"http://g/x", "http://g:80/x"},
        {"/x?u=https://e/", "https://h:8443/x?u=https://e/"}};
    struct url base, url;
    char text[URL_MAX + 1];

    (void)state;
    assert_int_equal(url_parse(&base, "https://h:8443/a/b?z=1", NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(url_resolve(&url, &base, cases[i][0], NULL), 0);
        assert_int_equal(url_format(text, &url, NULL, NULL), 0);
        assert_string_equal(text, cases[i][1]);
    }
}

static void test_an_origin_is_scheme_host_and_port(void **state)
{
    static const char *const other[] = {"http://h:443/", "https://g/", "https://h:444/"};
    struct url a, b;

    (void)state;
    assert_int_equal(url_parse(&a, "https://h/x", NULL), 0);
    assert_int_equal(url_parse(&b, "https://H:443/y", NULL), 0);
    assert_true(url_same_origin(&a, &b));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(url_parse(&b, other[i], NULL), 0);
        assert_false(url_same_origin(&a, &b));
    }
}

static void test_only_true_loopback_counts_as_loopback(void **state)
{
    static const char *const yes[] = {"http://127.0.0.1/", "http://127.255.3.4:80/",
                                      "http://LOCALHOST/", "http://[::1]:8080/"};
    static const char *const no[] = {
        "http://127.0.0.1.example/", "http://127.1/",     "http://128.0.0.1/",
        "http://localhost.example/", "http://[::2]/",     "http://0127.0.0.1/",
        "http://127.0.0.256/",       "http://127.0.0.1./"};
    struct url url;

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        assert_int_equal(url_parse(&url, yes[i], NULL), 0);
        assert_int_equal(url_check_allowed(&url, URL_PLAIN_LOOPBACK, NULL), CYGNET_OK);
        assert_int_equal(url_check_allowed(&url, URL_PLAIN_REFUSED, NULL), CYGNET_EINVAL);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        assert_int_equal(url_parse(&url, no[i], NULL), 0);
        if (url_check_allowed(&url, URL_PLAIN_LOOPBACK, NULL) != CYGNET_EINVAL)
            fail_msg("%s passed for loopback", no[i]);
    }
}

static void test_plain_http_leads_anywhere_when_that_is_allowed(void **state)
{
    struct url url;

    (void)state;
    assert_int_equal(url_parse(&url, "http://job.example:50051/", NULL), 0);
    assert_int_equal(url_check_allowed(&url, URL_PLAIN_REFUSED, NULL), CYGNET_EINVAL);
    assert_int_equal(url_check_allowed(&url, URL_PLAIN_LOOPBACK, NULL), CYGNET_EINVAL);
    assert_int_equal(url_check_allowed(&url, URL_PLAIN_ANYWHERE, NULL), CYGNET_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_http_leads_anywhere_when_that_is_allowed),
        cmocka_unit_test(test_a_url_is_taken_apart),
        cmocka_unit_test(test_ports_default_by_scheme),
        cmocka_unit_test(test_what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(test_a_url_beyond_the_limit_is_refused),
        cmocka_unit_test(test_references_lead_where_rfc_3986_says),
        cmocka_unit_test(test_an_origin_is_scheme_host_and_port),
        cmocka_unit_test(test_only_true_loopback_counts_as_loopback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
