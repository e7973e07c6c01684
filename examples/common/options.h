/* Numbers, shapes and choices from the command line, refused with one line that
 * names the option. `name` is the option as the user wrote it. */
#ifndef PROGRAMS_OPTIONS_H
#define PROGRAMS_OPTIONS_H

#include <cygnet/policy.h>
#include <cygnet/status.h>
#include <stdint.h>

/* A whole decimal number in low..high. Errors: EINVAL. */
cygnet_status option_count(uint64_t *out, const char *name, const char *text,
                           uint64_t low, uint64_t high, cygnet_error *err);

/* A finite decimal number in low..high. Errors: EINVAL. */
cygnet_status option_number(double *out, const char *name, const char *text, double low,
                            double high, cygnet_error *err);

/* "3x32x32", "28x28" or "784". Errors: EINVAL. */
cygnet_status option_shape(uint32_t dims[4], uint32_t *n_dims, const char *name,
                           const char *text, cygnet_error *err);

/* "I/N" with I below N. Errors: EINVAL. */
cygnet_status option_shard(uint32_t *shard, uint32_t *n_shards, const char *name,
                           const char *text, cygnet_error *err);

/* "swan", "greedy", "fixed" or "efficient". Errors: EINVAL. */
cygnet_status option_policy(cygnet_policy *out, const char *name, const char *text,
                            cygnet_error *err);

/* The name of an update codec that this build knows. Errors: EINVAL, which lists
 * them. */
cygnet_status option_codec(const char *name, const char *text, cygnet_error *err);

#endif
