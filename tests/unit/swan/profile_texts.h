/* What the tests of public texts share: a stored profile, and reading an answer. */
#ifndef TESTS_SWAN_PROFILE_TEXTS_H
#define TESTS_SWAN_PROFILE_TEXTS_H

#include "base/json.h"

/* Four cores of two clusters; three choices measured, with energies. */
#define PROFILE                                                                          \
    "{\"format\":1,\"model\":\"m\",\"soc\":\"s\",\"engine\":\"e\",\"clusters\":["        \
    "{\"name\":\"big\",\"capacity\":1024,\"cores\":2},"                                  \
    "{\"name\":\"LITTLE\",\"capacity\":400,\"cores\":2}],"                               \
    "\"explored\":{\"steps\":9,\"lost\":1.5},\"entries\":["                              \
    "{\"cores\":[0,1]},"                                                                 \
    "{\"cores\":[0,2],\"n\":3,\"ms\":[50,50,50],\"energy\":{\"source\":\"host\","        \
    "\"n\":3,\"mean_mj\":20,\"variance\":0}},"                                           \
    "{\"cores\":[1,0]},{\"cores\":[1,1]},{\"cores\":[1,2]},"                             \
    "{\"cores\":[2,0],\"n\":3,\"ms\":[20,20,20],\"energy\":{\"source\":\"host\","        \
    "\"n\":3,\"mean_mj\":60,\"variance\":0}},"                                           \
    "{\"cores\":[2,1]},"                                                                 \
    "{\"cores\":[2,2],\"n\":3,\"ms\":[15,15,15],\"energy\":{\"source\":\"host\","        \
    "\"n\":3,\"mean_mj\":65,\"variance\":0}}]}"

/* The text as a tree; free it with json_destroy. */
struct json *parse_text(const char *text);

/* A member that is a string; "null" where it is not. */
const char *word(const struct json *object, const char *key);

#endif
