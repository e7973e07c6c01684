/* The model zoo. Names, order and shapes are those of a PyTorch state_dict. */
#include "engine/nn/zoo.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 4 };

/* One argument an architecture takes. */
struct argument {
    const char *key;
    size_t fallback;
    size_t min;
    size_t max;
};

/* build  adds everything up to the logits and returns them
 * value  of each argument, in the table's order */
struct architecture {
    const char *name;
    struct shape input;
    struct argument arguments[MAX_ARGUMENTS];
    int (*build)(struct graph *graph, int in, size_t n_classes, const size_t *value);
};

static int build_logistic(struct graph *graph, int in, size_t n_classes,
                          const size_t *value)
{
    (void)value;
    return graph_linear(graph, "linear", graph_flatten(graph, "flatten", in), n_classes);
}

static int build_mlp(struct graph *graph, int in, size_t n_classes, const size_t *value)
{
    size_t hidden = value[0], layers = value[1];
    int t = graph_flatten(graph, "flatten", in);
    char name[32];

    for (size_t i = 1; i <= layers; i++) {
        (void)snprintf(name, sizeof(name), "fc%zu", i);
        t = graph_linear(graph, name, t, hidden);
        (void)snprintf(name, sizeof(name), "relu%zu", i);
        t = graph_relu(graph, name, t);
    }
    (void)snprintf(name, sizeof(name), "fc%zu", layers + 1);
    return graph_linear(graph, name, t, n_classes);
}

/* A 5x5 convolution, relu and 2x2 max pool: "conv<n>", "relu<n>", "pool<n>". */
static int conv_relu_pool(struct graph *graph, int in, unsigned number, size_t channels,
                          size_t padding)
{
    const struct conv2d_shape conv = {.c_out = channels,
                                      .k_h = 5,
                                      .k_w = 5,
                                      .stride_h = 1,
                                      .stride_w = 1,
                                      .pad_h = padding,
                                      .pad_w = padding,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = 1};
    const struct pool2d_shape pool = {.k_h = 2, .k_w = 2, .stride_h = 2, .stride_w = 2};
    char name[16];
    int t;

    (void)snprintf(name, sizeof(name), "conv%u", number);
    t = graph_conv2d(graph, name, in, &conv);
    (void)snprintf(name, sizeof(name), "relu%u", number);
    t = graph_relu(graph, name, t);
    (void)snprintf(name, sizeof(name), "pool%u", number);
    return graph_max_pool2d(graph, name, t, &pool);
}

/* Source: LeCun et al., "Gradient-based learning applied to document
 * recognition", 1998, with relu and max pool. The paper's input is 32x32; smaller
 * ones (MNIST's 28x28) are padded by 2 in the first layer. */
static int build_lenet5(struct graph *graph, int in, size_t n_classes,
                        const size_t *value)
{
    const struct shape *x = &graph->tensors[in].shape;
    bool is_small = x->n_dims == 3 && (x->dim[1] < 32 || x->dim[2] < 32);
    int t;

    (void)value;
    t = conv_relu_pool(graph, in, 1, 6, is_small ? 2 : 0);
    t = conv_relu_pool(graph, t, 2, 16, 0);
    t = graph_flatten(graph, "flatten", t);
    t = graph_relu(graph, "relu3", graph_linear(graph, "fc1", t, 120));
    t = graph_relu(graph, "relu4", graph_linear(graph, "fc2", t, 84));
    return graph_linear(graph, "fc3", t, n_classes);
}

/* Source: McMahan et al., "Communication-efficient learning of deep networks from
 * decentralized data", AISTATS 2017, section 3: the MNIST CNN. */
static int build_mcmahan_cnn(struct graph *graph, int in, size_t n_classes,
                             const size_t *value)
{
    int t = conv_relu_pool(graph, in, 1, 32, 2);

    (void)value;
    t = conv_relu_pool(graph, t, 2, 64, 2);
    t = graph_flatten(graph, "flatten", t);
    t = graph_relu(graph, "relu3", graph_linear(graph, "fc1", t, 512));
    return graph_linear(graph, "fc2", t, n_classes);
}

static const struct architecture zoo[] = {
    {"logistic", {3, {1, 28, 28}}, {{0}}, build_logistic},
    {"mlp",
     {3, {1, 28, 28}},
     {{"hidden", 200, 1, 65536}, {"layers", 1, 1, 16}},
     build_mlp},
    {"lenet5", {3, {1, 28, 28}}, {{0}}, build_lenet5},
    {"mcmahan_cnn", {3, {1, 28, 28}}, {{0}}, build_mcmahan_cnn},
};

enum { ZOO_SIZE = sizeof(zoo) / sizeof(zoo[0]) };

const char *zoo_name(uint32_t index)
{
    return index < ZOO_SIZE ? zoo[index].name : NULL;
}

static cygnet_status fail_unknown(const char *name, cygnet_error *err)
{
    char known[128] = "";

    for (size_t i = 0; i < ZOO_SIZE; i++) {
        size_t used = strlen(known);

        (void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "",
                       zoo[i].name);
    }
    return fail(err, CYGNET_ENOTFOUND, 0, "no architecture \"%.40s\"; known are %s", name,
                known);
}

static const struct architecture *find_architecture(const char *name)
{
    for (size_t i = 0; i < ZOO_SIZE; i++) {
        if (strcmp(zoo[i].name, name) == 0)
            return &zoo[i];
    }
    return NULL;
}

static cygnet_status parse_value(size_t *out, const struct argument *argument,
                                 const char *text, cygnet_error *err)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' ||
        value < argument->min || value > argument->max)
        return fail(err, CYGNET_EINVAL, 0,
                    "architecture argument %s=%.40s: want a number from %zu to %zu",
                    argument->key, text, argument->min, argument->max);
    *out = value;
    return CYGNET_OK;
}

/* One "key=value"; `pair` is cut at the '='. */
static cygnet_status parse_argument(size_t *value, const struct architecture *a,
                                    char *pair, cygnet_error *err)
{
    char *equals = strchr(pair, '=');

    if (!equals)
        return fail(err, CYGNET_EINVAL, 0,
                    "architecture argument \"%.40s\" is not key=value", pair);
    *equals = '\0';
    for (size_t i = 0; i < MAX_ARGUMENTS && a->arguments[i].key; i++) {
        if (strcmp(a->arguments[i].key, pair) == 0)
            return parse_value(&value[i], &a->arguments[i], equals + 1, err);
    }
    return fail(err, CYGNET_EINVAL, 0, "architecture %s has no argument \"%.40s\"",
                a->name, pair);
}

/* Splits the spec in place and finds the architecture and its arguments. */
static cygnet_status parse_spec(const struct architecture **out, size_t *value,
                                char *spec, cygnet_error *err)
{
    char *rest = strchr(spec, ':');
    char *state = NULL;
    cygnet_status st = CYGNET_OK;

    if (rest)
        *rest++ = '\0';
    *out = find_architecture(spec);
    if (!*out)
        return fail_unknown(spec, err);
    for (size_t i = 0; i < MAX_ARGUMENTS; i++)
        value[i] = (*out)->arguments[i].fallback;
    for (char *pair = rest ? strtok_r(rest, ",", &state) : NULL; pair && st == CYGNET_OK;
         pair = strtok_r(NULL, ",", &state))
        st = parse_argument(value, *out, pair, err);
    return st;
}

cygnet_status zoo_build(struct graph *graph, const char *spec, const struct shape *input,
                        uint32_t n_classes, cygnet_error *err)
{
    char text[ZOO_MAX_SPEC + 1];
    size_t value[MAX_ARGUMENTS];
    const struct architecture *a;
    cygnet_status st;
    int in;

    if (strlen(spec) > ZOO_MAX_SPEC)
        return fail(err, CYGNET_EINVAL, 0, "the architecture is longer than %d bytes",
                    ZOO_MAX_SPEC);
    if (n_classes < 1 || n_classes > ZOO_MAX_CLASSES)
        return fail(err, CYGNET_EINVAL, 0, "n_classes is %u: want 1 to %d", n_classes,
                    ZOO_MAX_CLASSES);
    memcpy(text, spec, strlen(spec) + 1);
    st = parse_spec(&a, value, text, err);
    if (st != CYGNET_OK)
        return st;
    in = graph_input(graph, input->n_dims > 0 ? input : &a->input);
    if (in != NO_TENSOR)
        (void)graph_cross_entropy(graph, a->build(graph, in, n_classes, value));
    st = graph_finish(graph, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "%s", a->name);
}
