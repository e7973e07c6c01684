/* The includes of every unit test of base/ and what they share. */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka, whose macro fail() would hide the function: (fail)(...) calls it. */
#include "base/error.h"

#include <cmocka.h>

#include <string.h>

/* Fails unless `st` is `want` and the message holds `text`. */
#define assert_failed(st, want, err, text)                                               \
    do {                                                                                 \
        assert_int_equal((st), (want));                                                  \
        assert_int_equal((err).status, (want));                                          \
        if (!strstr((err).message, (text)))                                              \
            fail_msg("\"%s\" does not hold \"%s\"", (err).message, (text));              \
    } while (0)

#endif
