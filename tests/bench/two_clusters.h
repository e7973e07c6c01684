/* A topology for an engine's root: two cores as two clusters, "big" and "LITTLE", and
 * nothing else of a system. */
#ifndef TESTS_BENCH_TWO_CLUSTERS_H
#define TESTS_BENCH_TWO_CLUSTERS_H

#include <cygnet/status.h>
#include <stdint.h>

enum { TWO_CLUSTERS_BYTES = 1024 };

/* Makes a folder of files below TMPDIR.
 * root   receives its path; "" when there is none
 * share  of the fast core's capacity that the slow one has
 * Errors: ESTORAGE. Remove it all the same. */
cygnet_status two_clusters_make(char root[TWO_CLUSTERS_BYTES], uint32_t fast,
                                uint32_t slow, double share, cygnet_error *err);

/* Accepts "". */
void two_clusters_remove(const char *root);

#endif
