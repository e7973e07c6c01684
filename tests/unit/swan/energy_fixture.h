/* An energy meter on a bench: a device of files, a host's meter, a model of a SoC with
 * the clusters "big" and "LITTLE". */
#ifndef TESTS_SWAN_ENERGY_FIXTURE_H
#define TESTS_SWAN_ENERGY_FIXTURE_H

#include "engine/swan/energy.h"
#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#define RAPL "sys/class/powercap/"
#define RANGE_UJ INT64_C(262143328850) /* 2^32 - 1 units of 61 uJ */

/* figure  what the host's meter shows; code: what its hook answers; n_asked: how often
 *         it was asked */
struct bench {
    struct tree tree;
    struct soc soc;
    struct energy_model model;
    struct energy_options options;
    struct energy_meter meter;
    struct energy_figure figure;
    int code;
    int n_asked;
};

/* cmocka's set-up and tear-down; *state is the bench. The meter is not made yet. */
int energy_setup(void **state);
int energy_teardown(void **state);

/* The hook; its user is the bench. */
int read_figure(struct energy_figure *out, void *user);

/* Meters with the model in it. */
void use_model(struct bench *b);

/* A package's folder of files; its counter alone. */
void put_package(struct bench *b, const char *folder, const char *name,
                 int64_t energy_uj);
void count(struct bench *b, const char *folder, int64_t energy_uj);

/* What was drawn from a mark to now; what of it training drew. */
struct energy_reading since(struct bench *b, const struct energy_mark *from,
                            int64_t now_ms);
struct energy_reading marginal_since(struct bench *b, const struct energy_mark *from,
                                     int64_t now_ms);

void assert_near(double value, double want);
void assert_unknown(struct energy_reading reading, const char *why);
void assert_known(struct energy_reading reading, enum energy_source source, double mj);

#define ENERGY_TEST(name)                                                                \
    cmocka_unit_test_setup_teardown(name, energy_setup, energy_teardown)

#endif
