/* See profile_texts.h. */
#include "profile_texts.h"

#include "swan_fixture.h"

#include <string.h>

struct json *parse_text(const char *text)
{
    struct json *root;

    assert_int_equal(json_parse(&root, text, strlen(text), &JSON_DEFAULT_LIMITS, NULL),
                     CYGNET_OK);
    return root;
}

const char *word(const struct json *object, const char *key)
{
    return json_text(json_member(object, key), "null");
}
