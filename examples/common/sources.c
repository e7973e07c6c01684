/* The three formats: bundled digits, IDX directories, CIFAR-10 batches. */
#include "sources.h"
#include "complain.h"
#include "embedded.h"
#include "file.h"
#include "idx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CIFAR_SIDE 32u
#define CIFAR_PIXELS (3u * CIFAR_SIDE * CIFAR_SIDE)
#define CIFAR_ROW (1u + CIFAR_PIXELS)
#define CIFAR_MAX_ROWS 100000u /* of one batch file; the real ones have 10,000 */
#define CIFAR_BATCHES 5

static const char *const idx_prefix[] = {[SPLIT_TRAIN] = "train", [SPLIT_TEST] = "t10k"};

void source_rows_clear(struct source_rows *rows)
{
    free(rows->pixels);
    free(rows->labels);
    memset(rows, 0, sizeof(*rows));
}

/* Makes room for n more rows of out->shape; they are not counted yet. */
static cygnet_status reserve(struct source_rows *out, uint32_t n, cygnet_error *err)
{
    size_t rows = (size_t)out->n[SPLIT_TRAIN] + out->n[SPLIT_TEST] + n;
    uint8_t *pixels = realloc(out->pixels, rows * image_shape_size(out->shape));
    uint8_t *labels;

    if (pixels)
        out->pixels = pixels;
    labels = realloc(out->labels, rows);
    if (labels)
        out->labels = labels;
    if (!pixels || !labels)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %zu pictures", rows);
    return CYGNET_OK;
}

/* Appends n rows to what `reserve` has made room for. */
static void append(struct source_rows *out, enum split split, const uint8_t *pixels,
                   const uint8_t *labels, uint32_t n)
{
    size_t one = image_shape_size(out->shape);
    size_t had = (size_t)out->n[SPLIT_TRAIN] + out->n[SPLIT_TEST];

    memcpy(out->pixels + had * one, pixels, n * one);
    memcpy(out->labels + had, labels, n);
    out->n[split] += n;
}

/* ---- IDX ---------------------------------------------------------------- */

static cygnet_status append_pair(struct source_rows *out, enum split split,
                                 const struct idx *images, const struct idx *labels,
                                 const char *names[2], cygnet_error *err)
{
    struct image_shape shape = {1, images->height, images->width};
    cygnet_status st;

    if (images->n != labels->n)
        return complain(err, CYGNET_EFORMAT, 0, "%s: has %u labels, but %s has %u images",
                        names[1], labels->n, names[0], images->n);
    if (out->n[SPLIT_TRAIN] == 0)
        out->shape = shape;
    if (shape.height != out->shape.height || shape.width != out->shape.width)
        return complain(err, CYGNET_ESHAPE, 0,
                        "%s: images of %ux%u, but the train images are %ux%u", names[0],
                        shape.height, shape.width, out->shape.height, out->shape.width);
    st = reserve(out, images->n, err);
    if (st == CYGNET_OK)
        append(out, split, images->bytes, labels->bytes, images->n);
    return st;
}

struct blob {
    const char *name;
    const uint8_t *data;
    size_t len;
};

static cygnet_status parse_pair(struct source_rows *out, enum split split,
                                const struct blob pair[2], cygnet_error *err)
{
    struct idx images;
    struct idx labels;
    const char *names[2] = {pair[0].name, pair[1].name};
    cygnet_status st =
        idx_parse(&images, IDX_IMAGES, pair[0].data, pair[0].len, names[0], err);

    if (st != CYGNET_OK)
        return st;
    st = idx_parse(&labels, IDX_LABELS, pair[1].data, pair[1].len, names[1], err);
    if (st == CYGNET_OK)
        st = append_pair(out, split, &images, &labels, names, err);
    idx_clear(&images);
    idx_clear(&labels);
    return st;
}

/* The path of NAME or NAME.gz, whichever is there; empty when neither is. */
static cygnet_status find_idx(char out[FILE_MAX_PATH], const char *folder,
                              enum split split, const char *kind, cygnet_error *err)
{
    static const char *const endings[] = {"", ".gz"};
    char name[64];
    cygnet_status st;

    for (size_t e = 0; e < 2; e++) {
        snprintf(name, sizeof(name), "%s-%s-ubyte%s", idx_prefix[split], kind,
                 endings[e]);
        st = file_path(out, folder, name, err);
        if (st != CYGNET_OK || access(out, F_OK) == 0)
            return st;
    }
    out[0] = '\0';
    return CYGNET_OK;
}

static cygnet_status read_pair(struct source_rows *out, enum split split,
                               char paths[2][FILE_MAX_PATH], cygnet_error *err)
{
    uint8_t *data[2] = {NULL, NULL};
    size_t len[2] = {0, 0};
    cygnet_status st =
        file_read(&data[0], &len[0], paths[0], DATASET_MAX_FILE_BYTES, err);

    if (st == CYGNET_OK)
        st = file_read(&data[1], &len[1], paths[1], DATASET_MAX_FILE_BYTES, err);
    if (st == CYGNET_OK) {
        struct blob pair[2] = {{paths[0], data[0], len[0]}, {paths[1], data[1], len[1]}};

        st = parse_pair(out, split, pair, err);
    }
    free(data[0]);
    free(data[1]);
    return st;
}

/* A pair may be missing, but not half of one. */
static cygnet_status idx_split(struct source_rows *out, enum split split,
                               const char *folder, cygnet_error *err)
{
    char paths[2][FILE_MAX_PATH];
    cygnet_status st = find_idx(paths[0], folder, split, "images-idx3", err);

    if (st == CYGNET_OK)
        st = find_idx(paths[1], folder, split, "labels-idx1", err);
    if (st != CYGNET_OK || (!paths[0][0] && !paths[1][0]))
        return st;
    if (!paths[0][0] || !paths[1][0])
        return complain(err, CYGNET_ENOTFOUND, 0,
                        "%s: %s-%s-ubyte[.gz] is missing beside its other half", folder,
                        idx_prefix[split], paths[0][0] ? "labels-idx1" : "images-idx3");
    return read_pair(out, split, paths, err);
}

cygnet_status source_idx(struct source_rows *out, const char *folder, cygnet_error *err)
{
    cygnet_status st = idx_split(out, SPLIT_TRAIN, folder, err);

    if (st == CYGNET_OK)
        st = idx_split(out, SPLIT_TEST, folder, err);
    if (st == CYGNET_OK && out->n[SPLIT_TRAIN] == 0 && out->n[SPLIT_TEST] == 0)
        st = complain(err, CYGNET_ENOTFOUND, 0,
                      "%s: has no {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]",
                      folder);
    return st;
}

/* ---- Bundled digits ----------------------------------------------------- */

static cygnet_status digits_file(struct blob *out, enum split split, const char *kind,
                                 cygnet_error *err)
{
    char name[64];

    snprintf(name, sizeof(name), "%s-%s-ubyte.gz", idx_prefix[split], kind);
    for (const struct embedded_file *f = embedded_digits; f->name; f++) {
        if (strcmp(f->name, name) == 0) {
            *out = (struct blob){f->name, f->data, f->len};
            return CYGNET_OK;
        }
    }
    return complain(err, CYGNET_ENOTFOUND, 0, "%s is not built into this program", name);
}

cygnet_status source_digits(struct source_rows *out, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (int s = SPLIT_TRAIN; s <= SPLIT_TEST && st == CYGNET_OK; s++) {
        struct blob pair[2] = {{0}};

        st = digits_file(&pair[0], (enum split)s, "images-idx3", err);
        if (st == CYGNET_OK)
            st = digits_file(&pair[1], (enum split)s, "labels-idx1", err);
        if (st == CYGNET_OK)
            st = parse_pair(out, (enum split)s, pair, err);
    }
    return st;
}

/* ---- CIFAR-10 ----------------------------------------------------------- */

static cygnet_status parse_batch(struct source_rows *out, enum split split,
                                 const struct blob *file, cygnet_error *err)
{
    size_t n = file->len / CIFAR_ROW;
    cygnet_status st;

    if (n == 0 || file->len % CIFAR_ROW != 0)
        return complain(err, CYGNET_EFORMAT, 0,
                        "%s: %zu bytes are not whole rows of %u: truncated?", file->name,
                        file->len, CIFAR_ROW);
    if (n > CIFAR_MAX_ROWS)
        return complain(err, CYGNET_ELIMIT, 0, "%s: %zu rows are more than %u",
                        file->name, n, CIFAR_MAX_ROWS);
    st = reserve(out, (uint32_t)n, err);
    for (size_t i = 0; i < n && st == CYGNET_OK; i++) {
        const uint8_t *row = file->data + i * CIFAR_ROW;

        append(out, split, row + 1, row, 1);
    }
    return st;
}

/* Reads one batch file if it is there. */
static cygnet_status read_batch(struct source_rows *out, enum split split,
                                const char *folder, const char *name, cygnet_error *err)
{
    char path[FILE_MAX_PATH];
    uint8_t *data;
    size_t len;
    cygnet_status st = file_path(path, folder, name, err);

    if (st != CYGNET_OK || access(path, F_OK) != 0)
        return st;
    st = file_read(&data, &len, path, (size_t)CIFAR_MAX_ROWS * CIFAR_ROW, err);
    if (st == CYGNET_OK)
        st = parse_batch(out, split, &(struct blob){path, data, len}, err);
    free(data);
    return st;
}

cygnet_status source_cifar10(struct source_rows *out, const char *folder,
                             cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    out->shape = (struct image_shape){3, CIFAR_SIDE, CIFAR_SIDE};
    for (int b = 1; b <= CIFAR_BATCHES && st == CYGNET_OK; b++) {
        char name[32];

        snprintf(name, sizeof(name), "data_batch_%d.bin", b);
        st = read_batch(out, SPLIT_TRAIN, folder, name, err);
    }
    if (st == CYGNET_OK)
        st = read_batch(out, SPLIT_TEST, folder, "test_batch.bin", err);
    if (st == CYGNET_OK && out->n[SPLIT_TRAIN] == 0 && out->n[SPLIT_TEST] == 0)
        st = complain(err, CYGNET_ENOTFOUND, 0,
                      "%s: has no data_batch_N.bin and no test_batch.bin", folder);
    return st;
}
