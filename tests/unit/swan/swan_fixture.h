/* What the tests of the Swan engine share: SoCs made from numbers. */
#ifndef TESTS_SWAN_FIXTURE_H
#define TESTS_SWAN_FIXTURE_H

#include "base/rng.h"
#include "engine/swan/soc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* CYGNET_SEED, or the usual one; says which. */
uint64_t chosen_seed(void);

/* What soc_read finds below a root. */
struct soc soc_at(const char *root);

/* A SoC whose cluster k has n_cores[k] usable CPUs, numbered from the first cluster on;
 * each `smt` neighbours share a physical core. Capacities fall by a third from cluster
 * to cluster. */
struct soc make_soc(const uint32_t *n_cores, uint32_t n_clusters, uint32_t smt);

/* One to eight clusters of one to six CPUs, with or without siblings. */
struct soc draw_soc(struct rng *rng);

#endif
