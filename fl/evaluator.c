/* The loop over batches of an evaluation. */
#include "fl/evaluator.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/nn/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define REST_MS 100 /* between looks whether the engine has ended a pause */
#define TOP 5

struct run {
    const struct trainer *trainer;
    uint64_t *rows;
    float *x;
    int64_t *y;
    float *logits;
    uint32_t batch;
    uint32_t n_classes;
    uint64_t n_rows;
};

static int64_t now_ms(const struct run *run)
{
    return run->trainer->clock->mono_ms(run->trainer->clock->user);
}

static double ms_left(const struct run *run)
{
    return (double)(run->trainer->finish_by_ms - now_ms(run));
}

/* ---- Memory ---------------------------------------------------------------- */

static void run_clear(struct run *run)
{
    const cygnet_allocator *alloc = run->trainer->alloc;

    mem_free(alloc, run->rows);
    mem_free(alloc, run->x);
    mem_free(alloc, run->y);
    mem_free(alloc, run->logits);
}

static cygnet_status run_init(struct run *run, const struct trainer *trainer,
                              cygnet_error *err)
{
    const cygnet_task *task = trainer->task;
    const cygnet_allocator *alloc = trainer->alloc;
    size_t row_bytes = dataset_row_elements(trainer->model) * sizeof(float);

    memset(run, 0, sizeof(*run));
    run->trainer = trainer;
    run->n_classes = cygnet_model_n_classes(trainer->model);
    run->n_rows = trainer->data->n_examples;
    if (task->max_examples > 0 && task->max_examples < run->n_rows)
        run->n_rows = task->max_examples;
    run->batch = run->n_rows < task->batch ? (uint32_t)run->n_rows : task->batch;
    run->rows = mem_calloc(alloc, run->batch, sizeof(run->rows[0]));
    run->x = mem_calloc(alloc, run->batch, row_bytes);
    run->y = mem_calloc(alloc, run->batch, sizeof(run->y[0]));
    run->logits = mem_calloc(alloc, run->batch, run->n_classes * sizeof(float));
    if (run->rows && run->x && run->y && run->logits)
        return CYGNET_OK;
    return fail(err, CYGNET_ENOMEM, 0, "no memory to evaluate in batches of %" PRIu32,
                run->batch);
}

/* ---- One batch ------------------------------------------------------------- */

/* Cross-entropy of one example. Source: docs/numerics.md#formulas */
static double loss_of(const float *logits, uint32_t n_classes, uint32_t label)
{
    double largest = (double)logits[0];
    double sum = 0.0;

    for (uint32_t c = 1; c < n_classes; c++)
        largest = fmax(largest, (double)logits[c]);
    for (uint32_t c = 0; c < n_classes; c++)
        sum += exp((double)logits[c] - largest);
    return log(sum) - ((double)logits[label] - largest);
}

/* How many classes come before the label. */
static uint32_t rank_of(const float *logits, uint32_t n_classes, uint32_t label)
{
    uint32_t rank = 0;

    for (uint32_t c = 0; c < n_classes; c++)
        rank += logits[c] > logits[label] || (c < label && logits[c] >= logits[label]);
    return rank;
}

static cygnet_status add_example(struct evaluator_result *out, const struct run *run,
                                 uint32_t i, cygnet_error *err)
{
    const float *logits = run->logits + (size_t)i * run->n_classes;
    uint32_t rank;
    double loss;

    if (run->y[i] < 0 || run->y[i] >= (int64_t)run->n_classes)
        return fail(err, CYGNET_EDATA, 0,
                    "example %" PRIu64 " has label %" PRId64
                    "; it must be in 0..%" PRIu32,
                    run->rows[i] + 1, run->y[i], run->n_classes - 1);
    loss = loss_of(logits, run->n_classes, (uint32_t)run->y[i]);
    if (!isfinite(loss))
        return fail(err, CYGNET_ENUMERIC, 0,
                    "the loss of example %" PRIu64 " is not finite", run->rows[i] + 1);
    rank = rank_of(logits, run->n_classes, (uint32_t)run->y[i]);
    out->loss_sum += loss;
    out->top_1 += rank == 0;
    out->top_5 += rank < TOP;
    out->examples++;
    return CYGNET_OK;
}

/* What a batch is called with, maybe on another thread. */
struct call {
    const struct run *run;
    uint32_t n;
    cygnet_status st;
    cygnet_error *err;
};

static void predict(void *arg)
{
    struct call *c = arg;
    const struct run *run = c->run;

    c->st = cygnet_model_logits(run->trainer->model, run->logits, run->x, c->n, c->err);
}

static void call_predict(struct call *c, uint64_t steps_left, int64_t data_ms)
{
    struct swan *swan = c->run->trainer->swan;

    if (swan)
        swan_step(swan, predict, c, (double)data_ms, steps_left, ms_left(c->run));
    else
        predict(c);
}

static cygnet_status evaluate_batch(struct evaluator_result *out, struct run *run,
                                    cygnet_error *err)
{
    const struct trainer *t = run->trainer;
    uint64_t at = out->steps * run->batch;
    uint64_t left = run->n_rows - at;
    struct call call = {run, left < run->batch ? (uint32_t)left : run->batch, CYGNET_OK,
                        err};
    int64_t began_ms = now_ms(run);
    cygnet_status st;

    for (uint32_t i = 0; i < call.n; i++)
        run->rows[i] = at + i;
    st = dataset_read(t->data, run->x, run->y, run->rows, call.n, t->model, err);
    if (st != CYGNET_OK)
        return st;
    call_predict(&call, out->n_steps - out->steps, now_ms(run) - began_ms);
    for (uint32_t i = 0; i < call.n && call.st == CYGNET_OK; i++)
        call.st = add_example(out, run, i, err);
    return call.st;
}

/* ---- The whole ------------------------------------------------------------- */

/* Asks the callers, the clock and the supply before a batch. */
static bool goes_on(struct evaluator_result *out, const struct run *run)
{
    const struct trainer *t = run->trainer;

    if (!t->go_on(t->user, out->steps, out->n_steps))
        out->end = TRAINER_STOPPED;
    else if (ms_left(run) <= 0.0)
        out->end = TRAINER_NO_TIME;
    else if (!t->has_energy(t->user, out->steps))
        out->end = TRAINER_NO_ENERGY;
    return out->end == TRAINER_DONE;
}

/* For as long as the engine wants to. */
static bool rest(struct evaluator_result *out, const struct run *run)
{
    const struct trainer *t = run->trainer;

    while (t->swan && swan_is_paused(t->swan) && out->end == TRAINER_DONE &&
           !cygnet_stopped(t->stop)) {
        t->clock->wait_ms(REST_MS, t->stop, t->clock->user);
        (void)goes_on(out, run);
    }
    return out->end == TRAINER_DONE;
}

static cygnet_status evaluate(struct evaluator_result *out, struct run *run,
                              cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    while (out->steps < out->n_steps && st == CYGNET_OK) {
        if (cygnet_stopped(run->trainer->stop))
            return fail(err, CYGNET_ECANCELLED, 0, "cancelled while evaluating");
        if (!goes_on(out, run) || !rest(out, run))
            return CYGNET_OK;
        st = evaluate_batch(out, run, err);
        if (st != CYGNET_OK && st != CYGNET_ECANCELLED)
            return fail_within(err, st, "evaluation, batch %" PRIu64, out->steps + 1);
        out->steps += st == CYGNET_OK;
    }
    if (st == CYGNET_OK &&
        !run->trainer->go_on(run->trainer->user, out->steps, out->n_steps))
        out->end = TRAINER_STOPPED;
    return st;
}

cygnet_status evaluator_run(struct evaluator_result *out, const struct trainer *trainer,
                            cygnet_error *err)
{
    struct run run;
    cygnet_status st = run_init(&run, trainer, err);
    int64_t began_ms;

    memset(out, 0, sizeof(*out));
    if (st == CYGNET_OK) {
        out->n_steps = (run.n_rows + run.batch - 1) / run.batch;
        began_ms = now_ms(&run);
        model_set_stop(trainer->model, trainer->stop);
        st = evaluate(out, &run, err);
        model_set_stop(trainer->model, NULL);
        out->ms = now_ms(&run) - began_ms;
    }
    run_clear(&run);
    return st;
}
