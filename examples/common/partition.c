/* Non-IID partitions. Every process computes the owner of every row and keeps
 * its own: cheap, and no process needs to tell another. */
#include "partition.h"
#include "complain.h"
#include "options.h"
#include "random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STREAM 0x7061727469u /* keeps partition draws apart from other uses */

/* The partition in the making.
 * order  positions in dataset->train, in the order they are being dealt
 * owner  by position in dataset->train
 * count  rows of each shard
 * share  a Dirichlet draw */
struct deal {
    const struct dataset *dataset;
    struct random random;
    uint32_t n;
    uint32_t n_shards;
    uint32_t *order;
    uint32_t *owner;
    uint32_t *count;
    double *share;
};

cygnet_status partition_parse(struct partition_spec *out, const char *text,
                              cygnet_error *err)
{
    uint64_t pieces;

    memset(out, 0, sizeof(*out));
    if (strcmp(text, "iid") == 0) {
        out->kind = PARTITION_IID;
        return CYGNET_OK;
    }
    if (strncmp(text, "dirichlet:", 10) == 0) {
        out->kind = PARTITION_DIRICHLET;
        return option_number(&out->alpha, "partition dirichlet:", text + 10, 1e-3, 1e6,
                             err);
    }
    if (strncmp(text, "shards:", 7) == 0) {
        cygnet_status st = option_count(&pieces, "partition shards:", text + 7, 1,
                                        PARTITION_MAX_SHARDS, err);

        out->kind = PARTITION_SHARDS;
        out->per_shard = st == CYGNET_OK ? (uint32_t)pieces : 0;
        return st;
    }
    return complain(err, CYGNET_EINVAL, 0,
                    "partition \"%.64s\" is not dirichlet:A, shards:S or iid", text);
}

static uint8_t label_at(const struct deal *deal, uint32_t position)
{
    return deal->dataset->labels[deal->dataset->train.index[position]];
}

static void give(struct deal *deal, uint32_t position, uint32_t shard)
{
    deal->owner[position] = shard;
    deal->count[shard]++;
}

/* Dirichlet(alpha) from gamma draws, in logarithms so that a small alpha does
 * not underflow to a draw of all zeros. */
static void draw_shares(struct deal *deal, double alpha)
{
    double most = -INFINITY;
    double sum = 0.0;

    for (uint32_t s = 0; s < deal->n_shards; s++) {
        deal->share[s] = random_log_gamma(&deal->random, alpha);
        most = deal->share[s] > most ? deal->share[s] : most;
    }
    for (uint32_t s = 0; s < deal->n_shards; s++) {
        deal->share[s] = exp(deal->share[s] - most);
        sum += deal->share[s];
    }
    for (uint32_t s = 0; s < deal->n_shards; s++)
        deal->share[s] /= sum;
}

/* Positions of one label, shuffled, at the front of deal->order. */
static uint32_t gather_label(struct deal *deal, uint32_t label)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < deal->n; i++)
        if (label_at(deal, i) == label)
            deal->order[n++] = i;
    random_shuffle(&deal->random, deal->order, n);
    return n;
}

static void deal_dirichlet(struct deal *deal, double alpha)
{
    for (uint32_t label = 0; label < deal->dataset->n_classes; label++) {
        uint32_t n = gather_label(deal, label);
        uint32_t next = 0;
        double edge = 0.0;

        draw_shares(deal, alpha);
        for (uint32_t s = 0; s < deal->n_shards; s++) {
            edge += deal->share[s];
            while (next < n && (s + 1 == deal->n_shards || next < edge * n))
                give(deal, deal->order[next++], s);
        }
    }
}

static uint32_t fullest(const struct deal *deal)
{
    uint32_t best = 0;

    for (uint32_t s = 1; s < deal->n_shards; s++)
        if (deal->count[s] > deal->count[best])
            best = s;
    return best;
}

/* The last row of the fullest shard moves to `shard`. */
static void move_one(struct deal *deal, uint32_t shard)
{
    uint32_t from = fullest(deal);
    uint32_t i = deal->n;

    while (deal->owner[--i] != from)
        ;
    deal->count[from]--;
    give(deal, i, shard);
}

static void top_up(struct deal *deal)
{
    uint32_t least = deal->n / deal->n_shards;

    least = least < PARTITION_MIN_ROWS ? least : PARTITION_MIN_ROWS;
    for (uint32_t s = 0; s < deal->n_shards; s++)
        while (deal->count[s] < least)
            move_one(deal, s);
}

static cygnet_status deal_pieces(struct deal *deal, uint32_t per_shard, cygnet_error *err)
{
    uint64_t n_pieces = (uint64_t)deal->n_shards * per_shard;
    uint32_t *piece;
    uint32_t done = 0;

    if (n_pieces == 0 || n_pieces > deal->n)
        return complain(err, CYGNET_EDATA, 0, "%u rows cannot be cut into %llu pieces",
                        deal->n, (unsigned long long)n_pieces);
    piece = calloc(n_pieces, sizeof(*piece));
    if (!piece)
        return complain(err, CYGNET_ENOMEM, 0, "no memory to partition");
    for (uint32_t p = 0; p < n_pieces; p++)
        piece[p] = p;
    random_shuffle(&deal->random, piece, (uint32_t)n_pieces);
    for (uint32_t label = 0; label < deal->dataset->n_classes; label++) {
        uint32_t n = gather_label(deal, label);

        for (uint32_t i = 0; i < n; i++, done++)
            give(deal, deal->order[i],
                 piece[(uint64_t)done * n_pieces / deal->n] / per_shard);
    }
    free(piece);
    return CYGNET_OK;
}

static void deal_evenly(struct deal *deal)
{
    for (uint32_t i = 0; i < deal->n; i++)
        deal->order[i] = i;
    random_shuffle(&deal->random, deal->order, deal->n);
    for (uint32_t i = 0; i < deal->n; i++)
        give(deal, deal->order[i], i % deal->n_shards);
}

static cygnet_status deal_all(struct deal *deal, const struct partition_spec *spec,
                              cygnet_error *err)
{
    if (spec->kind == PARTITION_SHARDS)
        return deal_pieces(deal, spec->per_shard, err);
    if (spec->kind == PARTITION_IID)
        deal_evenly(deal);
    else
        deal_dirichlet(deal, spec->alpha);
    top_up(deal);
    return CYGNET_OK;
}

static cygnet_status keep_own(struct rows *out, const struct deal *deal, uint32_t shard,
                              cygnet_error *err)
{
    out->index = calloc((size_t)deal->count[shard] + 1, sizeof(*out->index));
    if (!out->index)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %u rows",
                        deal->count[shard]);
    for (uint32_t i = 0; i < deal->n; i++)
        if (deal->owner[i] == shard)
            out->index[out->n++] = deal->dataset->train.index[i];
    return CYGNET_OK;
}

static cygnet_status check(const struct dataset *dataset, uint32_t shard,
                           uint32_t n_shards, cygnet_error *err)
{
    if (n_shards == 0 || n_shards > PARTITION_MAX_SHARDS || shard >= n_shards)
        return complain(err, CYGNET_EINVAL, 0,
                        "shard %u of %u: N must be 1..%u and the shard below it", shard,
                        n_shards, PARTITION_MAX_SHARDS);
    if (dataset->train.n < n_shards)
        return complain(err, CYGNET_EDATA, 0, "%u rows are too few for %u shards",
                        dataset->train.n, n_shards);
    return CYGNET_OK;
}

cygnet_status partition_shard(struct rows *out, const struct dataset *dataset,
                              const struct partition_spec *spec, uint64_t seed,
                              uint32_t shard, uint32_t n_shards, cygnet_error *err)
{
    struct deal deal = {.dataset = dataset, .n = dataset->train.n, .n_shards = n_shards};
    cygnet_status st = check(dataset, shard, n_shards, err);

    memset(out, 0, sizeof(*out));
    if (st != CYGNET_OK)
        return st;
    assert(n_shards > 0); /* by check */
    random_init(&deal.random, seed, STREAM);
    deal.order = calloc(deal.n, sizeof(*deal.order));
    deal.owner = calloc(deal.n, sizeof(*deal.owner));
    deal.count = calloc(n_shards, sizeof(*deal.count));
    deal.share = calloc(n_shards, sizeof(*deal.share));
    if (deal.order && deal.owner && deal.count && deal.share) {
        st = deal_all(&deal, spec, err);
        if (st == CYGNET_OK)
            st = keep_own(out, &deal, shard, err);
    } else {
        st = complain(err, CYGNET_ENOMEM, 0, "no memory to partition");
    }
    free(deal.order);
    free(deal.owner);
    free(deal.count);
    free(deal.share);
    return st;
}
