/* Steps and evaluations: checks the batch, binds it to the program, runs the
 * lists. Invariant: what was planned to be updated separately changes only in the
 * update list, which runs when nothing can go wrong any more. */
#include "engine/nn/model_parts.h"

#include "base/error.h"
#include "base/sized.h"
#include "engine/nn/op.h"
#include "engine/nn/optimizer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static size_t input_elements(const cygnet_model *model)
{
    return shape_elements(&model->graph.tensors[model->graph.input].shape);
}

static bool floats_finite(const float *x, size_t n)
{
    int bad = 0; /* no early exit, so that it vectorises */

    for (size_t i = 0; i < n; i++)
        bad |= !(x[i] >= -FLT_MAX && x[i] <= FLT_MAX);
    return !bad;
}

/* What an embedding of the input looks up; 0: there is none. */
static size_t n_symbols(const cygnet_model *model)
{
    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        const struct node *node = &model->graph.nodes[i];

        if (node->kind == OP_EMBEDDING && node->in[0] == model->graph.input)
            return node->params.embedding.n_symbols;
    }
    return 0;
}

static cygnet_status check_symbols(const cygnet_model *model, const float *x, uint64_t n,
                                   cygnet_error *err)
{
    size_t elements = input_elements(model), limit = n_symbols(model);

    for (uint64_t i = 0; limit > 0 && i < n * elements; i++) {
        if (!(x[i] >= 0 && x[i] < (float)limit) || x[i] != (float)(uint32_t)x[i])
            return fail(err, CYGNET_EDATA, 0,
                        "symbol %" PRIu64 " of example %" PRIu64
                        " is %g: want a whole number from 0 to %zu",
                        i % elements, i / elements, (double)x[i], limit - 1);
    }
    return CYGNET_OK;
}

static cygnet_status check_inputs(const cygnet_model *model, const float *x, uint64_t n,
                                  cygnet_error *err)
{
    size_t elements = input_elements(model);

    if (floats_finite(x, (size_t)n * elements))
        return check_symbols(model, x, n, err);
    for (uint64_t row = 0; row < n; row++) {
        if (!floats_finite(x + row * elements, elements))
            return fail(err, CYGNET_ENUMERIC, 0,
                        "example %" PRIu64 " of the batch holds NaN or infinity", row);
    }
    return CYGNET_OK;
}

static cygnet_status check_labels(const cygnet_model *model, const int64_t *y, uint64_t n,
                                  cygnet_error *err)
{
    for (uint64_t row = 0; row < n; row++) {
        if (y[row] < 0 || y[row] >= (int64_t)model->n_classes)
            return fail(err, CYGNET_EDATA, 0,
                        "label of example %" PRIu64 " is %" PRId64 ": want 0 to %u", row,
                        y[row], model->n_classes - 1);
    }
    return CYGNET_OK;
}

static cygnet_status check_count(const cygnet_model *model, uint32_t n, cygnet_error *err)
{
    if (n >= 1 && n <= model->max_batch)
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "a batch of %u examples: want 1 to %u", n,
                model->max_batch);
}

static cygnet_status check_batch(const cygnet_model *model, const float *x,
                                 const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st = model_check_whole(model, err);

    if (st == CYGNET_OK)
        st = check_count(model, n, err);
    if (st == CYGNET_OK)
        st = check_labels(model, y, n, err);
    if (st == CYGNET_OK)
        st = check_inputs(model, x, n, err);
    return st;
}

/* Batch statistics of a single value are refused, as PyTorch does. */
static cygnet_status check_min_batch(const cygnet_model *model, uint32_t n,
                                     cygnet_error *err)
{
    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        const struct node *node = &model->graph.nodes[i];
        const struct op *op = op_of(node);

        if (op->min_batch && n < op->min_batch(node))
            return fail(err, CYGNET_EINVAL, 0,
                        "a batch of %u examples: layer %s needs %zu to be trained", n,
                        node->name, op->min_batch(node));
    }
    return CYGNET_OK;
}

static cygnet_status check_training_batch(const cygnet_model *model, const float *x,
                                          const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st = check_batch(model, x, y, n, err);

    return st == CYGNET_OK ? check_min_batch(model, n, err) : st;
}

/* Points an external buffer at the caller's memory, which no call writes. */
static void bind(cygnet_model *model, int tensor, const void *data)
{
    struct program *p = &model->program;

    memcpy(&p->buffers[p->of[tensor].value].data, &data, sizeof(data));
}

static struct step begin(cygnet_model *model, enum step_mode mode, const float *x,
                         const int64_t *y, size_t n)
{
    struct step step = {.program = &model->program,
                        .kernels = &model->kernels,
                        .mode = mode,
                        .n = n,
                        .seed = model->seed,
                        .index = model->n_steps};
    const void *input = x;

    if (model->input) {
        for (size_t i = 0; i < n * input_elements(model); i++)
            model->input[i] = x[i];
        input = model->input;
    }
    bind(model, model->graph.input, input);
    bind(model, model->graph.labels, y);
    memset(model->program.buffers[model->program.flags].data, 0, model->graph.n_tensors);
    return step;
}

/* As the row is read: a norm stores what is finite still. */
static bool row_finite(const struct step *step, const struct operand *at, const real *row)
{
    struct reading reading = reading_of(step, at);
    struct rows one = {1, PANEL, PANEL};
    real y[PANEL];

    for (size_t c = 0; c < at->channels; c += PANEL) {
        struct reading part = reading;

        if (part.scale)
            part.scale += c, part.shift += c;
        step->kernels->read(y, PANEL, row + c, &part, &one);
        if (!step->kernels->all_finite(y, PANEL))
            return false;
    }
    return true;
}

static bool example_finite(const cygnet_model *model, const struct step *step,
                           const struct node *node, size_t example)
{
    const struct operand *at = &model->program.of[node->out].at;
    const real *out = model_value(model, (size_t)node->out);

    if (node->out == model->graph.loss)
        return model->kernels.all_finite(out + example, 1);
    for (size_t r = 0; r < at->rows; r++) {
        if (!row_finite(step, at, out + (example * at->rows + r) * at->channels))
            return false;
    }
    return true;
}

/* First example for which what the node gives is not finite; n: none. */
static size_t bad_example(const cygnet_model *model, const struct step *step,
                          const struct node *node)
{
    size_t example = 0;

    while (example < step->n && example_finite(model, step, node, example))
        example++;
    return example;
}

/* Runs the forward list again, call by call, to say where it went wrong. A node's
 * output is there after its last call. */
static cygnet_status fail_numeric(cygnet_model *model, const struct step *step,
                                  cygnet_error *err)
{
    const struct program *p = &model->program;

    for (size_t i = p->forward.begin; i < p->forward.end; i++) {
        const struct node *node = p->calls[i].node;
        struct call_list one = {i, i + 1};
        size_t row;

        (void)program_run(step, &one, model->executor, NULL, NULL);
        if (i + 1 < p->forward.end && p->calls[i + 1].node == node)
            continue;
        row = bad_example(model, step, node);
        if (row < step->n)
            return fail(err, CYGNET_ENUMERIC, 0,
                        "layer %s gives NaN or infinity for example %zu of the batch",
                        node->name, row);
    }
    return fail(err, CYGNET_ENUMERIC, 0, "the loss is NaN or infinity");
}

static size_t first_largest(const real *row, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++) {
        if (row[i] > row[best])
            best = i;
    }
    return best;
}

/* Sums up the forward pass: metrics->loss is the sum, not the mean. */
static void read_metrics(cygnet_model *model, cygnet_metrics *metrics, const int64_t *y,
                         size_t n)
{
    const real *loss = model_value(model, (size_t)model->graph.loss);
    const real *logits = model->program.buffers[model->program.logits].data;
    float *copy = model->program.buffers[model->program.losses].data;

    memset(metrics, 0, sizeof(*metrics));
    metrics->struct_size = sizeof(*metrics);
    metrics->n = n;
    for (size_t r = 0; r < n; r++) {
        const real *row = logits + r * padded(model->n_classes);

        copy[r] = (float)loss[r];
        metrics->loss += (double)loss[r];
        metrics->correct += (int64_t)first_largest(row, model->n_classes) == y[r];
    }
}

/* Forward pass and its sums. */
static cygnet_status run_forward(cygnet_model *model, const struct step *step,
                                 cygnet_metrics *sums, const int64_t *y,
                                 cygnet_error *err)
{
    cygnet_status st =
        program_run(step, &model->program.forward, model->executor, model->stop, err);

    if (st != CYGNET_OK)
        return st;
    read_metrics(model, sums, y, step->n);
    return isfinite(sums->loss) ? CYGNET_OK : fail_numeric(model, step, err);
}

static cygnet_status check_metrics(const cygnet_metrics *metrics, cygnet_error *err)
{
    static const struct sized type = {"metrics", sizeof(cygnet_metrics),
                                      SIZED_UP_TO(cygnet_metrics, loss),
                                      _Alignof(cygnet_metrics)};

    return metrics ? sized_check(metrics->struct_size, &type, err) : CYGNET_OK;
}

/* Hands the sums over as means. */
static void report(cygnet_metrics *out, const cygnet_metrics *sums)
{
    cygnet_metrics means = *sums;

    means.loss = sums->loss / (double)sums->n;
    sized_give(out, &means, sizeof(means));
}

/* Gradients that are kept are looked at here, the others were when they were used. */
static cygnet_status check_gradients(cygnet_model *model, const struct step *step,
                                     cygnet_error *err)
{
    const struct program *p = &model->program;
    const unsigned char *flags = p->buffers[p->flags].data;
    cygnet_status st = program_run(step, &p->check, model->executor, model->stop, err);

    for (size_t i = 0; st == CYGNET_OK && i < model->graph.n_tensors; i++) {
        const struct tensor *t = &model->graph.tensors[i];
        bool is_bad = flags[i];

        if (step->mode == STEP_GRADIENTS && model_is_trained(model, i))
            is_bad |= !model->kernels.all_finite(model_grad(model, i),
                                                 layout_elements(&t->layout));
        if (is_bad)
            st = fail(err, CYGNET_ENUMERIC, 0, "the gradient of %s holds NaN or infinity",
                      t->name);
    }
    return st;
}

/* True if weights change while the backward pass goes on. */
static bool is_fused(const cygnet_model *model)
{
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        if (model->program.of[i].fused)
            return true;
    }
    return false;
}

static cygnet_status run_to_gradients(cygnet_model *model, const struct step *step,
                                      cygnet_metrics *sums, const int64_t *y,
                                      cygnet_error *err)
{
    cygnet_status st = run_forward(model, step, sums, y, err);

    if (st != CYGNET_OK)
        return st;
    st = program_run(step, &model->program.backward, model->executor, model->stop, err);
    if (st == CYGNET_OK)
        st = check_gradients(model, step, err);
    if (st != CYGNET_OK && step->mode == STEP_TRAIN)
        model->is_torn = is_fused(model);
    return st;
}

cygnet_status model_backward(cygnet_model *model, cygnet_metrics *metrics, const float *x,
                             const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st = check_metrics(metrics, err);
    cygnet_metrics sums;
    struct step step;

    if (st == CYGNET_OK)
        st = check_training_batch(model, x, y, n, err);
    if (st != CYGNET_OK)
        return st;
    if (!model_bind_gradients(model))
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for the gradients");
    step = begin(model, STEP_GRADIENTS, x, y, n);
    st = run_to_gradients(model, &step, &sums, y, err);
    if (st == CYGNET_OK)
        report(metrics, &sums);
    return st;
}

/* The norm of all gradients, and what they are to be scaled by, as
 * torch.nn.utils.clip_grad_norm_. */
static cygnet_status find_clip(cygnet_model *model, struct step *step, double *norm,
                               double max_norm, cygnet_error *err)
{
    const struct program *p = &model->program;
    cygnet_status st = program_run(step, &p->norm, model->executor, model->stop, err);
    const double *sums = p->buffers[p->square_sums].data;
    double sum = 0;

    for (size_t i = 0; i < p->n_square_sums; i++)
        sum += sums[i];
    *norm = sqrt(sum);
    step->update.clip = fmin(max_norm / (*norm + 1e-6), 1);
    return st;
}

/* A step with checked settings. */
static cygnet_status take_step(cygnet_model *model, cygnet_metrics *metrics,
                               const float *x, const int64_t *y, uint32_t n,
                               const cygnet_optimizer *o, cygnet_error *err)
{
    cygnet_metrics sums;
    struct step step;
    cygnet_status st = check_metrics(metrics, err);

    if (st == CYGNET_OK)
        st = check_training_batch(model, x, y, n, err);
    if (st != CYGNET_OK)
        return st;
    step = begin(model, STEP_TRAIN, x, y, n);
    optimizer_settings(&step.update, o, model->n_moments + 1);
    st = run_to_gradients(model, &step, &sums, y, err);
    if (st == CYGNET_OK && o->max_grad_norm > 0)
        st = find_clip(model, &step, &sums.grad_norm, o->max_grad_norm, err);
    if (st != CYGNET_OK)
        return st;
    (void)program_run(&step, &model->program.update, model->executor, NULL, NULL);
    model->n_steps++;
    model->n_moments += step.update.kind == UPDATE_ADAM;
    report(metrics, &sums);
    return CYGNET_OK;
}

cygnet_status cygnet_model_step(cygnet_model *model, cygnet_metrics *metrics,
                                const float *x, const int64_t *y, uint32_t n,
                                const cygnet_optimizer *optimizer, cygnet_error *err)
{
    cygnet_optimizer o;
    cygnet_status st = optimizer_read(&o, optimizer, &model->graph.update, err);

    return st == CYGNET_OK ? take_step(model, metrics, x, y, n, &o, err) : st;
}

cygnet_status cygnet_model_train_step(cygnet_model *model, cygnet_metrics *metrics,
                                      const float *x, const int64_t *y, uint32_t n,
                                      const cygnet_sgd *sgd, cygnet_error *err)
{
    cygnet_optimizer o;
    cygnet_status st = optimizer_read_sgd(&o, sgd, &model->graph.update, err);

    return st == CYGNET_OK ? take_step(model, metrics, x, y, n, &o, err) : st;
}

/* One chunk of an evaluation, added to `total`. */
static cygnet_status evaluate_chunk(cygnet_model *model, cygnet_metrics *total,
                                    const float *x, const int64_t *y, size_t n,
                                    cygnet_error *err)
{
    struct step step = begin(model, STEP_EVALUATE, x, y, n);
    cygnet_metrics sums;
    cygnet_status st = run_forward(model, &step, &sums, y, err);

    if (st != CYGNET_OK)
        return st;
    total->loss += sums.loss;
    total->correct += sums.correct;
    return CYGNET_OK;
}

cygnet_status cygnet_model_evaluate(cygnet_model *model, cygnet_metrics *metrics,
                                    const float *x, const int64_t *y, uint64_t n,
                                    cygnet_error *err)
{
    cygnet_metrics total = {.struct_size = sizeof(total), .n = n};
    size_t elements = input_elements(model);
    cygnet_status st;

    if (n == 0 || n > SIZE_MAX / sizeof(float) / elements)
        return fail(err, CYGNET_EINVAL, 0, "evaluate: %" PRIu64 " examples", n);
    st = model_check_whole(model, err);
    if (st == CYGNET_OK)
        st = check_metrics(metrics, err);
    if (st == CYGNET_OK)
        st = check_labels(model, y, n, err);
    if (st == CYGNET_OK)
        st = check_inputs(model, x, n, err);
    for (uint64_t at = 0; st == CYGNET_OK && at < n; at += model->max_batch) {
        uint64_t left = n - at;
        size_t chunk = left < model->max_batch ? (size_t)left : model->max_batch;

        st = evaluate_chunk(model, &total, x + at * elements, y + at, chunk, err);
        if (st == CYGNET_ENUMERIC && at > 0)
            return fail_within(err, st, "the batch from example %" PRIu64 " on", at);
    }
    if (st == CYGNET_OK)
        report(metrics, &total);
    return st;
}

cygnet_status cygnet_model_logits(cygnet_model *model, float *logits, const float *x,
                                  uint32_t n, cygnet_error *err)
{
    cygnet_status st = model_check_whole(model, err);
    struct step step;

    if (st == CYGNET_OK)
        st = check_count(model, n, err);
    if (st == CYGNET_OK)
        st = check_inputs(model, x, n, err);
    if (st != CYGNET_OK)
        return st;
    step = begin(model, STEP_EVALUATE, x, NULL, n);
    st = program_run(&step, &model->program.predict, model->executor, model->stop, err);
    for (size_t r = 0; st == CYGNET_OK && r < n; r++) {
        const real *row = model->program.buffers[model->program.logits].data;

        for (size_t c = 0; c < model->n_classes; c++)
            *logits++ = (float)row[r * padded(model->n_classes) + c];
    }
    return st;
}
