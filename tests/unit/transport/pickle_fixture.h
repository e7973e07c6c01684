/* What the tests of pickles share: recorded payloads, and the layouts of the two
 * models whose weights they hold. */
#ifndef TESTS_TRANSPORT_PICKLE_FIXTURE_H
#define TESTS_TRANSPORT_PICKLE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/fedscale_pickle.h"

#include <string.h>

/* Fails unless `st` is `want` and the message holds `text`. */
#define assert_failed(st, want, err, text)                                               \
    do {                                                                                 \
        assert_int_equal((st), (want));                                                  \
        assert_int_equal((err).status, (want));                                          \
        if (!strstr((err).message, (text)))                                              \
            fail_msg("\"%s\" does not hold \"%s\"", (err).message, (text));              \
    } while (0)

/* A file of tests/golden/fedscale in a block of exactly its length; free() it. */
uint8_t *golden_read(size_t *len, const char *name);

/* A copy of exactly that length, so that a sanitizer sees what reads beyond. */
uint8_t *exact_copy(const void *data, size_t len);

/* A convolution with batch normalisation and a dense layer; one dense layer. */
extern const struct fedscale_layout small_layout;
extern const struct fedscale_layout dense_layout;

#endif
