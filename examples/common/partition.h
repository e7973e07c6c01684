/* Who has which training rows: the non-IID partitions of federated learning.
 * The same data, spec, seed and number of shards give the same partition in
 * every process; shards are disjoint and together hold every training row. */
#ifndef PROGRAMS_PARTITION_H
#define PROGRAMS_PARTITION_H

#include "dataset.h"

#define PARTITION_MIN_ROWS 10u /* a shard's least rows, where n / N allows it */
#define PARTITION_MAX_SHARDS 100000u

enum partition_kind { PARTITION_DIRICHLET, PARTITION_SHARDS, PARTITION_IID };

/* alpha      dirichlet: small is skewed, large is even
 * per_shard  shards: pieces of label-sorted rows that each client is dealt */
struct partition_spec {
    enum partition_kind kind;
    double alpha;
    uint32_t per_shard;
};

/* Parses "dirichlet:A", "shards:S" or "iid". Errors: EINVAL. */
cygnet_status partition_parse(struct partition_spec *out, const char *text,
                              cygnet_error *err);

/* The training rows of shard number `shard` of `n_shards`.
 * out  indices into the dataset's pool; cleared with rows_clear
 *
 * dirichlet: each label's rows are shuffled and cut among the shards in
 * proportions drawn from Dirichlet(alpha). Then, while a shard has fewer than
 * min(PARTITION_MIN_ROWS, n / n_shards) rows, it is given one from the fullest.
 * shards: rows sorted by label (shuffled within) are cut into n_shards * S
 * pieces, and each shard is dealt S of them at random.
 * iid: a shuffled deck, dealt round.
 * Errors: EINVAL (shard out of range), EDATA (fewer rows than pieces), ENOMEM. */
cygnet_status partition_shard(struct rows *out, const struct dataset *dataset,
                              const struct partition_spec *spec, uint64_t seed,
                              uint32_t shard, uint32_t n_shards, cygnet_error *err);

#endif
