/* Steps and evaluations: checks the batch, binds it to the program, runs the
 * lists. Invariant: what was planned to be updated separately changes only in the
 * update list, which runs when nothing can go wrong any more. */
#include "engine/nn/batch.h"

#include "base/error.h"
#include "base/sized.h"
#include "engine/nn/op.h"
#include "engine/nn/optimizer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static cygnet_status check_batch(const cygnet_model *model, const float *x,
                                 const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st = model_check_whole(model, err);

    if (st == CYGNET_OK)
        st = batch_check_count(model, n, err);
    if (st == CYGNET_OK)
        st = batch_check_labels(model, y, n, err);
    if (st == CYGNET_OK)
        st = batch_check_inputs(model, x, n, err);
    return st;
}

/* Where a batch is cut: pieces are as long as planned, but for the last. */
static uint32_t piece_from(const cygnet_model *model, uint32_t first, uint32_t n)
{
    return n - first < model->piece ? n - first : model->piece;
}

static cygnet_status check_training_batch(const cygnet_model *model, const float *x,
                                          const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st = check_batch(model, x, y, n, err);

    return st == CYGNET_OK ? batch_check_min_batch(model, n, err) : st;
}

/* Points an external buffer at the caller's memory, which no call writes. */
static void bind(cygnet_model *model, int tensor, const void *data)
{
    struct program *p = &model->program;

    memcpy(&p->buffers[p->of[tensor].value].data, &data, sizeof(data));
}

/* A checked batch. */
struct batch {
    const float *x;
    const int64_t *y;
    uint32_t n;
};

static struct step begin(cygnet_model *model, enum step_mode mode,
                         const struct batch *batch)
{
    memset(model->program.buffers[model->program.flags].data, 0, model->graph.n_tensors);
    return (struct step){.program = &model->program,
                         .kernels = &model->kernels,
                         .mode = mode,
                         .total = batch->n,
                         .seed = model->seed,
                         .index = model->n_steps};
}

/* The step is now about the piece that begins with example `first`. */
static void bind_piece(cygnet_model *model, struct step *step, const struct batch *batch,
                       uint32_t first)
{
    size_t elements = model_input_elements(model);
    const float *x = batch->x + first * elements;
    const void *input = x;

    step->first = first;
    step->n = piece_from(model, first, batch->n);
    step->piece = first / model->piece;
    if (model->input) {
        for (size_t i = 0; i < step->n * elements; i++)
            model->input[i] = x[i];
        input = model->input;
    }
    bind(model, model->graph.input, input);
    bind(model, model->graph.labels, batch->y ? batch->y + first : NULL);
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
                        node->name, step->first + row);
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

/* Adds the piece's forward pass up: metrics->loss is the sum, not the mean. */
static void read_metrics(cygnet_model *model, const struct step *step,
                         cygnet_metrics *metrics, const int64_t *y)
{
    const real *loss = model_value(model, (size_t)model->graph.loss);
    const real *logits = model->program.buffers[model->program.logits].data;
    float *copy = model->program.buffers[model->program.losses].data;

    for (size_t r = 0; r < step->n; r++) {
        const real *row = logits + r * padded(model->n_classes);

        copy[step->first + r] = (float)loss[r];
        metrics->loss += (double)loss[r];
        metrics->correct +=
            (int64_t)first_largest(row, model->n_classes) == y[step->first + r];
    }
    metrics->n += step->n;
}

/* Forward pass of a piece, added to `sums`. */
static cygnet_status run_forward(cygnet_model *model, const struct step *step,
                                 cygnet_metrics *sums, const int64_t *y,
                                 cygnet_error *err)
{
    cygnet_status st =
        program_run(step, &model->program.forward, model->executor, model->stop, err);

    if (st != CYGNET_OK)
        return st;
    read_metrics(model, step, sums, y);
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

/* Backward pass of a piece. What ops keep of it is wanted in training only. */
static cygnet_status run_backward(cygnet_model *model, const struct step *step,
                                  cygnet_error *err)
{
    const struct program *p = &model->program;
    bool is_last = step->first + step->n == step->total;
    cygnet_status st = program_run(step, &p->backward, model->executor, model->stop, err);

    if (st == CYGNET_OK && !is_last && step->mode == STEP_TRAIN)
        st = program_run(step, &p->between, model->executor, model->stop, err);
    if (st == CYGNET_OK && is_last)
        st = check_gradients(model, step, err);
    if (st != CYGNET_OK && step->mode == STEP_TRAIN)
        model->is_torn = is_fused(model);
    return st;
}

/* All pieces; the step is left as it was for the last. */
static cygnet_status run_to_gradients(cygnet_model *model, struct step *step,
                                      cygnet_metrics *sums, const struct batch *batch,
                                      cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    *sums = (cygnet_metrics){.struct_size = sizeof(*sums)};
    for (uint32_t first = 0; st == CYGNET_OK && first < batch->n;
         first += (uint32_t)step->n) {
        bind_piece(model, step, batch, first);
        st = run_forward(model, step, sums, batch->y, err);
        if (st == CYGNET_OK)
            st = run_backward(model, step, err);
    }
    return st;
}

cygnet_status model_backward(cygnet_model *model, cygnet_metrics *metrics, const float *x,
                             const int64_t *y, uint32_t n, cygnet_error *err)
{
    cygnet_status st = check_metrics(metrics, err);
    struct batch batch = {x, y, n};
    cygnet_metrics sums;
    struct step step;

    if (st == CYGNET_OK)
        st = check_training_batch(model, x, y, n, err);
    if (st != CYGNET_OK)
        return st;
    if (!model_bind_gradients(model))
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for the gradients");
    step = begin(model, STEP_GRADIENTS, &batch);
    st = run_to_gradients(model, &step, &sums, &batch, err);
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
                               const struct batch *batch, const cygnet_optimizer *o,
                               cygnet_error *err)
{
    cygnet_metrics sums;
    struct step step;
    cygnet_status st = check_metrics(metrics, err);

    if (st == CYGNET_OK)
        st = check_training_batch(model, batch->x, batch->y, batch->n, err);
    if (st != CYGNET_OK)
        return st;
    step = begin(model, STEP_TRAIN, batch);
    optimizer_settings(&step.update, o, model->n_moments + 1);
    st = run_to_gradients(model, &step, &sums, batch, err);
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
    struct batch batch = {x, y, n};

    return st == CYGNET_OK ? take_step(model, metrics, &batch, &o, err) : st;
}

cygnet_status cygnet_model_train_step(cygnet_model *model, cygnet_metrics *metrics,
                                      const float *x, const int64_t *y, uint32_t n,
                                      const cygnet_sgd *sgd, cygnet_error *err)
{
    cygnet_optimizer o;
    cygnet_status st = optimizer_read_sgd(&o, sgd, &model->graph.update, err);
    struct batch batch = {x, y, n};

    return st == CYGNET_OK ? take_step(model, metrics, &batch, &o, err) : st;
}

/* One batch of an evaluation, added to `total`. */
static cygnet_status evaluate_batch(cygnet_model *model, cygnet_metrics *total,
                                    const struct batch *batch, cygnet_error *err)
{
    struct step step = begin(model, STEP_EVALUATE, batch);
    cygnet_metrics sums = {.struct_size = sizeof(sums)};
    cygnet_status st = CYGNET_OK;

    for (uint32_t first = 0; st == CYGNET_OK && first < batch->n;
         first += (uint32_t)step.n) {
        bind_piece(model, &step, batch, first);
        st = run_forward(model, &step, &sums, batch->y, err);
    }
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
    size_t elements = model_input_elements(model);
    cygnet_status st;

    if (n == 0 || n > SIZE_MAX / sizeof(float) / elements)
        return fail(err, CYGNET_EINVAL, 0, "evaluate: %" PRIu64 " examples", n);
    st = model_check_whole(model, err);
    if (st == CYGNET_OK)
        st = check_metrics(metrics, err);
    if (st == CYGNET_OK)
        st = batch_check_labels(model, y, n, err);
    if (st == CYGNET_OK)
        st = batch_check_inputs(model, x, n, err);
    for (uint64_t at = 0; st == CYGNET_OK && at < n; at += model->max_batch) {
        uint64_t left = n - at;
        struct batch batch = {x + at * elements, y + at,
                              left < model->max_batch ? (uint32_t)left
                                                      : model->max_batch};

        st = evaluate_batch(model, &total, &batch, err);
        if (st == CYGNET_ENUMERIC && at > 0)
            return fail_within(err, st, "the batch from example %" PRIu64 " on", at);
    }
    if (st == CYGNET_OK)
        report(metrics, &total);
    return st;
}

/* Rows of the piece, without their padding. */
static void copy_logits(const cygnet_model *model, const struct step *step, float *out)
{
    const real *row = model->program.buffers[model->program.logits].data;

    out += step->first * model->n_classes;
    for (size_t r = 0; r < step->n; r++, row += padded(model->n_classes)) {
        for (size_t c = 0; c < model->n_classes; c++)
            *out++ = (float)row[c];
    }
}

cygnet_status cygnet_model_logits(cygnet_model *model, float *logits, const float *x,
                                  uint32_t n, cygnet_error *err)
{
    cygnet_status st = model_check_whole(model, err);
    struct batch batch = {x, NULL, n};
    struct step step;

    if (st == CYGNET_OK)
        st = batch_check_count(model, n, err);
    if (st == CYGNET_OK)
        st = batch_check_inputs(model, x, n, err);
    if (st != CYGNET_OK)
        return st;
    step = begin(model, STEP_EVALUATE, &batch);
    for (uint32_t first = 0; st == CYGNET_OK && first < n; first += (uint32_t)step.n) {
        bind_piece(model, &step, &batch, first);
        st = program_run(&step, &model->program.predict, model->executor, model->stop,
                         err);
        if (st == CYGNET_OK)
            copy_logits(model, &step, logits);
    }
    return st;
}
