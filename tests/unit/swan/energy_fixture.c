/* See energy_fixture.h. */
#include "energy_fixture.h"

#include <stdio.h>
#include <stdlib.h>

int read_figure(struct energy_figure *out, void *user)
{
    struct bench *b = user;

    b->n_asked++;
    *out = b->figure;
    return b->code;
}

int energy_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    tree_init(&b->tree);
    b->options.root = b->tree.root;
    b->options.user = b;
    b->figure = (struct energy_figure){.total_uj = -1, .power_uw = -1};
    b->soc.n_clusters = 2;
    memcpy(b->soc.clusters[0].name, "big", 4);
    memcpy(b->soc.clusters[1].name, "LITTLE", 7);
    energy_model_init(&b->model, &b->soc);
    *state = b;
    return 0;
}

int energy_teardown(void **state)
{
    struct bench *b = *state;

    tree_clear(&b->tree);
    free(b);
    return 0;
}

void put_package(struct bench *b, const char *folder, const char *name, int64_t energy_uj)
{
    char path[128];

    (void)snprintf(path, sizeof(path), RAPL "%s/name", folder);
    tree_put(&b->tree, path, name);
    (void)snprintf(path, sizeof(path), RAPL "%s/max_energy_range_uj", folder);
    tree_put_number(&b->tree, path, RANGE_UJ);
    (void)snprintf(path, sizeof(path), RAPL "%s/energy_uj", folder);
    tree_put_number(&b->tree, path, energy_uj);
}

void count(struct bench *b, const char *folder, int64_t energy_uj)
{
    char path[128];

    (void)snprintf(path, sizeof(path), RAPL "%s/energy_uj", folder);
    tree_put_number(&b->tree, path, energy_uj);
}

struct energy_reading since(struct bench *b, const struct energy_mark *from,
                            int64_t now_ms)
{
    struct energy_reading reading;
    struct energy_mark to;

    energy_meter_mark(&to, &b->meter, now_ms);
    energy_between(&reading, &b->meter, from, &to);
    return reading;
}

struct energy_reading marginal_since(struct bench *b, const struct energy_mark *from,
                                     int64_t now_ms)
{
    struct energy_reading reading;
    struct energy_mark to;

    energy_meter_mark(&to, &b->meter, now_ms);
    energy_marginal(&reading, &b->meter, from, &to);
    return reading;
}

void assert_near(double value, double want)
{
    if (!(fabs(value - want) <= 1e-9 * fabs(want)))
        fail_msg("%.12g is not %.12g", value, want);
}

void assert_unknown(struct energy_reading reading, const char *why)
{
    assert_int_equal(reading.source, ENERGY_UNKNOWN);
    assert_true(isnan(reading.mj) && isnan(reading.spread_mj));
    assert_string_equal(reading.why, why);
}

void assert_known(struct energy_reading reading, enum energy_source source, double mj)
{
    if (reading.source != source)
        fail_msg("source %s: %s", energy_source_name(reading.source), reading.why);
    assert_near(reading.mj, mj);
}

void use_model(struct bench *b)
{
    b->options.model = &b->model;
    energy_meter_init(&b->meter, &b->options);
}
