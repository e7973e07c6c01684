#include "tests/fakes/fake_coordinator.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counts a call. Non-OK: what it answers, without (or, with `lost`, after) acting. */
static cygnet_status begin(struct fake_coordinator *fake, struct fake_script *script,
                           const cygnet_stop *stop, cygnet_error *err)
{
    int n = script->n_calls++;

    fake->n_calls++;
    if (fake->on_call)
        fake->on_call(fake->user);
    if (cygnet_stopped(stop))
        return fail(err, CYGNET_ECANCELLED, 0, "fake: cancelled");
    if (fake->dead)
        return fail(err, CYGNET_ENETWORK, 0, "fake: nobody answers");
    if (n < FAKE_SCRIPT && script->status[n] != CYGNET_OK)
        return fail(err, script->status[n], 503, "fake: as scripted");
    return CYGNET_OK;
}

/* The call has had its effect; whether the client learns of it. */
static cygnet_status end(struct fake_coordinator *fake, cygnet_status st,
                         cygnet_error *err)
{
    if (fake->dies_after > 0 && fake->n_calls >= fake->dies_after && !fake->dead) {
        fake->dead = 1;
        if (fake->on_death)
            fake->on_death(fake->user);
        return fail(err, CYGNET_ENETWORK, 0, "fake: the answer was lost");
    }
    return st;
}

static struct fake_coordinator *self(cygnet_coordinator *c)
{
    return (struct fake_coordinator *)(void *)c;
}

static size_t index_of(const cygnet_task *task)
{
    return (size_t)strtoul(task->token + 2, NULL, 10) % FAKE_TOKENS;
}

static void keep_names(char *text, size_t size, const char *const *names)
{
    for (; names && *names; names++) {
        size_t used = strlen(text);

        (void)snprintf(text + used, size - used, "%s,", *names);
    }
}

/* The lists live for the call only. */
static void keep_hello(struct fake_coordinator *fake, const cygnet_check_in *hello)
{
    char *text = fake->last_abilities;
    size_t size = sizeof(fake->last_abilities);

    fake->last_hello = *hello;
    fake->last_hello.architectures = fake->last_hello.codecs = NULL;
    text[0] = '\0';
    keep_names(text, size, hello->architectures);
    (void)snprintf(text + strlen(text), size - strlen(text), ";");
    keep_names(text, size, hello->codecs);
}

static cygnet_status check_in(cygnet_coordinator *c, cygnet_answer *answer,
                              const cygnet_check_in *hello, const cygnet_stop *stop,
                              cygnet_error *err)
{
    struct fake_coordinator *fake = self(c);
    cygnet_status st = begin(fake, &fake->check_in, stop, err);

    if (st != CYGNET_OK)
        return st;
    keep_hello(fake, hello);
    (void)snprintf(fake->last_client_id, sizeof(fake->last_client_id), "%s",
                   hello->client_id);
    if (fake->no_task) {
        answer->reason = fake->reason;
        answer->retry_min_s = fake->retry_min_s;
        answer->retry_max_s = fake->retry_max_s;
        return end(fake, CYGNET_OK, err);
    }
    fake_clock_advance(fake->clock, fake->waited_ms);
    answer->waited_ms = fake->waited_ms;
    answer->has_task = 1;
    answer->task = fake->task;
    answer->task.round = ++fake->n_tasks;
    (void)snprintf(answer->task.token, sizeof(answer->task.token), "t-%u",
                   (unsigned)fake->n_tasks);
    return end(fake, CYGNET_OK, err);
}

static cygnet_status copy(cygnet_tensors **out, const cygnet_tensors *list,
                          const cygnet_allocator *alloc, cygnet_error *err)
{
    void *data;
    size_t len;
    cygnet_status st = cygnet_tensors_serialize(&data, &len, list, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    st = cygnet_tensors_parse(out, data, len, 1 << 20, alloc, err);
    cygnet_tensors_free_bytes(list, data);
    return st;
}

static cygnet_status fetch(cygnet_coordinator *c, cygnet_tensors **weights,
                           const cygnet_task *task, cygnet_progress progress, void *user,
                           const cygnet_stop *stop, cygnet_error *err)
{
    struct fake_coordinator *fake = self(c);
    cygnet_status st = begin(fake, &fake->fetch, stop, err);

    (void)task;
    *weights = NULL;
    if (st != CYGNET_OK)
        return st;
    fake_clock_advance(fake->clock, fake->fetch_ms);
    progress(1000, user);
    st = copy(weights, fake->weights, fake->weights_alloc, err);
    if (st == CYGNET_OK && end(fake, st, err) != CYGNET_OK) {
        cygnet_tensors_destroy(*weights);
        *weights = NULL;
        st = CYGNET_ENETWORK;
    }
    return st;
}

static uint64_t sum_of(const unsigned char *data, size_t len)
{
    uint64_t sum = 1469598103934665603u;

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ data[i]) * 1099511628211u;
    return sum;
}

static cygnet_receipt count(struct fake_coordinator *fake, const cygnet_task *task,
                            const void *update, size_t len, cygnet_error *err)
{
    size_t token = index_of(task);
    uint64_t sum = sum_of(update, len);
    cygnet_tensors *deltas;

    if (fake->accepted[token] > 0 && fake->update_sum[token] == sum &&
        fake->coordinator.delivery == CYGNET_DELIVERY_IDEMPOTENT)
        return CYGNET_RECEIPT_ACCEPTED;
    fake->last_update.struct_size = sizeof(fake->last_update);
    if (cygnet_update_decode(&deltas, &fake->last_update, update, len, fake->weights,
                             NULL, err) != CYGNET_OK)
        return CYGNET_RECEIPT_REJECTED;
    cygnet_tensors_destroy(deltas);
    fake->accepted[token]++;
    fake->update_sum[token] = sum;
    return CYGNET_RECEIPT_ACCEPTED;
}

static cygnet_status upload(cygnet_coordinator *c, cygnet_receipt *receipt,
                            const cygnet_task *task, const cygnet_upload *what,
                            const cygnet_stop *stop, cygnet_error *err)
{
    struct fake_coordinator *fake = self(c);
    int n = fake->upload.n_calls;
    cygnet_status st = begin(fake, &fake->upload, stop, err);

    fake->last_metrics = *what->metrics;
    if (st != CYGNET_OK && !(fake->upload.lost && st != CYGNET_ECANCELLED))
        return st;
    what->progress(what->len, what->user);
    *receipt = n < FAKE_SCRIPT ? fake->receipts[n] : CYGNET_RECEIPT_ACCEPTED;
    if (*receipt == CYGNET_RECEIPT_ACCEPTED)
        *receipt = count(fake, task, what->update, what->len, err);
    else
        (void)fail(err, CYGNET_EREFUSED, 422, "fake: not wanted");
    return end(fake, st, err);
}

static cygnet_status renew(cygnet_coordinator *c, cygnet_receipt *receipt,
                           uint32_t *lease_s, const cygnet_task *task,
                           const cygnet_stop *stop, cygnet_error *err)
{
    struct fake_coordinator *fake = self(c);
    cygnet_status st = begin(fake, &fake->renew, stop, err);

    (void)lease_s;
    (void)task;
    *receipt = fake->lease_receipt;
    return st == CYGNET_OK ? end(fake, st, err) : st;
}

static cygnet_status report(cygnet_coordinator *c, const cygnet_task *task,
                            const cygnet_round_report *what, const cygnet_stop *stop,
                            cygnet_error *err)
{
    struct fake_coordinator *fake = self(c);
    cygnet_status st = begin(fake, &fake->report, stop, err);

    if (st != CYGNET_OK && !(fake->report.lost && st != CYGNET_ECANCELLED))
        return st;
    fake->last_report = *what;
    (void)snprintf(fake->last_reason, sizeof(fake->last_reason), "%s", what->reason);
    if (what->outcome == CYGNET_OUTCOME_EVALUATED)
        fake->evaluated[index_of(task)]++;
    else
        fake->reported[index_of(task)]++;
    return end(fake, st, err);
}

static uint32_t retry_after_s(cygnet_coordinator *c)
{
    return self(c)->retry_after_s;
}

void fake_coordinator_init(struct fake_coordinator *fake, struct fake_clock *clock,
                           const cygnet_tensors *weights)
{
    cygnet_task *task = &fake->task;

    memset(fake, 0, sizeof(*fake));
    fake->coordinator = (cygnet_coordinator){.struct_size = sizeof(fake->coordinator),
                                             .check_in = check_in,
                                             .fetch = fetch,
                                             .upload = upload,
                                             .renew = renew,
                                             .report = report,
                                             .retry_after_s = retry_after_s};
    fake->clock = clock;
    fake->weights = weights;
    memcpy(task->id, "fake", 5);
    memcpy(task->architecture, "logistic", 9);
    memcpy(task->collection, "train", 6);
    memcpy(task->codec, "none", 5);
    task->deadline_s = 600;
    task->n_classes = 3;
    task->n_input_dims = 1;
    task->input[0] = 6;
    task->epochs = 1;
    task->batch = 8;
    task->lr = 0.1f;
    task->seed = 7;
}

int fake_coordinator_total_accepted(const struct fake_coordinator *fake)
{
    int sum = 0;

    for (int i = 0; i < FAKE_TOKENS; i++)
        sum += fake->accepted[i];
    return sum;
}
