/* The model zoo: the table of its architectures, and how a spec is read. Names,
 * order and shapes are those of a PyTorch state_dict. */
#include "engine/nn/zoo.h"

#include "base/error.h"
#include "engine/nn/op.h"
#include "engine/nn/zoo_parts.h"

#include <stdio.h>
#include <string.h>

/* ---- The table ----------------------------------------------------------- */

static const char *const act_words[] = {"own", "silu", NULL};
static const enum activation acts[] = {ACT_NONE, ACT_SILU};

/* clang-format off */
#define IMAGE(channels, height, width) {3, {channels, height, width}}
#define ACT {"act", ARGUMENT_WORD, 0, 0, 0, act_words}
#define INTEGER(key, fallback, min, max) {key, ARGUMENT_INTEGER, fallback, min, max, NULL}
#define DECIMAL(key, fallback, min, max) {key, ARGUMENT_DECIMAL, fallback, min, max, NULL}
#define WIDTH_MULT DECIMAL("width_mult", 1, 0.1, 4)
#define DROPOUT(rate) DECIMAL("dropout", rate, 0, 0.95)
#define SEQUENCE(embedding, hidden, layers)                                            \
    {INTEGER("symbols", 80, 1, 65536), INTEGER("embedding", embedding, 1, 4096),       \
     INTEGER("hidden", hidden, 1, 4096), INTEGER("layers", layers, 1, 16)}

static const struct architecture zoo[] = {
    {"logistic", IMAGE(1, 28, 28), {{0}}, zoo_logistic},
    {"mlp", IMAGE(1, 28, 28),
     {ACT, INTEGER("hidden", 200, 1, 65536), INTEGER("layers", 1, 1, 16)}, zoo_mlp},
    {"lenet5", IMAGE(1, 28, 28), {ACT}, zoo_lenet5},
    {"mcmahan_cnn", IMAGE(1, 28, 28), {ACT}, zoo_mcmahan_cnn},
    {"mcmahan_cifar_cnn", IMAGE(3, 24, 24), {ACT}, zoo_mcmahan_cifar_cnn},
    {"resnet18", IMAGE(3, 224, 224), {ACT}, zoo_resnet18},
    {"resnet34", IMAGE(3, 224, 224), {ACT}, zoo_resnet34},
    {"resnet50", IMAGE(3, 224, 224), {ACT}, zoo_resnet50},
    {"mobilenet_v2", IMAGE(3, 224, 224), {ACT, WIDTH_MULT, DROPOUT(0.2)},
     zoo_mobilenet_v2},
    {"ds_cnn", IMAGE(1, 49, 10),
     {ACT, INTEGER("channels", 64, 1, 4096), INTEGER("layers", 4, 1, 32)}, zoo_ds_cnn},
    {"mobilenet_v3_small", IMAGE(3, 224, 224), {ACT, WIDTH_MULT, DROPOUT(0.2)},
     zoo_mobilenet_v3_small},
    {"shufflenet_v2_x0_5", IMAGE(3, 224, 224), {ACT}, zoo_shufflenet_v2_x0_5},
    {"shufflenet_v2_x1_0", IMAGE(3, 224, 224), {ACT}, zoo_shufflenet_v2_x1_0},
    {"shufflenet_v2_x1_5", IMAGE(3, 224, 224), {ACT}, zoo_shufflenet_v2_x1_5},
    {"shufflenet_v2_x2_0", IMAGE(3, 224, 224), {ACT}, zoo_shufflenet_v2_x2_0},
    {"squeezenet1_1", IMAGE(3, 224, 224), {ACT, DROPOUT(0.5)}, zoo_squeezenet1_1},
    {"char_lstm", {1, {80}}, SEQUENCE(8, 256, 2), zoo_char_lstm},
    {"gru", {1, {80}}, SEQUENCE(32, 128, 1), zoo_gru},
};
/* clang-format on */

enum { ZOO_SIZE = sizeof(zoo) / sizeof(zoo[0]) };

const char *zoo_name(uint32_t index)
{
    return index < ZOO_SIZE ? zoo[index].name : NULL;
}

/* ---- Reading a spec ------------------------------------------------------ */

/* A message is short: the names that fit. */
static cygnet_status fail_unknown(const char *name, cygnet_error *err)
{
    char known[160] = "";

    for (size_t i = 0; i < ZOO_SIZE; i++) {
        size_t used = strlen(known);
        bool fits = used + strlen(zoo[i].name) + sizeof(", , ...") <= sizeof(known);

        (void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "",
                       fits ? zoo[i].name : "...");
        if (!fits)
            break;
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

/* Digits with at most one point among them. Not strtod: its point is the locale's.
 * 15 digits and their power of ten are exact, so that the quotient is rounded once. */
static bool read_number(double *out, const char *text, bool has_point)
{
    uint64_t digits = 0;
    double unit = 1;
    int n_digits = 0;
    bool after_point = false;
    char last = '.';

    for (; *text != '\0'; last = *text++) {
        bool is_digit = *text >= '0' && *text <= '9';

        if (*text == '.' && has_point && !after_point && n_digits > 0)
            after_point = true;
        else if (!is_digit || ++n_digits > 15)
            return false;
        if (is_digit)
            digits = digits * 10 + (uint64_t)(*text - '0');
        if (is_digit && after_point)
            unit *= 10;
    }
    *out = (double)digits / unit;
    return last != '.';
}

static cygnet_status parse_number(double *out, const struct argument *argument,
                                  const char *text, cygnet_error *err)
{
    bool is_decimal = argument->kind == ARGUMENT_DECIMAL;

    if (!read_number(out, text, is_decimal) || *out < argument->min ||
        *out > argument->max)
        return fail(err, CYGNET_EINVAL, 0,
                    "architecture argument %s=%.40s: want %s number from %g to %g",
                    argument->key, text, is_decimal ? "a decimal" : "a whole",
                    argument->min, argument->max);
    return CYGNET_OK;
}

static cygnet_status parse_word(double *out, const struct argument *argument,
                                const char *text, cygnet_error *err)
{
    char words[64] = "";

    for (size_t i = 0; argument->words[i]; i++) {
        size_t used = strlen(words);

        *out = (double)i;
        if (strcmp(argument->words[i], text) == 0)
            return CYGNET_OK;
        (void)snprintf(words + used, sizeof(words) - used, "%s%s", i > 0 ? ", " : "",
                       argument->words[i]);
    }
    return fail(err, CYGNET_EINVAL, 0, "architecture argument %s=%.40s: want one of %s",
                argument->key, text, words);
}

/* One "key=value"; `pair` is cut at the '='. `seen` has a bit for each argument. */
static cygnet_status parse_argument(struct blueprint *b, unsigned *seen, char *pair,
                                    cygnet_error *err)
{
    const struct argument *arguments = b->architecture->arguments;
    char *equals = strchr(pair, '=');
    size_t i = 0;

    if (!equals)
        return fail(err, CYGNET_EINVAL, 0,
                    "architecture argument \"%.40s\" is not key=value", pair);
    *equals = '\0';
    while (i < ZOO_MAX_ARGUMENTS && arguments[i].key &&
           strcmp(arguments[i].key, pair) != 0)
        i++;
    if (i == ZOO_MAX_ARGUMENTS || !arguments[i].key)
        return fail(err, CYGNET_EINVAL, 0, "architecture %s has no argument \"%.40s\"",
                    b->architecture->name, pair);
    if (*seen & 1U << i)
        return fail(err, CYGNET_EINVAL, 0, "architecture argument %s is given twice",
                    pair);
    *seen |= 1U << i;
    return arguments[i].kind == ARGUMENT_WORD
               ? parse_word(&b->value[i], &arguments[i], equals + 1, err)
               : parse_number(&b->value[i], &arguments[i], equals + 1, err);
}

/* Splits the spec in place and finds the architecture and its arguments. */
static cygnet_status parse_spec(struct blueprint *b, char *spec, cygnet_error *err)
{
    char *rest = strchr(spec, ':');
    char *state = NULL;
    cygnet_status st = CYGNET_OK;
    unsigned seen = 0;

    if (rest)
        *rest++ = '\0';
    b->architecture = find_architecture(spec);
    if (!b->architecture)
        return fail_unknown(spec, err);
    for (size_t i = 0; i < ZOO_MAX_ARGUMENTS; i++)
        b->value[i] = b->architecture->arguments[i].fallback;
    for (char *pair = rest ? strtok_r(rest, ",", &state) : NULL; pair && st == CYGNET_OK;
         pair = strtok_r(NULL, ",", &state))
        st = parse_argument(b, &seen, pair, err);
    if (st == CYGNET_OK && b->architecture->arguments[0].words == act_words)
        b->act = acts[zoo_size(b, "act")];
    return st;
}

/* ---- Building ------------------------------------------------------------ */

cygnet_status zoo_build(struct graph *graph, const char *spec, const struct shape *input,
                        uint32_t n_classes, cygnet_error *err)
{
    struct blueprint b = {.graph = graph, .n_classes = n_classes};
    char text[ZOO_MAX_SPEC + 1];
    cygnet_status st;
    int in;

    if (strlen(spec) > ZOO_MAX_SPEC)
        return fail(err, CYGNET_EINVAL, 0, "the architecture is longer than %d bytes",
                    ZOO_MAX_SPEC);
    if (n_classes < 1 || n_classes > ZOO_MAX_CLASSES)
        return fail(err, CYGNET_EINVAL, 0, "n_classes is %u: want 1 to %d", n_classes,
                    ZOO_MAX_CLASSES);
    memcpy(text, spec, strlen(spec) + 1);
    st = parse_spec(&b, text, err);
    if (st != CYGNET_OK)
        return st;
    in = graph_input(graph, input->n_dims > 0 ? input : &b.architecture->input);
    if (in != NO_TENSOR)
        (void)graph_cross_entropy(graph, b.architecture->build(&b, in));
    st = graph_finish(graph, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "%s", b.architecture->name);
}
