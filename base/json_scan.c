/* RFC 8259, strictly: the grammar, UTF-8 (RFC 3629), and the stated limits.
 * Repeated keys are found after parsing (json.c). */
#include "base/json_scan.h"

#include "base/error.h"

#include <string.h>

/* cJSON copies a number into 64 bytes. */
#define NUMBER_MAX_BYTES 60

struct scan {
    const unsigned char *text;
    size_t len;
    size_t at;
    size_t depth;
    size_t values;
    const struct json_limits *limits;
    cygnet_error *err;
};

static cygnet_status scan_value(struct scan *s);

static cygnet_status bad(const struct scan *s, const char *what)
{
    return fail(s->err, CYGNET_EFORMAT, 0, "JSON: %s at byte %zu", what, s->at);
}

/* The byte at the cursor; -1 at the end. */
static int peek(const struct scan *s)
{
    return s->at < s->len ? s->text[s->at] : -1;
}

static void skip_space(struct scan *s)
{
    while (s->at < s->len && strchr(" \t\n\r", s->text[s->at]) && s->text[s->at])
        s->at++;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static unsigned hex4(const unsigned char *p)
{
    unsigned value = 0;

    for (int i = 0; i < 4; i++) {
        unsigned c = p[i];

        value = value * 16 + (is_digit((int)c) ? c - '0' : (c | 32u) - 'a' + 10);
    }
    return value;
}

/* Reads the four hex digits behind "\u". */
static cygnet_status scan_hex4(unsigned *out, struct scan *s)
{
    for (size_t i = 0; i < 4; i++)
        if (s->len - s->at <= i || !is_hex(s->text[s->at + i]))
            return bad(s, "broken \\u escape");
    *out = hex4(s->text + s->at);
    s->at += 4;
    return CYGNET_OK;
}

static cygnet_status scan_unicode_escape(struct scan *s)
{
    unsigned unit;
    cygnet_status st = scan_hex4(&unit, s);

    if (st != CYGNET_OK)
        return st;
    if (unit == 0)
        return bad(s, "NUL in a string");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return bad(s, "lone surrogate");
    if (unit < 0xD800 || unit > 0xDBFF)
        return CYGNET_OK;
    if (s->len - s->at < 2 || s->text[s->at] != '\\' || s->text[s->at + 1] != 'u')
        return bad(s, "lone surrogate");
    s->at += 2;
    st = scan_hex4(&unit, s);
    if (st == CYGNET_OK && (unit < 0xDC00 || unit > 0xDFFF))
        st = bad(s, "lone surrogate");
    return st;
}

static cygnet_status scan_escape(struct scan *s)
{
    int c;

    s->at++;
    c = peek(s);
    if (c < 0)
        return bad(s, "text ends in a string");
    s->at++;
    if (c == 'u')
        return scan_unicode_escape(s);
    return c && strchr("\"\\/bfnrt", c) ? CYGNET_OK : bad(s, "unknown escape");
}

/* Length of the UTF-8 sequence that a byte begins; 0 when it begins none. */
static size_t length_by_first(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Refuses overlong forms, surrogates and what lies above U+10FFFF. */
static bool second_fits(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;

    return second >= low && second <= high;
}

/* Length of the UTF-8 sequence at p; 0 when it is not one.
 * Source: RFC 3629 section 4. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t n = length_by_first(p[0]);

    if (n > left || (n > 1 && !second_fits(p[0], p[1])))
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

size_t json_invalid_utf8(const char *text)
{
    size_t len = strlen(text);
    size_t at = 0;

    while (at < len) {
        size_t n = utf8_length((const unsigned char *)text + at, len - at);

        if (n == 0)
            break;
        at += n;
    }
    return at;
}

static cygnet_status scan_character(struct scan *s)
{
    size_t n;

    if (s->text[s->at] < 0x20)
        return bad(s, "control character in a string");
    n = utf8_length(s->text + s->at, s->len - s->at);
    if (n == 0)
        return bad(s, "invalid UTF-8");
    s->at += n;
    return CYGNET_OK;
}

static cygnet_status scan_string(struct scan *s)
{
    cygnet_status st = CYGNET_OK;

    s->at++;
    while (st == CYGNET_OK && peek(s) >= 0 && peek(s) != '"')
        st = peek(s) == '\\' ? scan_escape(s) : scan_character(s);
    if (st != CYGNET_OK)
        return st;
    if (peek(s) < 0)
        return bad(s, "text ends in a string");
    s->at++;
    return CYGNET_OK;
}

static size_t skip_digits(struct scan *s)
{
    size_t from = s->at;

    while (is_digit(peek(s)))
        s->at++;
    return s->at - from;
}

static cygnet_status scan_number(struct scan *s)
{
    size_t from = s->at;

    if (peek(s) == '-')
        s->at++;
    if (peek(s) == '0')
        s->at++;
    else if (skip_digits(s) == 0)
        return bad(s, "broken number");
    if (peek(s) == '.') {
        s->at++;
        if (skip_digits(s) == 0)
            return bad(s, "broken number");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-')
            s->at++;
        if (skip_digits(s) == 0)
            return bad(s, "broken number");
    }
    return s->at - from <= NUMBER_MAX_BYTES ? CYGNET_OK : bad(s, "over-long number");
}

static cygnet_status scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);

        if (s->len - s->at >= n && memcmp(s->text + s->at, words[i], n) == 0) {
            s->at += n;
            return CYGNET_OK;
        }
    }
    return bad(s, "unexpected text");
}

static cygnet_status scan_member_key(struct scan *s)
{
    cygnet_status st;

    if (peek(s) != '"')
        return bad(s, "a member needs a name");
    st = scan_string(s);
    if (st != CYGNET_OK)
        return st;
    skip_space(s);
    if (peek(s) != ':')
        return bad(s, "':' expected");
    s->at++;
    return CYGNET_OK;
}

/* The inside of an object or array, up to and with `close`. */
static cygnet_status scan_items(struct scan *s, int close)
{
    cygnet_status st = CYGNET_OK;

    s->at++;
    skip_space(s);
    if (peek(s) == close) {
        s->at++;
        return CYGNET_OK;
    }
    for (;;) {
        skip_space(s);
        if (close == '}')
            st = scan_member_key(s);
        if (st == CYGNET_OK)
            st = scan_value(s);
        if (st != CYGNET_OK)
            return st;
        skip_space(s);
        if (peek(s) == close)
            break;
        if (peek(s) != ',')
            return bad(s, close == '}' ? "',' or '}' expected" : "',' or ']' expected");
        s->at++;
    }
    s->at++;
    return CYGNET_OK;
}

static cygnet_status scan_container(struct scan *s, int close)
{
    cygnet_status st;

    if (++s->depth > s->limits->max_depth)
        return fail(s->err, CYGNET_ELIMIT, 0, "JSON: deeper than %zu levels",
                    s->limits->max_depth);
    st = scan_items(s, close);
    s->depth--;
    return st;
}

static cygnet_status scan_value(struct scan *s)
{
    int c;

    if (++s->values > s->limits->max_values)
        return fail(s->err, CYGNET_ELIMIT, 0, "JSON: more than %zu values",
                    s->limits->max_values);
    skip_space(s);
    c = peek(s);
    if (c == '{')
        return scan_container(s, '}');
    if (c == '[')
        return scan_container(s, ']');
    if (c == '"')
        return scan_string(s);
    if (c == '-' || is_digit(c))
        return scan_number(s);
    return c < 0 ? bad(s, "text ends early") : scan_word(s);
}

cygnet_status json_scan(const char *text, size_t len, const struct json_limits *limits,
                        cygnet_error *err)
{
    struct scan s = {.text = (const unsigned char *)text,
                     .len = len,
                     .limits = limits,
                     .err = err};
    cygnet_status st;

    if (len > limits->max_bytes)
        return fail(err, CYGNET_ELIMIT, 0, "JSON: more than %zu bytes",
                    limits->max_bytes);
    st = scan_value(&s);
    if (st != CYGNET_OK)
        return st;
    skip_space(&s);
    return s.at == len ? CYGNET_OK : bad(&s, "text after the value");
}
