/* From idle to assigned, or to the coordinator's no. */
#include "base/error.h"
#include "fl/dataset.h"
#include "fl/participant_inside.h"
#include "fl/update.h"

#include <cygnet/nn.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MAX_BATCH 65536
#define MAX_NAMES 31 /* of architectures, of codecs; more are not told */

/* What this build can do, as cygnet_check_in wants it: ended by NULL. */
struct abilities {
    const char *architectures[MAX_NAMES + 1];
    const char *codecs[MAX_NAMES + 1];
};

static void list_names(const char *out[MAX_NAMES + 1], const char *(*name)(uint32_t))
{
    uint32_t n = 0;

    while (n < MAX_NAMES && name(n)) {
        out[n] = name(n);
        n++;
    }
    out[n] = NULL;
}

static uint32_t min_examples(const cygnet_coordinator *c)
{
    return c->struct_size >=
                   offsetof(cygnet_coordinator, min_examples) + sizeof(c->min_examples)
               ? c->min_examples
               : 0;
}

/* Once in a process's life, for a coordinator that has to be told beforehand. */
static cygnet_status count_examples(struct participant *p, cygnet_error *err)
{
    uint32_t min = min_examples(p->config.coordinator);
    cygnet_task task = {.id = ""};
    struct dataset data;
    cygnet_status st;

    if (min == 0 || p->n_examples >= min)
        return CYGNET_OK;
    (void)snprintf(task.collection, sizeof(task.collection), "%s",
                   p->config.collection ? p->config.collection : "");
    st = dataset_open(&data, p->config.host, &task, err);
    if (st != CYGNET_OK)
        return st;
    p->n_examples = data.n_examples;
    dataset_close(&data);
    if (p->n_examples >= min)
        return CYGNET_OK;
    return fail(err, CYGNET_EDATA, 0,
                "the coordinator takes devices with %" PRIu32 " examples or more; "
                "collection \"%s\" has %" PRIu64,
                min, task.collection, p->n_examples);
}

static cygnet_status ask(cygnet_answer *answer, struct participant *p, cygnet_error *err)
{
    const struct round_record *record = &p->round.record;
    cygnet_coordinator *c = p->config.coordinator;
    struct abilities abilities;
    cygnet_check_in hello = {
        .struct_size = sizeof(hello),
        .population = p->config.population,
        .client_id = record->client_id,
        .n_examples = p->n_examples > 0 ? p->n_examples : record->last_examples,
        .max_model_bytes = p->config.max_model_bytes,
        .n_cpus = (uint32_t)p->config.executor->n_workers,
        .last_round = record->last_round,
        .last_utility = record->last_round > 0 ? record->last_utility : (double)NAN,
        .samples_per_s =
            record->samples_per_s > 0.0 ? record->samples_per_s : (double)NAN,
        .architectures = abilities.architectures,
        .codecs = abilities.codecs,
    };
    cygnet_status st = participant_look(&hello.device, p, err);

    list_names(abilities.architectures, cygnet_architecture_name);
    list_names(abilities.codecs, update_codec_name);
    memset(answer, 0, sizeof(*answer));
    return st == CYGNET_OK ? c->check_in(c, answer, &hello, &p->stop, err) : st;
}

/* The window is drawn from uniformly, so that devices that were sent away together
 * do not come back together. */
static cygnet_status stay_away(struct participant *p, const cygnet_answer *answer,
                               cygnet_error *err)
{
    static const char *const reasons[] = {
        [CYGNET_RETRY_BUSY] = "the coordinator has nothing for us now",
        [CYGNET_RETRY_FINISHED] = "the population's training is over",
        [CYGNET_RETRY_STAY_AWAY] = "the coordinator asks us to stay away",
    };
    cygnet_report *report = &p->round.report;
    uint64_t min_ms = (uint64_t)answer->retry_min_s * 1000;
    uint64_t max_ms = (uint64_t)answer->retry_max_s * 1000;
    size_t reason = (size_t)answer->reason;

    if (max_ms < min_ms || reason >= sizeof(reasons) / sizeof(reasons[0]))
        return fail(err, CYGNET_EPROTOCOL, 0, "check-in: the retry window is not valid");
    participant_keep_away(p, (int64_t)(min_ms + rng_below(&p->rng, max_ms - min_ms + 1)));
    report->outcome = answer->reason == CYGNET_RETRY_FINISHED ? CYGNET_OUTCOME_FINISHED
                                                              : CYGNET_OUTCOME_DECLINED;
    (void)snprintf(report->message, sizeof(report->message), "%s", reasons[reason]);
    return participant_become_idle(p, err);
}

/* What training would trip over, whatever dialect the task came by. */
static cygnet_status check_task(const struct participant *p, const cygnet_task *task,
                                cygnet_error *err)
{
    bool trains = task->kind == CYGNET_TASK_TRAIN;

    if (!trains && (task->kind != CYGNET_TASK_EVALUATE || !p->config.coordinator->report))
        return fail(err, CYGNET_EUNSUPPORTED, 0, "task \"%s\": kind %d is not known",
                    task->id, (int)task->kind);
    if (task->batch == 0 || task->batch > MAX_BATCH || task->n_input_dims > 4 ||
        (trains && ((task->epochs == 0 && task->steps == 0) || !isfinite(task->lr))))
        return fail(err, CYGNET_EPROTOCOL, 0,
                    "task \"%s\": batch, epochs, lr or input is out of range", task->id);
    if (trains && !update_codec_known(task->codec))
        return fail(err, CYGNET_EUNSUPPORTED, 0, "task \"%s\": codec \"%s\" is not known",
                    task->id, task->codec);
    if (task->weights_bytes > p->config.max_model_bytes)
        return fail(err, CYGNET_ELIMIT, 0,
                    "task \"%s\": its model has %" PRIu64 " bytes; the limit is %" PRIu64,
                    task->id, task->weights_bytes, p->config.max_model_bytes);
    return CYGNET_OK;
}

/* The deadline counts from before the request: the coordinator cannot have begun to
 * count earlier. */
static cygnet_status accept_task(struct participant *p, const cygnet_task *task,
                                 int64_t asked_mono_ms, cygnet_error *err)
{
    struct round_record *record = &p->round.record;
    cygnet_status st;

    if (task->token[0] == '\0')
        return fail(err, CYGNET_EPROTOCOL, 0, "task \"%s\" has no token", task->id);
    record->task = *task;
    record->assigned_mono_ms = asked_mono_ms;
    record->assigned_wall_ms =
        participant_wall_ms(p) - (participant_mono_ms(p) - asked_mono_ms);
    record->next_check_in_ms = 0;
    p->next_ms = asked_mono_ms;
    p->deadline_ms = asked_mono_ms + (int64_t)task->deadline_s * 1000;
    p->round.report.round = task->round;
    if (task->unsupported[0] != '\0') {
        p->round.report.outcome = CYGNET_OUTCOME_ABORTED;
        (void)snprintf(p->round.report.message, sizeof(p->round.report.message),
                       "the task requires \"%s\", which is not known here",
                       task->unsupported);
        return CYGNET_OK;
    }
    st = check_task(p, task, err);
    return st == CYGNET_OK ? round_enter(&p->round, CYGNET_PHASE_ASSIGNED, err) : st;
}

static cygnet_status ask_and_take(struct participant *p, cygnet_error *err)
{
    int64_t asked_ms = participant_mono_ms(p);
    cygnet_answer answer;
    cygnet_status st = count_examples(p, err);

    if (st == CYGNET_OK)
        st = ask(&answer, p, err);
    if (st == CYGNET_OK)
        st = round_enter(&p->round, CYGNET_PHASE_CHECKED_IN, err);
    if (st != CYGNET_OK)
        return st;
    if (answer.has_task)
        return accept_task(p, &answer.task, asked_ms + (int64_t)answer.waited_ms, err);
    return stay_away(p, &answer, err);
}

cygnet_status step_check_in(struct participant *p, cygnet_error *err)
{
    cygnet_report *report = &p->round.report;
    cygnet_status st;

    if (participant_mono_ms(p) < p->next_ms) {
        report->outcome = CYGNET_OUTCOME_DECLINED;
        (void)snprintf(report->message, sizeof(report->message),
                       "the coordinator asked us to come back later");
        return CYGNET_OK;
    }
    st = participant_qualify(p, err);
    if (st != CYGNET_OK || report->outcome != CYGNET_OUTCOME_NONE)
        return st;
    st = round_enter(&p->round, CYGNET_PHASE_ELIGIBLE, err);
    return st == CYGNET_OK ? ask_and_take(p, err) : st;
}
