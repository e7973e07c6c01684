/* From assigned to encoded: weights, data, model; local training or an evaluation; the
 * update on disk, or the results in the record. */
#include "base/crypto.h"
#include "base/error.h"
#include "engine/nn/model.h"
#include "engine/swan/swan.h"
#include "fl/evaluator.h"
#include "fl/participant_inside.h"
#include "fl/update.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MODEL_NAME_BYTES 512
#define LOOK_EVERY_MS 1000
#define PUBLISH_EVERY_MS 100
#define UPLOAD_RESERVE_SHARE 20 /* of the deadline: one part in so many */

/* What the step holds while it lasts. */
struct lesson {
    struct participant *p;
    cygnet_tensors *global;
    struct dataset data;
    cygnet_model *model;
    uint32_t max_batch;
    struct trainer_result result;
    struct evaluator_result evaluated;
    int64_t look_ms;
    int64_t publish_ms;
    int64_t renew_ms;
    cygnet_status watch_status;
    cygnet_error watch_error;
};

/* ---- Weights --------------------------------------------------------------- */

static void count_down(uint64_t bytes, void *user)
{
    struct participant *p = user;

    p->round.report.bytes_down = bytes;
}

static cygnet_status fetch(struct lesson *l, cygnet_error *err)
{
    struct participant *p = l->p;
    cygnet_coordinator *c = p->config.coordinator;
    int64_t began_ms = participant_mono_ms(p);
    uint32_t n_failures = 0;
    cygnet_status st;

    do {
        st = c->fetch(c, &l->global, &p->round.record.task, count_down, p, &p->stop, err);
    } while (st != CYGNET_OK && participant_try_again(&st, p, ++n_failures, err));
    if (st != CYGNET_OK)
        return st;
    p->fetch_ms = participant_mono_ms(p) - began_ms;
    p->round.record.bytes_down = p->round.report.bytes_down;
    st = update_check_weights(l->global, err);
    return st == CYGNET_OK ? round_enter(&p->round, CYGNET_PHASE_FETCHED, err) : st;
}

/* ---- Model ----------------------------------------------------------------- */

static cygnet_status build_model(struct lesson *l, cygnet_error *err)
{
    const struct participant *p = l->p;
    const cygnet_task *task = &p->round.record.task;
    cygnet_model_options options;
    cygnet_status st;

    cygnet_model_options_init(&options);
    options.architecture = task->architecture;
    options.n_classes = task->n_classes;
    options.n_input_dims = task->n_input_dims;
    memcpy(options.input, task->input, sizeof(options.input));
    options.max_batch = l->max_batch =
        l->data.n_examples < task->batch ? (uint32_t)l->data.n_examples : task->batch;
    options.max_bytes = p->config.max_train_bytes;
    options.allocator = p->config.alloc;
    st = model_create(&l->model, &options, p->config.executor, err);
    if (st == CYGNET_ENOTFOUND || st == CYGNET_EINVAL)
        return fail(err, CYGNET_EUNSUPPORTED, 0,
                    "task \"%s\": architecture \"%s\" cannot be built here", task->id,
                    task->architecture);
    if (st != CYGNET_OK)
        return st;
    st = cygnet_model_set_weights(l->model, l->global, err);
    if (st == CYGNET_ENOTFOUND || st == CYGNET_EINVAL) {
        err->status = CYGNET_ESHAPE; /* the message names the tensor */
        return CYGNET_ESHAPE;
    }
    return st;
}

static bool has_batch_norm(const cygnet_tensors *weights)
{
    for (size_t i = 0; i < cygnet_tensors_count(weights); i++)
        if (strstr(cygnet_tensors_at(weights, i)->name, "num_batches_tracked"))
            return true;
    return false;
}

/* ---- Training -------------------------------------------------------------- */

static void look_at_device(struct lesson *l)
{
    struct participant *p = l->p;
    int64_t now = participant_mono_ms(p);

    if (now < l->look_ms && !cygnet_stopped(p->config.look_again))
        return;
    if (p->config.look_again)
        stop_clear(p->config.look_again);
    l->look_ms = now + LOOK_EVERY_MS;
    l->watch_status = participant_qualify(p, &l->watch_error);
}

/* A renewal that did not get through is tried again at the next third. */
static void renew_lease(struct lesson *l)
{
    struct participant *p = l->p;
    cygnet_coordinator *c = p->config.coordinator;
    cygnet_task *task = &p->round.record.task;
    cygnet_receipt receipt = CYGNET_RECEIPT_ACCEPTED;
    uint32_t lease_s = task->lease_s;
    int64_t now = participant_mono_ms(p);

    if (!c->renew || task->lease_s == 0 || now < l->renew_ms)
        return;
    if (c->renew(c, &receipt, &lease_s, task, &p->stop, NULL) == CYGNET_OK) {
        if (receipt != CYGNET_RECEIPT_ACCEPTED) {
            p->round.report.outcome = CYGNET_OUTCOME_TOO_LATE;
            (void)snprintf(p->round.report.message, sizeof(p->round.report.message),
                           "the coordinator has ended the lease");
        }
        if (lease_s > 0)
            task->lease_s = lease_s;
    }
    l->renew_ms = now + (int64_t)task->lease_s * 1000 / 3;
}

static bool go_on(void *user, uint64_t step, uint64_t n_steps)
{
    struct lesson *l = user;
    struct participant *p = l->p;
    int64_t now = participant_mono_ms(p);

    p->round.report.step = step;
    p->round.report.n_steps = n_steps;
    if (now >= l->publish_ms) {
        l->publish_ms = now + PUBLISH_EVERY_MS;
        round_publish(&p->round);
    }
    look_at_device(l);
    if (l->watch_status == CYGNET_OK && p->round.report.outcome == CYGNET_OUTCOME_NONE)
        renew_lease(l);
    return l->watch_status == CYGNET_OK && p->round.report.outcome == CYGNET_OUTCOME_NONE;
}

/* The update may take as long as the weights took, or a twentieth of the time. */
static int64_t finish_by_ms(const struct participant *p)
{
    int64_t reserve_ms =
        (int64_t)p->round.record.task.deadline_s * 1000 / UPLOAD_RESERVE_SHARE;

    if (p->fetch_ms > reserve_ms)
        reserve_ms = p->fetch_ms;
    return p->deadline_ms - reserve_ms;
}

static void keep_metrics(struct participant *p, const struct trainer_result *result)
{
    struct round_record *record = &p->round.record;
    cygnet_report *report = &p->round.report;

    record->examples = report->examples = result->examples;
    record->steps = report->step = result->steps;
    report->n_steps = result->n_steps;
    record->loss_first = report->loss_first = result->loss_first;
    record->loss_last = report->loss_last = result->loss_last;
    record->accuracy = report->accuracy = result->accuracy;
    record->train_ms = report->train_ms = result->train_ms;
    record->utility = result->utility;
    record->moving_loss = result->moving_loss;
    record->last_loss_squared = result->last_loss_squared;
    record->unique_examples = result->unique_examples;
    if (result->samples_per_s > 0.0)
        record->samples_per_s = result->samples_per_s;
}

static void abort_for_time(struct lesson *l)
{
    struct participant *p = l->p;
    cygnet_report *report = &p->round.report;
    int64_t left_ms = finish_by_ms(p) - participant_mono_ms(p);

    report->outcome = CYGNET_OUTCOME_ABORTED;
    if (left_ms > 0)
        (void)snprintf(report->message, sizeof(report->message),
                       "training needs about %" PRId64 " s and %" PRId64 " s are left",
                       l->result.needs_ms / 1000, left_ms / 1000);
    else
        (void)snprintf(report->message, sizeof(report->message),
                       "no time is left before the deadline");
}

/* Names all that makes a step's time. */
static void name_model(char out[MODEL_NAME_BYTES], const struct lesson *l)
{
    const cygnet_task *task = &l->p->round.record.task;
    int n = snprintf(out, MODEL_NAME_BYTES, "%s|%u|%u", task->architecture,
                     (unsigned)task->n_classes, (unsigned)l->max_batch);

    for (uint32_t d = 0; d < task->n_input_dims && n > 0 && n < MODEL_NAME_BYTES; d++)
        n += snprintf(out + n, (size_t)(MODEL_NAME_BYTES - n), "|%u",
                      (unsigned)task->input[d]);
    if (task->kind == CYGNET_TASK_EVALUATE && n > 0 && n < MODEL_NAME_BYTES)
        (void)snprintf(out + n, (size_t)(MODEL_NAME_BYTES - n), "|evaluate");
}

/* An evaluation's steps are others than training's of the same model. */
static const char *profile_file(const struct lesson *l)
{
    return l->p->round.record.task.kind == CYGNET_TASK_EVALUATE ? EVALUATE_PROFILE_FILE
                                                                : PROFILE_FILE;
}

/* A profile that cannot be read is as good as none. */
static cygnet_status begin_engine(struct lesson *l, cygnet_error *err)
{
    struct participant *p = l->p;
    const cygnet_task *task = &p->round.record.task;
    char model[MODEL_NAME_BYTES];
    struct swan_training training = {
        .model = model,
        .ms_left = (double)(finish_by_ms(p) - participant_mono_ms(p)),
        .mj_left = supply_budget_mj(p->config.supply),
        .stop = &p->stop,
        .policy = task->policy,
        .n_threads = task->n_threads,
    };
    struct bytes profile;
    cygnet_status st;

    name_model(model, l);
    bytes_init(&profile, PROFILE_MAX_BYTES, p->config.alloc);
    if (store_read(p->config.store, &profile, profile_file(l), NULL) == CYGNET_OK) {
        training.profile = profile.data;
        training.profile_len = profile.len;
    }
    st = swan_begin(p->config.swan, &training, err);
    bytes_clear(&profile);
    return st;
}

/* Best effort: a round does not fail because its engine's memory cannot be kept. */
static void keep_engine(const struct lesson *l, const char *name,
                        cygnet_status (*write)(struct swan *, struct bytes *,
                                               cygnet_error *))
{
    const struct participant *p = l->p;
    struct bytes text;

    bytes_init(&text, PROFILE_MAX_BYTES, p->config.alloc);
    if (write(p->config.swan, &text, NULL) == CYGNET_OK)
        (void)store_replace(p->config.store, name, text.data, text.len, NULL);
    bytes_clear(&text);
}

static bool has_energy(void *user, uint64_t step)
{
    return supply_step(((struct lesson *)user)->p->config.supply, step);
}

static struct trainer make_trainer(struct lesson *l)
{
    struct participant *p = l->p;

    return (struct trainer){
        .task = &p->round.record.task,
        .data = &l->data,
        .model = l->model,
        .drops_single = has_batch_norm(l->global),
        .swan = p->config.swan,
        .clock = p->config.clock,
        .stop = &p->stop,
        .finish_by_ms = finish_by_ms(p),
        .samples_per_s = p->round.record.samples_per_s,
        .go_on = go_on,
        .has_energy = has_energy,
        .user = l,
        .alloc = p->config.alloc,
    };
}

static cygnet_status run_supplied(struct lesson *l, const struct trainer *trainer,
                                  cygnet_error *err)
{
    cygnet_status st;

    supply_begin(l->p->config.supply);
    st = trainer->task->kind == CYGNET_TASK_EVALUATE
             ? evaluator_run(&l->evaluated, trainer, err)
             : trainer_run(&l->result, trainer, err);
    supply_end(l->p->config.supply);
    return st;
}

/* What was learnt is sent all the same; without a step the device did not qualify. */
static void tell_supply(struct participant *p, enum trainer_end end)
{
    cygnet_report *report = &p->round.report;
    const char *why = p->config.supply ? p->config.supply->why : "";

    (void)snprintf(p->early, sizeof(p->early), "%s", end == TRAINER_EARLY ? why : "");
    if (end != TRAINER_NO_ENERGY)
        return;
    report->outcome = CYGNET_OUTCOME_INTERRUPTED;
    (void)snprintf(report->message, sizeof(report->message), "%s", why);
}

static cygnet_status run_on_engine(struct lesson *l, const struct trainer *trainer,
                                   cygnet_error *err)
{
    cygnet_status st;

    supply_limit(l->p->config.supply, (double)l->p->round.record.task.max_round_mj);
    if (!trainer->swan)
        return run_supplied(l, trainer, err);
    participant_measure_idle(l->p, trainer->finish_by_ms);
    st = begin_engine(l, err);
    if (st != CYGNET_OK)
        return st;
    st = run_supplied(l, trainer, err);
    if (trainer->task->kind == CYGNET_TASK_TRAIN)
        keep_engine(l, EXPLAIN_FILE, swan_explain);
    swan_end(trainer->swan);
    keep_engine(l, profile_file(l), swan_save);
    return st;
}

/* From the state training on, until all steps are taken or something ends them. */
static cygnet_status run_steps(struct lesson *l, cygnet_error *err)
{
    struct participant *p = l->p;
    const struct trainer trainer = make_trainer(l);
    cygnet_status st = round_enter(&p->round, CYGNET_PHASE_TRAINING, err);

    if (st != CYGNET_OK)
        return st;
    l->look_ms = participant_mono_ms(p) + LOOK_EVERY_MS;
    l->renew_ms =
        participant_mono_ms(p) + (int64_t)p->round.record.task.lease_s * 1000 / 3;
    st = run_on_engine(l, &trainer, err);
    if (st == CYGNET_OK && l->watch_status != CYGNET_OK) {
        *err = l->watch_error;
        st = l->watch_status;
    }
    return st;
}

static cygnet_status train(struct lesson *l, cygnet_error *err)
{
    struct participant *p = l->p;
    cygnet_status st = run_steps(l, err);

    if (st != CYGNET_OK)
        return st;
    keep_metrics(p, &l->result);
    if (l->result.end == TRAINER_NO_TIME)
        abort_for_time(l);
    tell_supply(p, l->result.end);
    if (p->round.report.outcome != CYGNET_OUTCOME_NONE)
        return CYGNET_OK;
    return round_enter(&p->round, CYGNET_PHASE_TRAINED, err);
}

/* ---- Evaluation ------------------------------------------------------------ */

static void keep_evaluation(struct participant *p, const struct evaluator_result *result)
{
    struct round_record *record = &p->round.record;
    cygnet_report *report = &p->round.report;
    double n = (double)result->examples;

    report->step = result->steps;
    report->n_steps = result->n_steps;
    record->examples = report->examples = result->examples;
    record->loss_sum = result->loss_sum;
    record->top_1 = result->top_1;
    record->top_5 = result->top_5;
    record->loss_first = report->loss_first = result->loss_sum / n;
    record->loss_last = report->loss_last = result->loss_sum / n;
    record->accuracy = report->accuracy = (double)result->top_1 / n;
    record->moving_loss = record->last_loss_squared = (double)NAN;
    record->train_ms = report->train_ms = result->ms;
}

/* The results are in the record: once that is on disk, they can be sent. */
static cygnet_status evaluate(struct lesson *l, cygnet_error *err)
{
    struct participant *p = l->p;
    cygnet_status st = run_steps(l, err);

    if (st != CYGNET_OK)
        return st;
    if (l->evaluated.end == TRAINER_NO_TIME)
        abort_for_time(l);
    tell_supply(p, l->evaluated.end);
    if (p->round.report.outcome != CYGNET_OUTCOME_NONE)
        return CYGNET_OK;
    keep_evaluation(p, &l->evaluated);
    st = round_enter(&p->round, CYGNET_PHASE_TRAINED, err);
    return st == CYGNET_OK ? round_enter(&p->round, CYGNET_PHASE_ENCODED, err) : st;
}

/* ---- Update ---------------------------------------------------------------- */

static cygnet_status make_update(struct update *out, struct lesson *l, cygnet_error *err)
{
    const struct round_record *record = &l->p->round.record;
    struct update_content content = {
        .global = l->global,
        .codec = record->task.codec,
        .round = record->task.round,
        .examples = record->examples,
        .steps = record->steps,
        .seed = record->task.seed,
        .max_bytes = record->task.max_update_bytes,
        .alloc = l->p->config.alloc,
    };
    cygnet_tensors *local;
    cygnet_status st = cygnet_model_get_weights(&local, l->model, err);

    if (st != CYGNET_OK)
        return st;
    content.local = local;
    st = update_encode(out, &content, err);
    cygnet_tensors_destroy(local);
    return st;
}

/* The bytes first, then the record that speaks of them. */
static cygnet_status keep_update(struct participant *p, const struct update *update,
                                 cygnet_error *err)
{
    struct round_record *record = &p->round.record;
    cygnet_status st = sha256_hex(record->update_sha256, update->data, update->len, err);

    record->update_bytes = update->len;
    if (st == CYGNET_OK)
        st = store_replace(p->config.store, UPDATE_FILE, update->data, update->len, err);
    return st == CYGNET_OK ? round_enter(&p->round, CYGNET_PHASE_ENCODED, err) : st;
}

static cygnet_status encode(struct lesson *l, cygnet_error *err)
{
    struct update update = {0};
    cygnet_status st = make_update(&update, l, err);

    if (st == CYGNET_OK)
        st = keep_update(l->p, &update, err);
    update_clear(&update);
    return st;
}

/* ---- The whole ------------------------------------------------------------- */

static cygnet_status open_data(struct lesson *l, cygnet_error *err)
{
    struct participant *p = l->p;
    struct round_record *record = &p->round.record;
    cygnet_status st = dataset_open(&l->data, p->config.host, &record->task, err);

    if (st == CYGNET_OK)
        memcpy(record->snapshot_id, l->data.snapshot_id, sizeof(record->snapshot_id));
    return st;
}

static cygnet_status qualify(struct lesson *l, cygnet_error *err)
{
    return participant_qualify(l->p, err);
}

cygnet_status step_learn(struct participant *p, cygnet_error *err)
{
    static cygnet_status (*const parts[2][8])(struct lesson *, cygnet_error *) = {
        [CYGNET_TASK_TRAIN] = {qualify, fetch, open_data, build_model, qualify, train,
                               encode, NULL},
        [CYGNET_TASK_EVALUATE] = {qualify, fetch, open_data, build_model, qualify,
                                  evaluate, NULL},
    };
    struct lesson l = {.p = p};
    cygnet_status (*const *part)(struct lesson *, cygnet_error *) =
        parts[p->round.record.task.kind];
    cygnet_status st = CYGNET_OK;

    for (; *part && st == CYGNET_OK && p->round.report.outcome == CYGNET_OUTCOME_NONE;
         part++)
        st = cygnet_stopped(&p->stop)
                 ? fail(err, CYGNET_ECANCELLED, 0, "cancelled in the middle of a round")
                 : (*part)(&l, err);
    dataset_close(&l.data);
    cygnet_model_destroy(l.model);
    cygnet_tensors_destroy(l.global);
    return st;
}
