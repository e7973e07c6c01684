#include "transport/fedscale_pickle.h"

#include "base/error.h"
#include "base/json_scan.h"
#include "base/tensors.h"
#include "transport/pickle.h"
#include "transport/torch_storage.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SHAPE_TEXT_BYTES 96
#define TENSOR_ARGUMENTS 6
#define UPLOAD_SLACK_BYTES 4096 /* of an upload beyond its tensors */
#define TENSOR_SLACK_BYTES 96   /* of a tensor beyond its data */
#define FIRST_OPCODE_AT 2       /* behind PROTO */
#define FRAME_BYTES 9           /* FRAME and its length */
#define OPCODE_FRAME 0x95
#define OPCODE_EMPTY_LIST ']'

enum { REBUILD_TENSOR, LOAD_STORAGE, ORDERED_DICT, N_GLOBALS };

static const struct pickle_global globals[N_GLOBALS] = {
    [REBUILD_TENSOR] = {"torch._utils", "_rebuild_tensor_v2"},
    [LOAD_STORAGE] = {"torch.storage", "_load_from_bytes"},
    [ORDERED_DICT] = {"collections", "OrderedDict"},
};
static const struct pickle_rules weights_rules = {.globals = globals,
                                                  .n_globals = N_GLOBALS};

/* A tensor as it came: what it is, and its elements. */
struct sent_tensor {
    cygnet_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[CYGNET_TENSOR_MAX_DIMS];
    struct torch_storage storage;
};

bool fedscale_has_weights(const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t at = FIRST_OPCODE_AT;

    if (len > at && p[at] == OPCODE_FRAME)
        at += FRAME_BYTES;
    return len > at && p[at] == OPCODE_EMPTY_LIST;
}

static cygnet_status bad(const char *what, cygnet_error *err)
{
    return fail(err, CYGNET_EFORMAT, 0, "%s", what);
}

/* Row-major strides; that of a dimension of one element is never used. */
static bool is_contiguous(const struct sent_tensor *t, const struct pickle_value *stride)
{
    uint64_t expected = 1;

    for (uint32_t i = t->n_dims; i-- > 0;) {
        int64_t value;

        if (!pickle_int(&value, stride->as.items[i]) || value < 0)
            return false;
        if (t->shape[i] != 1 && (uint64_t)value != expected)
            return false;
        expected *= t->shape[i];
    }
    return true;
}

/* false: the product overflows. */
static bool count_elements(uint64_t *out, const struct sent_tensor *t)
{
    uint64_t n_bytes;

    if (!tensor_size_bytes(&n_bytes, t->dtype, t->shape, t->n_dims))
        return false;
    *out = n_bytes / cygnet_dtype_size(t->dtype);
    return true;
}

static cygnet_status read_shape(struct sent_tensor *out, const struct pickle_value *size,
                                const struct pickle_value *stride, cygnet_error *err)
{
    uint64_t n_elements;

    if (!pickle_is(size, PICKLE_TUPLE) || !pickle_is(stride, PICKLE_TUPLE) ||
        size->n != stride->n)
        return bad("its size or stride is no tuple of its dimensions", err);
    if (size->n > CYGNET_TENSOR_MAX_DIMS)
        return fail(err, CYGNET_ELIMIT, 0, "more than %d dimensions",
                    CYGNET_TENSOR_MAX_DIMS);
    out->n_dims = (uint32_t)size->n;
    for (uint32_t i = 0; i < out->n_dims; i++) {
        int64_t value;

        if (!pickle_int(&value, size->as.items[i]) || value < 0)
            return bad("its size holds something else than counts", err);
        out->shape[i] = (uint64_t)value;
    }
    if (!count_elements(&n_elements, out))
        return bad("its size overflows", err);
    if (n_elements != out->storage.n_elements)
        return bad("its storage does not have the elements of its size", err);
    if (n_elements > 0 && !is_contiguous(out, stride))
        return bad("it is not contiguous", err);
    return CYGNET_OK;
}

static cygnet_status read_tensor(struct sent_tensor *out, const struct pickle_value *call,
                                 const cygnet_allocator *alloc, cygnet_error *err)
{
    struct pickle_value *const *args;
    int64_t offset;
    cygnet_status st;

    if (!pickle_is_call(call, REBUILD_TENSOR, TENSOR_ARGUMENTS))
        return bad("is not a tensor", err);
    args = call->as.items;
    if (!pickle_is_call(args[0], LOAD_STORAGE, 1) ||
        !pickle_is(args[0]->as.items[0], PICKLE_BYTES))
        return bad("its storage is not given as bytes", err);
    if (!pickle_int(&offset, args[1]) || offset != 0)
        return bad("it does not begin where its storage begins", err);
    if (!pickle_is(args[4], PICKLE_BOOL) || !pickle_is_call(args[5], ORDERED_DICT, 0))
        return bad("it has hooks", err);
    st = torch_storage_read(&out->storage, args[0]->as.items[0]->as.bytes,
                            args[0]->as.items[0]->n, alloc, err);
    if (st != CYGNET_OK)
        return st;
    out->dtype = out->storage.dtype;
    return read_shape(out, args[2], args[3], err);
}

static void format_shape(char out[SHAPE_TEXT_BYTES], cygnet_dtype dtype,
                         const uint64_t *shape, uint32_t n_dims)
{
    int at = snprintf(out, SHAPE_TEXT_BYTES, "%s (", cygnet_dtype_name(dtype));

    for (uint32_t i = 0; i < n_dims && at < SHAPE_TEXT_BYTES; i++)
        at += snprintf(out + at, (size_t)(SHAPE_TEXT_BYTES - at), "%s%" PRIu64,
                       i > 0 ? ", " : "", shape[i]);
    if (at < SHAPE_TEXT_BYTES)
        (void)snprintf(out + at, (size_t)(SHAPE_TEXT_BYTES - at), ")");
}

/* Holds what there is against the layout. */
static cygnet_status check_shape(const cygnet_tensor *expected, cygnet_dtype dtype,
                                 const uint64_t *shape, uint32_t n_dims,
                                 cygnet_error *err)
{
    char wanted[SHAPE_TEXT_BYTES], found[SHAPE_TEXT_BYTES];

    if (dtype == expected->dtype && n_dims == expected->n_dims &&
        (n_dims == 0 || memcmp(shape, expected->shape, n_dims * sizeof(*shape)) == 0))
        return CYGNET_OK;
    format_shape(wanted, expected->dtype, expected->shape, expected->n_dims);
    format_shape(found, dtype, shape, n_dims);
    return fail(err, CYGNET_ESHAPE, 0, "expected %s, found %s", wanted, found);
}

static cygnet_status add_tensor(cygnet_tensors *list, const cygnet_tensor *expected,
                                const struct pickle_value *call,
                                const cygnet_allocator *alloc, cygnet_error *err)
{
    struct sent_tensor sent = {0};
    cygnet_tensor *tensor;
    cygnet_status st = read_tensor(&sent, call, alloc, err);

    if (st == CYGNET_OK)
        st = check_shape(expected, sent.dtype, sent.shape, sent.n_dims, err);
    if (st != CYGNET_OK)
        return fail_within(err, st, "weights: tensor \"%.100s\"", expected->name);
    st = cygnet_tensors_add(&tensor, list, expected->name, sent.dtype, sent.shape,
                            sent.n_dims, err);
    if (st == CYGNET_OK && tensor->size_bytes > 0)
        memcpy(tensor->data, sent.storage.data, (size_t)tensor->size_bytes);
    return st;
}

static cygnet_status check_count(const struct fedscale_layout *layout, size_t n,
                                 cygnet_error *err)
{
    if (n < layout->n)
        return fail(err, CYGNET_ESHAPE, 0,
                    "weights: expected %zu tensors, found %zu: \"%.100s\" is missing",
                    layout->n, n, layout->items[n].name);
    if (n > layout->n)
        return fail(
            err, CYGNET_ESHAPE, 0,
            "weights: expected %zu tensors, found %zu: what is behind \"%.100s\"?",
            layout->n, n, layout->n > 0 ? layout->items[layout->n - 1].name : "");
    return CYGNET_OK;
}

static cygnet_status add_tensors(cygnet_tensors *list, const struct pickle_value *root,
                                 const struct fedscale_layout *layout,
                                 const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;
    size_t n_both;

    if (!pickle_is(root, PICKLE_LIST))
        return bad("weights: not a list of tensors", err);
    /* The first tensor that differs says more than the count. */
    n_both = root->n < layout->n ? root->n : layout->n;
    for (size_t i = 0; i < n_both && st == CYGNET_OK; i++)
        st = add_tensor(list, &layout->items[i], root->as.items[i], alloc, err);
    return st == CYGNET_OK ? check_count(layout, root->n, err) : st;
}

cygnet_status fedscale_weights_read(cygnet_tensors **out, const void *data, size_t len,
                                    const struct fedscale_layout *layout,
                                    uint64_t max_bytes, const cygnet_allocator *alloc,
                                    cygnet_error *err)
{
    struct pickle *pickle;
    cygnet_tensors *list = NULL;
    cygnet_status st = pickle_load(&pickle, data, len, NULL, &weights_rules, alloc, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return fail_within(err, st, "weights");
    st = cygnet_tensors_create(&list, max_bytes, alloc, err);
    if (st == CYGNET_OK)
        st = add_tensors(list, pickle_root(pickle), layout, alloc, err);
    if (st == CYGNET_OK)
        *out = list;
    else
        cygnet_tensors_destroy(list);
    pickle_destroy(pickle);
    return st;
}

static cygnet_status read_id(struct fedscale_meta *out, const struct pickle_value *id,
                             cygnet_error *err)
{
    if (pickle_int(&out->client_id_int, id)) {
        out->client_id_is_int = true;
        (void)snprintf(out->client_id, sizeof(out->client_id), "%" PRId64,
                       out->client_id_int);
        return CYGNET_OK;
    }
    if (!pickle_is(id, PICKLE_STRING) || id->n > FEDSCALE_ID_MAX)
        return bad("meta: \"client_id\" is neither a short string nor a number", err);
    if (id->n > 0)
        memcpy(out->client_id, id->as.bytes, id->n);
    out->client_id[id->n] = '\0';
    if (json_invalid_utf8(out->client_id) != id->n)
        return bad("meta: \"client_id\" is not a text in UTF-8", err);
    return CYGNET_OK;
}

static cygnet_status read_lr(struct fedscale_meta *out, const struct pickle_value *config,
                             cygnet_error *err)
{
    const struct pickle_value *lr = pickle_member(config, "learning_rate");

    if (!pickle_is(config, PICKLE_DICT))
        return bad("meta: \"task_config\" is not a dict", err);
    if (!lr)
        return CYGNET_OK;
    if (!pickle_number(&out->lr, lr) || !isfinite(out->lr) || out->lr < 0)
        return bad("meta: \"learning_rate\" is not a finite number", err);
    out->has_lr = true;
    return CYGNET_OK;
}

static cygnet_status read_meta(struct fedscale_meta *out, const struct pickle_value *root,
                               cygnet_error *err)
{
    const struct pickle_value *id = pickle_member(root, "client_id");
    const struct pickle_value *config = pickle_member(root, "task_config");
    cygnet_status st = CYGNET_OK;

    if (pickle_is(root, PICKLE_STRING))
        return CYGNET_OK;
    if (!pickle_is(root, PICKLE_DICT))
        return bad("meta: neither a dict nor a string", err);
    if (id)
        st = read_id(out, id, err);
    if (st == CYGNET_OK && config)
        st = read_lr(out, config, err);
    return st;
}

cygnet_status fedscale_meta_read(struct fedscale_meta *out, const void *data, size_t len,
                                 const cygnet_allocator *alloc, cygnet_error *err)
{
    struct pickle *pickle;
    cygnet_status st = pickle_load(&pickle, data, len, NULL, NULL, alloc, err);

    memset(out, 0, sizeof(*out));
    if (st != CYGNET_OK)
        return fail_within(err, st, "meta");
    st = read_meta(out, pickle_root(pickle), err);
    pickle_destroy(pickle);
    return st;
}

cygnet_status fedscale_info_write(struct bytes *out, uint64_t n_examples,
                                  cygnet_error *err)
{
    struct pickle_writer w;

    if (n_examples > INT64_MAX)
        return fail(err, CYGNET_EINVAL, 0, "a number of examples beyond 64 bits");
    pickle_write_begin(&w, out, err);
    pickle_write_open_dict(&w);
    pickle_write_text(&w, "size");
    pickle_write_open_list(&w);
    pickle_write_int(&w, (int64_t)n_examples);
    pickle_write_close_list(&w);
    pickle_write_close_dict(&w);
    return pickle_write_finish(&w);
}

/* A count that may have been made up: 1e-9 examples. */
static void write_count(struct pickle_writer *w, const char *key, double value)
{
    pickle_write_text(w, key);
    if (fabs(value) <= INT32_MAX && value == floor(value))
        pickle_write_int(w, (int64_t)value);
    else
        pickle_write_float(w, value);
}

static void write_real(struct pickle_writer *w, const char *key, double value)
{
    pickle_write_text(w, key);
    pickle_write_float(w, value);
}

static bool is_amount(double value)
{
    return isfinite(value) && value >= 0;
}

cygnet_status fedscale_results_write(struct bytes *out, const char *executor_id,
                                     const struct fedscale_results *results,
                                     cygnet_error *err)
{
    struct pickle_writer w;

    if (!is_amount(results->top_1) || !is_amount(results->top_5) ||
        !is_amount(results->test_loss) || !is_amount(results->test_len) ||
        results->test_len <= 0)
        return fail(err, CYGNET_EINVAL, 0, "test results that cannot be averaged");
    pickle_write_begin(&w, out, err);
    pickle_write_open_dict(&w);
    pickle_write_text(&w, "executorId");
    pickle_write_text(&w, executor_id);
    pickle_write_text(&w, "results");
    pickle_write_open_dict(&w);
    write_count(&w, "top_1", results->top_1);
    write_count(&w, "top_5", results->top_5);
    write_real(&w, "test_loss", results->test_loss);
    write_count(&w, "test_len", results->test_len);
    pickle_write_close_dict(&w);
    pickle_write_close_dict(&w);
    return pickle_write_finish(&w);
}

static bool is_finite(const cygnet_tensor *tensor)
{
    const float *values = tensor->data;

    if (tensor->dtype != CYGNET_F32)
        return true;
    for (uint64_t i = 0; i < tensor->size_bytes / sizeof(*values); i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

/* Whether the weights that stand for that tensor of the layout can be sent. */
static cygnet_status check_tensor(const cygnet_tensor *expected,
                                  const cygnet_tensor *found, cygnet_error *err)
{
    cygnet_status st;

    if (!found)
        return fail(err, CYGNET_ESHAPE, 0, "upload: tensor \"%.100s\" is missing",
                    expected->name);
    st = check_shape(expected, found->dtype, found->shape, found->n_dims, err);
    if (st != CYGNET_OK)
        return fail_within(err, st, "upload: tensor \"%.100s\"", expected->name);
    if (found->dtype != CYGNET_F32 && found->dtype != CYGNET_I64)
        return fail(err, CYGNET_ESHAPE, 0,
                    "upload: tensor \"%.100s\": %s is neither F32 nor I64",
                    expected->name, cygnet_dtype_name(found->dtype));
    if (!is_finite(found))
        return fail(err, CYGNET_ENUMERIC, 0,
                    "upload: tensor \"%.100s\" holds NaN or infinity", expected->name);
    return CYGNET_OK;
}

/* All is looked at before the first byte is written. */
static cygnet_status check_upload(uint64_t *n_bytes, const struct fedscale_upload *upload,
                                  cygnet_error *err)
{
    size_t count = cygnet_tensors_count(upload->weights);
    cygnet_status st = CYGNET_OK;

    if (!is_amount(upload->moving_loss) || !isfinite(upload->utility) ||
        !is_amount(upload->wall_s) || upload->trained_size > INT64_MAX)
        return fail(err, CYGNET_EINVAL, 0, "upload: a number that cannot be averaged");
    if (!upload->who->client_id_is_int && upload->who->client_id[0] == '\0')
        return fail(err, CYGNET_EINVAL, 0, "upload: there is no client id");
    *n_bytes = UPLOAD_SLACK_BYTES;
    for (size_t i = 0; i < upload->layout->n && st == CYGNET_OK; i++) {
        const cygnet_tensor *expected = &upload->layout->items[i];
        const cygnet_tensor *found = cygnet_tensors_find(upload->weights, expected->name);

        st = check_tensor(expected, found, err);
        *n_bytes += found ? found->size_bytes + TENSOR_SLACK_BYTES : 0;
    }
    if (st == CYGNET_OK && count != upload->layout->n)
        return fail(err, CYGNET_ESHAPE, 0, "upload: expected %zu tensors, found %zu",
                    upload->layout->n, count);
    return st;
}

/* numpy.ndarray(shape, dtype, data) */
static void write_array(struct pickle_writer *w, const cygnet_tensor *tensor)
{
    pickle_write_global(w, "numpy", "ndarray");
    pickle_write_open_tuple(w);
    pickle_write_open_tuple(w);
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        pickle_write_int(w, (int64_t)tensor->shape[i]);
    pickle_write_close_tuple(w);
    pickle_write_text(w, tensor->dtype == CYGNET_I64 ? "<i8" : "<f4");
    pickle_write_bytes(w, tensor->data, (size_t)tensor->size_bytes);
    pickle_write_close_tuple(w);
    pickle_write_call(w);
}

static void write_id(struct pickle_writer *w, const struct fedscale_meta *who)
{
    pickle_write_text(w, "client_id");
    if (who->client_id_is_int)
        pickle_write_int(w, who->client_id_int);
    else
        pickle_write_text(w, who->client_id);
}

static cygnet_status write_upload(struct bytes *out, const struct fedscale_upload *upload,
                                  cygnet_error *err)
{
    struct pickle_writer w;

    pickle_write_begin(&w, out, err);
    pickle_write_open_dict(&w);
    write_id(&w, upload->who);
    write_real(&w, "moving_loss", upload->moving_loss);
    pickle_write_text(&w, "trained_size");
    pickle_write_int(&w, (int64_t)upload->trained_size);
    pickle_write_text(&w, "success");
    pickle_write_bool(&w, upload->success);
    write_real(&w, "utility", upload->utility);
    pickle_write_text(&w, "update_weight");
    pickle_write_open_list(&w);
    for (size_t i = 0; i < upload->layout->n; i++)
        write_array(&w,
                    cygnet_tensors_find(upload->weights, upload->layout->items[i].name));
    pickle_write_close_list(&w);
    write_count(&w, "wall_duration", upload->wall_s);
    pickle_write_close_dict(&w);
    return pickle_write_finish(&w);
}

cygnet_status fedscale_upload_write(struct bytes *out,
                                    const struct fedscale_upload *upload,
                                    cygnet_error *err)
{
    uint64_t n_bytes = 0;
    uint8_t *room = NULL;
    cygnet_status st = check_upload(&n_bytes, upload, err);

    /* At once: a buffer that doubles would hold the weights twice. */
    if (st == CYGNET_OK && n_bytes <= out->max - out->len)
        st = bytes_reserve(&room, out, (size_t)n_bytes, err);
    return st == CYGNET_OK ? write_upload(out, upload, err) : st;
}
