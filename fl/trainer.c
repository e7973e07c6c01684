/* The loop over epochs and batches. Which example comes when depends on the task's
 * seed and the epoch only, so that any epoch can be begun without the ones before
 * it. */
#include "fl/trainer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "engine/nn/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define REST_MS 100    /* between looks whether the engine has ended a pause */
#define PROBE_STEPS 3  /* steps before the speed is believed */
#define LOSS_DECAY 0.2 /* of moving_loss */
#define MIN_SHARE 0.1  /* of the rows that must fit before the deadline */

/* Sums over the examples of an epoch. */
struct sums {
    double loss;
    double loss_squared;
    uint64_t correct;
    uint64_t n;
};

/* order  the examples of the epoch; n_rows of its n_order take part, and epoch_rows of
 *        these in each epoch
 * rested_ms  of the time since started_ms, what the engine rested: no slowness
 * whole  the last epoch that was finished; n is 0 before */
struct run {
    const struct trainer *trainer;
    cygnet_sgd sgd;
    uint64_t *order;
    float *x;
    int64_t *y;
    uint32_t batch;
    uint64_t n_order;
    uint64_t n_rows;
    uint64_t epoch_rows;
    uint64_t steps_per_epoch;
    uint64_t n_steps;
    int64_t started_ms;
    int64_t rested_ms;
    uint64_t rows_done;
    struct sums first;
    struct sums whole;
    struct sums current;
    double moving_loss;
    double last_loss_squared;
};

static int64_t now_ms(const struct run *run)
{
    return run->trainer->clock->mono_ms(run->trainer->clock->user);
}

/* How long it has trained. */
static int64_t trained_ms(const struct run *run)
{
    return now_ms(run) - run->started_ms - run->rested_ms;
}

/* ---- Memory ---------------------------------------------------------------- */

static void run_clear(struct run *run)
{
    const cygnet_allocator *alloc = run->trainer->alloc;

    mem_free(alloc, run->order);
    mem_free(alloc, run->x);
    mem_free(alloc, run->y);
}

static cygnet_status run_init(struct run *run, const struct trainer *trainer,
                              cygnet_error *err)
{
    const cygnet_task *task = trainer->task;
    size_t row_bytes = dataset_row_elements(trainer->model) * sizeof(float);

    memset(run, 0, sizeof(*run));
    run->trainer = trainer;
    run->moving_loss = run->last_loss_squared = (double)NAN;
    cygnet_sgd_init(&run->sgd);
    run->sgd.lr = task->lr;
    run->sgd.momentum = task->momentum;
    run->sgd.weight_decay = task->weight_decay;
    run->n_order = run->n_rows = trainer->data->n_examples;
    if (task->max_examples > 0 && task->max_examples < run->n_rows)
        run->n_rows = task->max_examples;
    run->batch = run->n_rows < task->batch ? (uint32_t)run->n_rows : task->batch;
    run->epoch_rows = run->n_rows;
    if (trainer->drops_single && run->batch > 1 && run->n_rows % run->batch == 1)
        run->epoch_rows--;
    run->steps_per_epoch = (run->epoch_rows + run->batch - 1) / run->batch;
    run->n_steps = task->steps > 0 ? task->steps : task->epochs * run->steps_per_epoch;
    run->order = mem_calloc(trainer->alloc, run->n_order, sizeof(run->order[0]));
    run->x = mem_calloc(trainer->alloc, run->batch, row_bytes);
    run->y = mem_calloc(trainer->alloc, run->batch, sizeof(run->y[0]));
    if (run->order && run->x && run->y)
        return CYGNET_OK;
    return fail(err, CYGNET_ENOMEM, 0, "no memory to train on %" PRIu64 " examples",
                run->n_order);
}

/* ---- Order ----------------------------------------------------------------- */

/* The same examples each epoch, in an order of the epoch's own. */
static void shuffle(struct run *run, uint64_t epoch)
{
    uint64_t seed = run->trainer->task->seed;
    struct rng rng;

    for (uint64_t i = 0; i < run->n_order; i++)
        run->order[i] = i;
    if (run->n_rows < run->n_order) {
        rng_init(&rng, seed, "subset", 0);
        rng_shuffle(&rng, run->order, run->n_order);
    }
    rng_init(&rng, seed, "shuffle", epoch);
    rng_shuffle(&rng, run->order, run->n_rows);
}

static void begin_epoch(struct run *run, uint64_t epoch)
{
    if (epoch == 1)
        run->first = run->current;
    if (epoch > 0)
        run->whole = run->current;
    memset(&run->current, 0, sizeof(run->current));
    shuffle(run, epoch);
}

/* ---- One step -------------------------------------------------------------- */

static void add_step(struct run *run, const cygnet_metrics *metrics, uint64_t step,
                     uint32_t n)
{
    const float *losses = model_example_losses(run->trainer->model);
    struct sums *sums = &run->current;
    double loss_squared = 0.0;

    for (uint32_t i = 0; i < n; i++)
        loss_squared += (double)losses[i] * (double)losses[i];
    sums->loss += metrics->loss * (double)n;
    sums->loss_squared += loss_squared;
    sums->correct += metrics->correct;
    sums->n += n;
    run->rows_done += n;
    run->last_loss_squared = loss_squared / (double)n;
    if (step == 0)
        run->moving_loss = metrics->loss;
    else if (step < run->steps_per_epoch)
        run->moving_loss += LOSS_DECAY * (metrics->loss - run->moving_loss);
}

/* What a step is called with, maybe on another thread. */
struct call {
    const struct run *run;
    uint32_t n;
    cygnet_metrics metrics;
    cygnet_status st;
    cygnet_error *err;
};

static void train_on_batch(void *arg)
{
    struct call *c = arg;
    const struct run *run = c->run;

    c->st = cygnet_model_train_step(run->trainer->model, &c->metrics, run->x, run->y,
                                    c->n, &run->sgd, c->err);
}

static double ms_left(const struct run *run)
{
    return (double)(run->trainer->finish_by_ms - now_ms(run));
}

static void call_step(struct call *c, uint64_t step, int64_t data_ms)
{
    const struct run *run = c->run;

    if (run->trainer->swan)
        swan_step(run->trainer->swan, train_on_batch, c, (double)data_ms,
                  run->n_steps - step, ms_left(run));
    else
        train_on_batch(c);
}

/* Examples [at, at + n) of the epoch's order. */
static cygnet_status learn_batch(struct run *run, uint64_t step, uint64_t at, uint32_t n,
                                 cygnet_error *err)
{
    const struct trainer *t = run->trainer;
    struct call call = {.run = run, .n = n, .err = err};
    int64_t began_ms = now_ms(run);
    cygnet_status st =
        dataset_read(t->data, run->x, run->y, run->order + at, n, t->model, err);

    if (st != CYGNET_OK)
        return st;
    call.metrics.struct_size = sizeof(call.metrics);
    call_step(&call, step, now_ms(run) - began_ms);
    if (call.st != CYGNET_OK)
        return call.st;
    add_step(run, &call.metrics, step, n);
    return CYGNET_OK;
}

static cygnet_status take_step(struct run *run, uint64_t step, cygnet_error *err)
{
    uint64_t epoch = step / run->steps_per_epoch;
    uint64_t at = (step % run->steps_per_epoch) * run->batch;
    uint32_t n = run->batch;
    cygnet_status st;

    if (at == 0)
        begin_epoch(run, epoch);
    if (n > run->epoch_rows - at)
        n = (uint32_t)(run->epoch_rows - at);
    st = learn_batch(run, step, at, n, err);
    if (st == CYGNET_OK || st == CYGNET_ECANCELLED)
        return st;
    return fail_within(err, st,
                       "training step %" PRIu64 " (examples %" PRIu64 " to %" PRIu64
                       " of epoch %" PRIu64 ")",
                       step + 1, at + 1, at + n, epoch + 1);
}

/* ---- Time ------------------------------------------------------------------ */

static uint64_t all_rows(const struct run *run)
{
    uint64_t epochs = run->n_steps / run->steps_per_epoch;

    return epochs * run->epoch_rows +
           (run->n_steps - epochs * run->steps_per_epoch) * run->batch;
}

/* Whether at this speed too little would be done by the deadline to be worth it. */
static bool hopeless(const struct run *run, double rows_per_ms, int64_t *needs_ms)
{
    double left_ms = (double)(run->trainer->finish_by_ms - now_ms(run));
    double rows = (double)all_rows(run);

    *needs_ms = 0;
    if (left_ms <= 0.0)
        return run->rows_done == 0;
    if (!(rows_per_ms > 0.0))
        return false;
    *needs_ms = (int64_t)fmin(rows / rows_per_ms, 9e15);
    return (double)run->rows_done + left_ms * rows_per_ms < MIN_SHARE * rows;
}

/* Whether another step like those before would end after the deadline. */
static bool time_is_up(const struct run *run, uint64_t steps)
{
    int64_t mean_ms = trained_ms(run) / (int64_t)steps;

    return now_ms(run) + mean_ms > run->trainer->finish_by_ms;
}

static bool has_energy(struct trainer_result *out, const struct run *run)
{
    const struct trainer *t = run->trainer;

    if (!t->has_energy(t->user, out->steps))
        out->end = out->steps > 0 ? TRAINER_EARLY : TRAINER_NO_ENERGY;
    return out->end == TRAINER_DONE;
}

/* For as long as the engine wants to. False: meanwhile the time is up, or the callers
 * want no more. */
static bool rest(struct trainer_result *out, struct run *run)
{
    const struct trainer *t = run->trainer;
    int64_t began_ms = now_ms(run);

    while (t->swan && swan_is_paused(t->swan) && out->end == TRAINER_DONE &&
           !cygnet_stopped(t->stop)) {
        t->clock->wait_ms(REST_MS, t->stop, t->clock->user);
        if (!t->go_on(t->user, out->steps, out->n_steps))
            out->end = TRAINER_STOPPED;
        else if (ms_left(run) <= 0.0)
            out->end = out->steps > 0 ? TRAINER_EARLY : TRAINER_NO_TIME;
        else
            (void)has_energy(out, run);
    }
    run->rested_ms += now_ms(run) - began_ms;
    return out->end == TRAINER_DONE;
}

/* Looks at clock and callers after a step; false ends the loop with out->end. */
static bool goes_on(struct trainer_result *out, const struct run *run)
{
    const struct trainer *t = run->trainer;
    double elapsed_ms = (double)trained_ms(run);

    if (!t->go_on(t->user, out->steps, out->n_steps))
        out->end = TRAINER_STOPPED;
    else if (out->steps == out->n_steps)
        return false;
    else if (out->steps == PROBE_STEPS && elapsed_ms > 0.0 &&
             hopeless(run, (double)run->rows_done / elapsed_ms, &out->needs_ms))
        out->end = TRAINER_NO_TIME;
    else if (time_is_up(run, out->steps))
        out->end = TRAINER_EARLY;
    return out->end == TRAINER_DONE;
}

/* ---- The whole ------------------------------------------------------------- */

static void summarise(struct trainer_result *out, struct run *run)
{
    const struct sums *first = run->first.n > 0 ? &run->first : &run->current;
    const struct sums *last;
    double n;

    if (run->current.n == run->epoch_rows || run->whole.n == 0)
        run->whole = run->current;
    last = &run->whole;
    n = (double)last->n;
    out->examples = run->rows_done < run->epoch_rows ? run->rows_done : run->epoch_rows;
    out->train_ms = now_ms(run) - run->started_ms;
    out->loss_first = first->loss / (double)first->n;
    out->loss_last = last->loss / n;
    out->accuracy = (double)last->correct / n;
    out->moving_loss = run->moving_loss;
    out->last_loss_squared = run->last_loss_squared;
    out->unique_examples =
        run->n_rows / run->batch < out->steps ? run->n_rows : out->steps * run->batch;
    out->utility = (double)out->examples * sqrt(last->loss_squared / n);
    out->samples_per_s = trained_ms(run) > 0
                             ? 1000.0 * (double)run->rows_done / (double)trained_ms(run)
                             : (double)NAN;
}

static cygnet_status train(struct trainer_result *out, struct run *run, cygnet_error *err)
{
    const struct trainer *t = run->trainer;
    cygnet_status st = CYGNET_OK;

    run->started_ms = now_ms(run);
    if (hopeless(run, t->samples_per_s / 1000.0, &out->needs_ms)) {
        out->end = TRAINER_NO_TIME;
        return CYGNET_OK;
    }
    do {
        if (cygnet_stopped(t->stop))
            return fail(err, CYGNET_ECANCELLED, 0, "cancelled while training");
        if (!has_energy(out, run) || !rest(out, run))
            return CYGNET_OK;
        st = take_step(run, out->steps, err);
        out->steps += st == CYGNET_OK;
    } while (st == CYGNET_OK && goes_on(out, run));
    return st;
}

cygnet_status trainer_run(struct trainer_result *out, const struct trainer *trainer,
                          cygnet_error *err)
{
    struct run run;
    cygnet_status st = run_init(&run, trainer, err);

    memset(out, 0, sizeof(*out));
    out->n_steps = run.n_steps;
    if (st == CYGNET_OK) {
        model_set_stop(trainer->model, trainer->stop);
        st = train(out, &run, err);
        model_set_stop(trainer->model, NULL);
        summarise(out, &run);
    }
    run_clear(&run);
    return st;
}
