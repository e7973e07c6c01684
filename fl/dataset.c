/* Speaks to the three data hooks. */
#include "fl/dataset.h"

#include "base/error.h"

#include <inttypes.h>
#include <string.h>

#define MAX_EXAMPLES (UINT64_C(1) << 32)
#define UNWRITTEN INT64_MIN

cygnet_status dataset_open(struct dataset *out, const cygnet_host *host,
                           const cygnet_task *task, cygnet_error *err)
{
    cygnet_dataset_info info = {.struct_size = sizeof(info)};
    int code;

    memset(out, 0, sizeof(*out));
    out->host = host;
    code = host->data_open(&out->cursor, &info, task->collection, task->selector,
                           host->user);
    if (code != 0)
        return fail(err, CYGNET_EHOST, code, "data_open of collection \"%s\" failed: %d",
                    task->collection, code);
    out->opened = 1;
    out->n_examples = info.n_examples;
    memcpy(out->snapshot_id, info.snapshot_id, sizeof(out->snapshot_id));
    out->snapshot_id[sizeof(out->snapshot_id) - 1] = '\0';
    if (info.n_examples > 0 && info.n_examples <= MAX_EXAMPLES)
        return CYGNET_OK;
    dataset_close(out);
    if (info.n_examples == 0)
        return fail(err, CYGNET_EDATA, 0, "collection \"%s\" has no examples",
                    task->collection);
    return fail(err, CYGNET_EDATA, 0,
                "collection \"%s\" has %" PRIu64 " examples; at most 2^32 can be used",
                task->collection, info.n_examples);
}

size_t dataset_row_elements(const cygnet_model *model)
{
    uint32_t shape[CYGNET_INPUT_MAX_DIMS];
    uint32_t n_dims = cygnet_model_input_shape(model, shape);
    size_t n = 1;

    for (uint32_t d = 0; d < n_dims; d++)
        n *= shape[d];
    return n;
}

/* x and y as the host sees them. */
static void describe(cygnet_column columns[2], float *x, int64_t *y,
                     const cygnet_model *model)
{
    uint32_t shape[CYGNET_INPUT_MAX_DIMS];

    memset(columns, 0, 2 * sizeof(columns[0]));
    columns[0].name = "x";
    columns[0].dtype = CYGNET_F32;
    columns[0].n_dims = cygnet_model_input_shape(model, shape);
    for (uint32_t d = 0; d < columns[0].n_dims; d++)
        columns[0].row_shape[d] = shape[d];
    columns[0].data = x;
    columns[1].name = "y";
    columns[1].dtype = CYGNET_I64;
    columns[1].data = y;
}

cygnet_status dataset_read(struct dataset *data, float *x, int64_t *y,
                           const uint64_t *indices, uint32_t n, const cygnet_model *model,
                           cygnet_error *err)
{
    cygnet_column columns[2];
    cygnet_batch batch = {sizeof(batch), n, 2, columns};
    int code;

    describe(columns, x, y, model);
    for (uint32_t i = 0; i < n; i++)
        y[i] = UNWRITTEN;
    code = data->host->data_read(data->cursor, indices, &batch, data->host->user);
    if (code != 0)
        return fail(err, CYGNET_EHOST, code, "data_read of %" PRIu32 " rows failed: %d",
                    n, code);
    for (uint32_t i = 0; i < n; i++)
        if (y[i] == UNWRITTEN)
            return fail(err, CYGNET_EDATA, 0,
                        "data_read left the label of row %" PRIu32 " unwritten", i);
    return CYGNET_OK;
}

void dataset_close(struct dataset *data)
{
    if (data->opened)
        data->host->data_close(data->cursor, data->host->user);
    data->opened = 0;
}
