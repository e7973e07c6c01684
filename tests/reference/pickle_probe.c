/* For test_pickle.py.
 *
 *   pickle_probe load       each pickle of the standard input, which stands behind its
 *                           length and a line feed, as a line of JSON
 *   pickle_probe weights F  the same as weights of the layout of a safetensors file F,
 *                           written to F
 *   pickle_probe send F     an upload of the weights in F, a registration and results,
 *                           to the standard output, each behind its length and a line
 *                           feed */
#include "base/error.h"
#include "transport/fedscale_pickle.h"
#include "transport/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 26)
#define MAX_TENSORS 64

static const char *const kinds[] = {
    [PICKLE_BYTES] = "bytes",  [PICKLE_LIST] = "list", [PICKLE_TUPLE] = "tuple",
    [PICKLE_DICT] = "dict",    [PICKLE_CALL] = "call", [PICKLE_PERSISTENT] = "persistent",
    [PICKLE_GLOBAL] = "global"};

static void print_hex(const char *kind, const struct pickle_value *v)
{
    (void)printf("[\"%s\",\"", kind);
    for (size_t i = 0; i < v->n; i++)
        (void)printf("%02x", v->as.bytes[i]);
    (void)printf("\"]");
}

static void print(const struct pickle_value *v);

static void print_items(const struct pickle_value *v)
{
    (void)printf("[\"%s\"", kinds[v->kind]);
    if (v->kind == PICKLE_CALL || v->kind == PICKLE_GLOBAL)
        (void)printf(",%d", v->global);
    for (size_t i = 0; v->kind != PICKLE_GLOBAL && i < v->n; i++) {
        (void)printf(",");
        print(v->as.items[i]);
    }
    (void)printf("]");
}

static void print(const struct pickle_value *v)
{
    switch (v->kind) {
    case PICKLE_NONE:
        (void)printf("null");
        break;
    case PICKLE_BOOL:
        (void)printf(v->as.truth ? "true" : "false");
        break;
    case PICKLE_INT:
        (void)printf("[\"int\",\"%" PRId64 "\"]", v->as.integer);
        break;
    case PICKLE_FLOAT:
        (void)printf("[\"float\",\"%a\"]", v->as.real);
        break;
    case PICKLE_STRING:
        print_hex("text", v);
        break;
    case PICKLE_BYTES:
        print_hex("bytes", v);
        break;
    default:
        print_items(v);
    }
}

static int complain(const cygnet_error *err)
{
    (void)printf("{\"error\":\"%s\"}\n", cygnet_status_name(err->status));
    (void)fprintf(stderr, "%s\n", err->message);
    return 0;
}

static int load(const uint8_t *data, size_t len)
{
    static const struct pickle_global globals[] = {
        {"torch._utils", "_rebuild_tensor_v2"},
        {"torch.storage", "_load_from_bytes"},
        {"collections", "OrderedDict"},
    };
    static const struct pickle_rules rules = {globals, 3, false};
    struct pickle *pickle;
    cygnet_error err;

    if (pickle_load(&pickle, data, len, NULL, &rules, NULL, &err) != CYGNET_OK)
        return complain(&err);
    print(pickle_root(pickle));
    (void)printf("\n");
    pickle_destroy(pickle);
    return 0;
}

static int load_all(uint8_t *room)
{
    char line[32];

    while (fgets(line, sizeof(line), stdin)) {
        size_t len = strtoul(line, NULL, 10);

        if (len > MAX_BYTES || fread(room, 1, len, stdin) != len)
            return 2;
        (void)load(room, len);
    }
    return 0;
}

/* The layout of a list, which lives as long as the list does. */
static struct fedscale_layout layout_of(const cygnet_tensors *list)
{
    static cygnet_tensor items[MAX_TENSORS];
    size_t n = cygnet_tensors_count(list);

    if (n > MAX_TENSORS)
        exit(2);
    for (size_t i = 0; i < n; i++)
        items[i] = *cygnet_tensors_at(list, i);
    return (struct fedscale_layout){items, n};
}

static int weights(const uint8_t *data, size_t len, cygnet_tensors *model,
                   const char *path)
{
    struct fedscale_layout layout = layout_of(model);
    cygnet_tensors *list;
    cygnet_error err;
    cygnet_status st =
        fedscale_weights_read(&list, data, len, &layout, MAX_BYTES, NULL, &err);

    if (st == CYGNET_OK)
        st = cygnet_tensors_save(list, path, &err);
    cygnet_tensors_destroy(list);
    if (st != CYGNET_OK)
        return complain(&err);
    (void)printf("%s\n", fedscale_has_weights(data, len) ? "true" : "false");
    return 0;
}

static int print_bytes(struct bytes *out, cygnet_status st, const cygnet_error *err)
{
    if (st != CYGNET_OK) {
        (void)fprintf(stderr, "%s\n", err->message);
        return 1;
    }
    (void)printf("%zu\n", out->len);
    (void)fwrite(out->data, 1, out->len, stdout);
    bytes_clear(out);
    return 0;
}

static int send(cygnet_tensors *model)
{
    static const struct fedscale_meta who = {.client_id = "gr\xc3\xbc\xc3\x9f"};
    static const struct fedscale_results results = {25, 126, 632.5, 1e-9};
    struct fedscale_layout layout = layout_of(model);
    struct fedscale_upload upload = {.who = &who,
                                     .weights = model,
                                     .layout = &layout,
                                     .moving_loss = 0.1,
                                     .utility = 12,
                                     .trained_size = (uint64_t)1 << 40,
                                     .wall_s = 1.5};
    struct bytes out;
    cygnet_error err;
    int bad;

    bytes_init(&out, MAX_BYTES, NULL);
    bad = print_bytes(&out, fedscale_upload_write(&out, &upload, &err), &err);
    bad |= print_bytes(&out, fedscale_info_write(&out, 3000000000, &err), &err);
    bad |= print_bytes(&out, fedscale_results_write(&out, "7", &results, &err), &err);
    return bad;
}

static int with_model(const char *verb, const char *path, const uint8_t *data, size_t len)
{
    cygnet_tensors *model;
    cygnet_error err;
    int result;

    if (cygnet_tensors_load(&model, path, MAX_BYTES, NULL, &err) != CYGNET_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    result = strcmp(verb, "send") == 0 ? send(model) : weights(data, len, model, path);
    cygnet_tensors_destroy(model);
    return result;
}

int main(int argc, char **argv)
{
    uint8_t *data;
    size_t len;
    int result = 2;

    if (argc < 2)
        return 2;
    data = malloc(MAX_BYTES);
    if (!data)
        return 1;
    len = strcmp(argv[1], "weights") == 0 ? fread(data, 1, MAX_BYTES, stdin) : 0;
    if (argc == 2)
        result = load_all(data);
    else if (argc == 3)
        result = with_model(argv[1], argv[2], data, len);
    free(data);
    return result;
}
