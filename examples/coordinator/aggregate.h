/* Streaming FedAvg whose result does not depend on the order of arrival.
 *
 * Each weight has one 128-bit two's complement sum, S = sum_i n_i * q_i with
 * q_i = round(d_i * 2^AGGREGATE_SCALE_BITS). Integer addition is associative, so
 * any order gives the same bits. docs/coordinator.md has the derivation of the
 * bounds below. Memory: 16 bytes per weight, whatever the number of updates. What
 * counts (I64: num_batches_tracked) is summed as it is, q_i = d_i. */
#ifndef COORDINATOR_AGGREGATE_H
#define COORDINATOR_AGGREGATE_H

#include <cygnet/tensors.h>

#define AGGREGATE_SCALE_BITS 50
#define AGGREGATE_MAX_DELTA 4096.0             /* 2^12: |q| <= 2^62 */
#define AGGREGATE_MAX_COUNT (INT64_C(1) << 53) /* |d| of I64, and its change */
#define AGGREGATE_MAX_EXAMPLES (UINT64_C(1) << 31)
#define AGGREGATE_MAX_UPDATES (UINT64_C(1) << 20) /* |S| <= 2^113 */

struct aggregate;

/* An empty sum over tensors shaped as `global`, each F32 or I64.
 * Errors: ESHAPE (another dtype), ENOMEM. */
cygnet_status aggregate_create(struct aggregate **out, const cygnet_tensors *global,
                               cygnet_error *err);
void aggregate_destroy(struct aggregate *a); /* accepts NULL */

/* Whether `deltas` may be added: names, shapes and order as in `global`, finite,
 * |d| <= AGGREGATE_MAX_DELTA (I64: AGGREGATE_MAX_COUNT), 1 <= examples <=
 * AGGREGATE_MAX_EXAMPLES. Errors: ESHAPE, ENUMERIC, ELIMIT; the message names the tensor.
 */
cygnet_status aggregate_check(const cygnet_tensors *deltas, const cygnet_tensors *global,
                              uint64_t examples, cygnet_error *err);

/* Adds checked deltas with weight `examples`.
 * Errors: ELIMIT (AGGREGATE_MAX_UPDATES reached); the sum is then unchanged. */
cygnet_status aggregate_add(struct aggregate *a, const cygnet_tensors *deltas,
                            uint64_t examples, cygnet_error *err);

uint64_t aggregate_count(const struct aggregate *a);
uint64_t aggregate_examples(const struct aggregate *a);

/* New weights: global + server_lr * S / (2^AGGREGATE_SCALE_BITS * sum of n_i), in
 * double, rounded once to float; of I64 the change is rounded to the nearest integer,
 * ties to even. Counts and variances ("running_var") end at 0 from below: a large
 * server_lr or what a client claims can take them there, and no model accepts less.
 * Errors: ESTATE (nothing was added), ENUMERIC (a weight left its type's range),
 * ENOMEM. On failure *out is NULL. */
cygnet_status aggregate_apply(cygnet_tensors **out, const struct aggregate *a,
                              const cygnet_tensors *global, double server_lr,
                              cygnet_error *err);

#endif
