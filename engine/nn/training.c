/* Options of the training, written into the graph before it is lowered. */
#include "engine/nn/training.h"

#include "base/error.h"
#include "engine/nn/optimizer.h"

#include <string.h>

enum { MAX_LR_MULTIPLIERS = 65536 };

/* Part of a list of names. */
struct prefix {
    const char *text;
    size_t len;
};

/* Whole components: "fc1" is "fc1.weight"'s prefix, but not "fc10.weight"'s. */
static bool has_prefix(const struct tensor *t, struct prefix prefix)
{
    return t->kind == TENSOR_PARAMETER &&
           strncmp(t->name, prefix.text, prefix.len) == 0 &&
           (t->name[prefix.len] == '.' || t->name[prefix.len] == '\0');
}

static bool is_known(const struct graph *graph, struct prefix prefix)
{
    for (size_t i = 0; prefix.len > 0 && i < graph->n_tensors; i++) {
        if (has_prefix(&graph->tensors[i], prefix))
            return true;
    }
    return false;
}

static cygnet_status check_prefix(const struct graph *graph, const char *option,
                                  struct prefix prefix, cygnet_error *err)
{
    if (is_known(graph, prefix))
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "%s: no parameter's name begins with \"%.*s\"",
                option, prefix.len < 100 ? (int)prefix.len : 100, prefix.text);
}

static cygnet_status freeze(struct graph *graph, struct prefix prefix, cygnet_error *err)
{
    cygnet_status st = check_prefix(graph, "frozen", prefix, err);

    for (size_t i = 0; st == CYGNET_OK && i < graph->n_tensors; i++) {
        if (has_prefix(&graph->tensors[i], prefix))
            graph->tensors[i].frozen = true;
    }
    return st;
}

static bool reads_trained(const struct graph *graph, const struct node *node)
{
    for (uint32_t k = 0; k < node->n_in; k++) {
        if (graph->tensors[node->in[k]].needs_grad)
            return true;
    }
    return false;
}

/* Which values depend on something trained, now that some of it is frozen. */
static void spread_frozen(struct graph *graph)
{
    for (size_t i = 0; i < graph->n_tensors; i++) {
        if (graph->tensors[i].frozen)
            graph->tensors[i].needs_grad = false;
    }
    for (size_t i = 0; i < graph->n_nodes; i++)
        graph->tensors[graph->nodes[i].out].needs_grad =
            reads_trained(graph, &graph->nodes[i]);
}

/* A node that runs backward at all writes the gradients of all its parameters. */
static void keep_company(struct graph *graph)
{
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const struct node *node = &graph->nodes[i];

        for (uint32_t k = 0; graph->tensors[node->out].needs_grad && k < node->n_in; k++)
            graph->tensors[node->in[k]].needs_grad |= graph->tensors[node->in[k]].frozen;
    }
}

static cygnet_status freeze_all(struct graph *graph, const char *list, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    if (!list || !*list)
        return CYGNET_OK;
    for (const char *at = list; st == CYGNET_OK && at; at = strchr(at, ',')) {
        at += *at == ',';
        st = freeze(graph, (struct prefix){at, strcspn(at, ",")}, err);
    }
    if (st != CYGNET_OK)
        return st;
    spread_frozen(graph);
    keep_company(graph);
    return CYGNET_OK;
}

static cygnet_status check_multiplier(const struct graph *graph,
                                      const cygnet_lr_multiplier *m, cygnet_error *err)
{
    const char *text = m->prefix ? m->prefix : "";

    if (!(m->factor >= 0 && m->factor <= FLT_MAX))
        return fail(err, CYGNET_EINVAL, 0,
                    "lr_multipliers: %.100s times %g: want 0 or more", text, m->factor);
    return check_prefix(graph, "lr_multipliers", (struct prefix){text, strlen(text)},
                        err);
}

/* The factor of the longest prefix that the tensor has. */
static double factor_of(const struct tensor *t, const cygnet_lr_multiplier *multipliers,
                        size_t n)
{
    double factor = 1;
    size_t longest = 0;

    for (size_t i = 0; i < n; i++) {
        struct prefix prefix = {multipliers[i].prefix, strlen(multipliers[i].prefix)};

        if (prefix.len <= longest || !has_prefix(t, prefix))
            continue;
        longest = prefix.len;
        factor = multipliers[i].factor;
    }
    return factor;
}

static cygnet_status set_multipliers(struct graph *graph,
                                     const cygnet_lr_multiplier *multipliers, size_t n,
                                     cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    if (n > MAX_LR_MULTIPLIERS || (n > 0 && !multipliers))
        return fail(err, CYGNET_EINVAL, 0, "lr_multipliers: %zu of them: want 0 to %d", n,
                    multipliers ? MAX_LR_MULTIPLIERS : 0);
    for (size_t i = 0; st == CYGNET_OK && i < n; i++)
        st = check_multiplier(graph, &multipliers[i], err);
    for (size_t i = 0; st == CYGNET_OK && i < graph->n_tensors; i++)
        graph->tensors[i].lr_scale = factor_of(&graph->tensors[i], multipliers, n);
    return st;
}

static cygnet_status set_smoothing(struct graph *graph, double smoothing,
                                   cygnet_error *err)
{
    if (!(smoothing >= 0 && smoothing <= 1))
        return fail(err, CYGNET_EINVAL, 0, "label_smoothing is %g: want 0 to 1",
                    smoothing);
    graph->nodes[graph->tensors[graph->loss].producer].params.loss.smoothing = smoothing;
    return CYGNET_OK;
}

static cygnet_status set_piece(struct graph *graph, const cygnet_model_options *o,
                               cygnet_error *err)
{
    size_t unit = graph_unit(graph);

    if (unit > 0 && o->micro_batch % unit != 0)
        return fail(err, CYGNET_EINVAL, 0,
                    "micro_batch is %u: want a multiple of %zu, or 0", o->micro_batch,
                    unit);
    if (o->micro_batch == 0 || o->micro_batch >= o->max_batch)
        return CYGNET_OK;
    graph->update.piece = o->micro_batch;
    graph->update.separate = true;
    return CYGNET_OK;
}

cygnet_status training_apply(struct graph *graph, const cygnet_model_options *o,
                             cygnet_error *err)
{
    cygnet_status st;

    if ((unsigned)o->optimizer > CYGNET_OPTIMIZER_ADAMW)
        return fail(err, CYGNET_EINVAL, 0, "optimizer %d is unknown", (int)o->optimizer);
    graph->update =
        (struct update_plan){optimizer_state(o->optimizer), o->proximal != 0,
                             o->clip_gradients != 0, o->separate_update != 0, 0};
    st = set_smoothing(graph, o->label_smoothing, err);
    if (st == CYGNET_OK)
        st = set_piece(graph, o, err);
    if (st == CYGNET_OK)
        st = freeze_all(graph, o->frozen, err);
    if (st == CYGNET_OK)
        st = set_multipliers(graph, o->lr_multipliers, o->n_lr_multipliers, err);
    return st;
}
