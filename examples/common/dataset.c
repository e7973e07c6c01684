/* Opening a dataset and deciding what is held out. */
#include "dataset.h"
#include "complain.h"
#include "random.h"
#include "sources.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define DEFAULT_CLASSES 10u
#define HOLD_OUT_SEED 1u  /* fixed: see struct dataset */
#define HOLD_OUT_SHARE 5u /* one row in five of each label */

void rows_clear(struct rows *rows)
{
    free(rows->index);
    memset(rows, 0, sizeof(*rows));
}

static cygnet_status read_source(struct source_rows *out, const char *spec,
                                 cygnet_error *err)
{
    if (strcmp(spec, "digits") == 0)
        return source_digits(out, err);
    if (strncmp(spec, "idx:", 4) == 0 && spec[4])
        return source_idx(out, spec + 4, err);
    if (strncmp(spec, "cifar10:", 8) == 0 && spec[8])
        return source_cifar10(out, spec + 8, err);
    return complain(err, CYGNET_EINVAL, 0,
                    "data \"%.64s\" is not digits, idx:DIR or cifar10:DIR", spec);
}

static cygnet_status check_labels(const struct dataset *dataset, const char *spec,
                                  cygnet_error *err)
{
    for (uint32_t i = 0; i < dataset->n_rows; i++)
        if (dataset->labels[i] >= dataset->n_classes)
            return complain(err, CYGNET_EDATA, (int32_t)dataset->labels[i],
                            "%s: row %u has label %u, but labels must be below %u", spec,
                            i, dataset->labels[i], dataset->n_classes);
    return CYGNET_OK;
}

static cygnet_status rows_range(struct rows *out, uint32_t first, uint32_t n,
                                cygnet_error *err)
{
    out->index = calloc(n, sizeof(*out->index));
    if (!out->index)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %u rows", n);
    out->n = n;
    for (uint32_t i = 0; i < n; i++)
        out->index[i] = first + i;
    return CYGNET_OK;
}

/* Marks a fifth of each label (rounded) as held out. */
static void mark_held_out(uint8_t *held, uint32_t *scratch, const struct dataset *dataset)
{
    struct random random;

    random_init(&random, HOLD_OUT_SEED, 0);
    for (uint32_t label = 0; label < dataset->n_classes; label++) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < dataset->n_rows; i++)
            if (dataset->labels[i] == label)
                scratch[n++] = i;
        random_shuffle(&random, scratch, n);
        for (uint32_t i = 0; i < (n + HOLD_OUT_SHARE / 2) / HOLD_OUT_SHARE; i++)
            held[scratch[i]] = 1;
    }
}

static cygnet_status hold_out(struct dataset *dataset, const char *spec,
                              cygnet_error *err)
{
    uint32_t n = dataset->n_rows;
    uint8_t *held = calloc(n, 1);
    cygnet_status st;

    if (!held)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %u rows", n);
    st = rows_range(&dataset->train, 0, n, err);
    if (st == CYGNET_OK)
        st = rows_range(&dataset->test, 0, n, err);
    if (st == CYGNET_OK) {
        mark_held_out(held, dataset->test.index, dataset);
        dataset->train.n = dataset->test.n = 0;
        for (uint32_t i = 0; i < n; i++) {
            struct rows *to = held[i] ? &dataset->test : &dataset->train;

            to->index[to->n++] = i;
        }
        if (dataset->train.n == 0 || dataset->test.n == 0)
            st = complain(err, CYGNET_EDATA, 0,
                          "%s: %u rows are too few to hold some out", spec, n);
    }
    free(held);
    return st;
}

/* Both pairs: as given. One pair, whichever: a fifth of it is held out. */
static cygnet_status split(struct dataset *dataset, const struct source_rows *source,
                           const char *spec, cygnet_error *err)
{
    uint32_t n_train = source->n[SPLIT_TRAIN];
    uint32_t n_test = source->n[SPLIT_TEST];
    cygnet_status st;

    if (n_train == 0 || n_test == 0)
        return hold_out(dataset, spec, err);
    st = rows_range(&dataset->train, 0, n_train, err);
    if (st == CYGNET_OK)
        st = rows_range(&dataset->test, n_train, n_test, err);
    return st;
}

static uint32_t fingerprint(const struct dataset *dataset)
{
    size_t one = image_shape_size(dataset->shape);
    uLong sum = crc32(0L, dataset->labels, dataset->n_rows);

    for (uint32_t i = 0; i < dataset->n_rows; i++)
        sum = crc32(sum, dataset_pixels(dataset, i), (uInt)one);
    return (uint32_t)sum;
}

/* Consumes source. */
static cygnet_status adopt(struct dataset *dataset, struct source_rows *source,
                           const char *spec, cygnet_error *err)
{
    cygnet_status st;

    dataset->shape = source->shape;
    dataset->pixels = source->pixels;
    dataset->labels = source->labels;
    dataset->n_rows = source->n[SPLIT_TRAIN] + source->n[SPLIT_TEST];
    st = check_labels(dataset, spec, err);
    if (st == CYGNET_OK)
        st = split(dataset, source, spec, err);
    if (st == CYGNET_OK)
        dataset->fingerprint = fingerprint(dataset);
    return st;
}

cygnet_status dataset_open(struct dataset **out, const char *spec, uint32_t n_classes,
                           cygnet_error *err)
{
    struct source_rows source = {0};
    struct dataset *dataset;
    cygnet_status st;

    *out = NULL;
    if (n_classes > DATASET_MAX_CLASSES)
        return complain(err, CYGNET_EINVAL, 0, "at most %u classes are possible",
                        DATASET_MAX_CLASSES);
    st = read_source(&source, spec, err);
    dataset = st == CYGNET_OK ? calloc(1, sizeof(*dataset)) : NULL;
    if (!dataset) {
        source_rows_clear(&source);
        return st != CYGNET_OK ? st : complain(err, CYGNET_ENOMEM, 0, "no memory");
    }
    dataset->n_classes = n_classes ? n_classes : DEFAULT_CLASSES;
    st = adopt(dataset, &source, spec, err);
    if (st != CYGNET_OK) {
        dataset_destroy(dataset);
        return st;
    }
    *out = dataset;
    return CYGNET_OK;
}

void dataset_destroy(struct dataset *dataset)
{
    if (!dataset)
        return;
    rows_clear(&dataset->train);
    rows_clear(&dataset->test);
    free(dataset->pixels);
    free(dataset->labels);
    free(dataset);
}

cygnet_status dataset_arrays(float **x, int64_t **y, const struct dataset *dataset,
                             const struct rows *rows, struct image_shape to,
                             cygnet_error *err)
{
    struct image_plan *plan;
    size_t one = image_shape_size(to);
    cygnet_status st = image_plan_create(&plan, dataset->shape, to, err);

    *x = NULL;
    *y = NULL;
    if (st != CYGNET_OK)
        return st;
    *x = calloc(rows->n, one * sizeof(**x));
    *y = calloc(rows->n, sizeof(**y));
    if (!*x || !*y) {
        free(*x);
        free(*y);
        *x = NULL;
        *y = NULL;
        image_plan_destroy(plan);
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %u pictures of %zu numbers",
                        rows->n, one);
    }
    for (uint32_t i = 0; i < rows->n; i++) {
        image_plan_apply(plan, *x + i * one, dataset_pixels(dataset, rows->index[i]));
        (*y)[i] = dataset->labels[rows->index[i]];
    }
    image_plan_destroy(plan);
    return CYGNET_OK;
}
