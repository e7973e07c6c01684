/* The messages between a client and its coordinator, and the interface that a
 * dialect (native, FedScale, ...) implements. fl/ speaks only this.
 *
 * Stability: sys tier. It may change in a minor release.
 */
#ifndef CYGNET_SYS_COORDINATOR_H
#define CYGNET_SYS_COORDINATOR_H

#include <cygnet/cygnet.h>
#include <cygnet/sys/stop.h>
#include <cygnet/tensors.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYGNET_TASK_ID_MAX 64
#define CYGNET_TOKEN_MAX 64
#define CYGNET_ARCHITECTURE_MAX 128
#define CYGNET_COLLECTION_MAX 128
#define CYGNET_CODEC_MAX 64
#define CYGNET_SHA256_HEX 64
#define CYGNET_UNSUPPORTED_MAX 64

/* Whether an upload may be sent again. */
typedef enum cygnet_delivery {
    CYGNET_DELIVERY_IDEMPOTENT = 0,  /* repeat freely until answered */
    CYGNET_DELIVERY_AT_MOST_ONCE = 1 /* never again once a byte may have left */
} cygnet_delivery;

/* Why the coordinator has no task for us. */
typedef enum cygnet_retry_reason {
    CYGNET_RETRY_BUSY = 0,     /* nothing now */
    CYGNET_RETRY_FINISHED = 1, /* the population's training is over */
    CYGNET_RETRY_STAY_AWAY = 2 /* kill switch: a long time */
} cygnet_retry_reason;

/* What a task asks for. */
typedef enum cygnet_task_kind {
    CYGNET_TASK_TRAIN = 0,   /* an update of the weights */
    CYGNET_TASK_EVALUATE = 1 /* how good the weights are on the device's examples */
} cygnet_task_kind;

/* What the client says of itself at check-in. Strings are borrowed.
 *
 * architectures, codecs  names it can work with, ended by NULL; the whole list
 *                        may be NULL: not told */
typedef struct cygnet_check_in {
    uint32_t struct_size;
    const char *population;
    const char *client_id;
    uint64_t n_examples; /* 0: not told */
    uint64_t max_model_bytes;
    uint32_t n_cpus;
    uint64_t last_round;  /* 0: none */
    double last_utility;  /* statistical utility of the last round; NaN: none */
    double samples_per_s; /* of the last round; NaN: unknown */
    cygnet_device_state device;
    const char *const *architectures;
    const char *const *codecs;
} cygnet_check_in;

/* A unit of work, with every default filled in and every limit checked. Fixed
 * size and free of pointers, so that it can be journalled.
 *
 * token         names this attempt; goes with lease, upload and report
 * lease_s       the coordinator counts the participant as lost when it has not
 *               heard of the token for so long
 * deadline_s    seconds from check-in until the round closes; see waited_ms
 * architecture  zoo name with arguments, as cygnet_model_options.architecture
 * input         one example; n_input_dims 0: the architecture's own
 * epochs        passes over the data; used when steps is 0
 * steps         optimiser steps; 0: by epochs
 * max_examples  use at most so many of the device's examples; 0: all
 * seed          of shuffling and stochastic rounding
 * codec         of the update: "none", "int8", "weights" (the local weights themselves)
 * unsupported   not empty: what the task requires and this dialect does not know;
 *               the round must be declined (outcome aborted) with this reason
 * policy        who chooses the cores, where the app leaves that to the task
 *               (CYGNET_POLICY_TASK)
 * n_threads     with CYGNET_POLICY_FIXED: the threads, at most the app's; 0: those
 * max_round_mj  most energy that the training may take, as the app's option of that
 *               name; the stricter of the two holds; 0: no limit
 * kind          of an evaluation, epochs, steps, lr, momentum, weight_decay, seed, codec
 *               and max_update_bytes mean nothing, and batch is but a piece */
typedef struct cygnet_task {
    char id[CYGNET_TASK_ID_MAX + 1];
    char token[CYGNET_TOKEN_MAX + 1];
    uint64_t round;
    uint32_t lease_s;
    uint32_t deadline_s;
    char architecture[CYGNET_ARCHITECTURE_MAX + 1];
    uint32_t n_classes;
    uint32_t n_input_dims;
    uint32_t input[4];
    char weights_url[512];
    uint64_t weights_bytes;
    char weights_sha256[CYGNET_SHA256_HEX + 1];
    char collection[CYGNET_COLLECTION_MAX + 1];
    char selector[CYGNET_COLLECTION_MAX + 1];
    uint32_t epochs;
    uint32_t steps;
    uint32_t batch;
    uint64_t max_examples;
    float lr;
    float momentum;
    float weight_decay;
    uint64_t seed;
    char codec[CYGNET_CODEC_MAX + 1];
    uint64_t max_update_bytes;
    cygnet_requirement charging;
    cygnet_requirement idle;
    cygnet_requirement unmetered;
    int32_t min_battery_percent;
    char unsupported[CYGNET_UNSUPPORTED_MAX + 1];
    cygnet_policy policy;
    uint32_t n_threads;
    uint64_t max_round_mj;
    cygnet_task_kind kind;
} cygnet_task;

/* The answer to a check-in: a task, or a window [min_s, max_s] (seconds from
 * now) from which the client draws its next attempt uniformly.
 *
 * waited_ms  of the check-in, until the coordinator was asked for this task: a
 *            dialect that waits for work says so, and deadline_s counts from then */
typedef struct cygnet_answer {
    int32_t has_task;
    cygnet_task task;
    cygnet_retry_reason reason;
    uint32_t retry_min_s;
    uint32_t retry_max_s;
    uint32_t waited_ms;
} cygnet_answer;

/* How an upload or a lease renewal was received. */
typedef enum cygnet_receipt {
    CYGNET_RECEIPT_ACCEPTED = 0, /* durable on the server, or the lease renewed */
    CYGNET_RECEIPT_TOO_LATE = 1, /* the round is closed or the token gone */
    CYGNET_RECEIPT_REJECTED = 2  /* not usable; err->message says why */
} cygnet_receipt;

/* What the client measured in a round, and how that has ended for it.
 *
 * outcome, reason    of upload's metrics: NONE and ""
 * examples           distinct ones that were trained on, or evaluated
 * utility            |B| sqrt(mean loss^2) over an epoch, Oort (OSDI 2021) eq. 2
 * loss_sum           EVALUATE: sum over the examples of the cross-entropy, in nats
 * top_1, top_5       EVALUATE: examples whose label has the largest output, or one of
 *                    the five largest (ties: the lower class first)
 * moving_loss        TRAIN: of the steps' mean losses in the first epoch, the first,
 *                    and then 0.8 of what it was and 0.2 of the next; NaN: no step
 * last_loss_squared  TRAIN: mean over the last step's batch of each example's loss,
 *                    squared; NaN: no step
 * unique_examples    TRAIN: at most so many distinct examples were seen: the smaller of
 *                    those there are and steps taken times batch */
typedef struct cygnet_round_report {
    uint32_t struct_size;
    cygnet_outcome outcome;
    const char *reason; /* one line; never about an example */
    uint64_t examples;
    uint64_t steps;
    double loss_first;
    double loss_last;
    double accuracy;
    double utility;
    int64_t train_ms;
    uint64_t bytes_up;
    uint64_t bytes_down;
    double loss_sum;
    uint64_t top_1;
    uint64_t top_5;
    double moving_loss;
    double last_loss_squared;
    uint64_t unique_examples;
} cygnet_round_report;

/* bytes  moved since the call began (a total, not a step) */
typedef void (*cygnet_progress)(uint64_t bytes, void *user);

/* What is uploaded. All is borrowed for the call.
 *
 * update    the container of docs/update-format.md, len bytes
 * metrics   what training measured, also after a restart
 * progress  of the bytes that have left */
typedef struct cygnet_upload {
    uint32_t struct_size;
    const void *update;
    size_t len;
    const cygnet_round_report *metrics;
    cygnet_progress progress;
    void *user;
} cygnet_upload;

/* A dialect. Calls block, come from one thread at a time, look at *stop at
 * least every 100 ms and return ECANCELLED when it is set. Transient
 * trouble is ENETWORK, ETIMEOUT or ESERVER; the caller decides about retries.
 *
 * delivery       of upload
 * retry_after_s  what the server last asked us to wait (Retry-After), else 0
 * check_in       asks for work
 * fetch          the task's global weights, verified, from cache or network;
 *                progress counts bytes that came over the network
 * upload         repeatable when delivery is idempotent
 * renew          tells the coordinator that the token is alive; may be NULL
 * report         best effort; may be NULL when the protocol has none. With outcome
 *                EVALUATED it is the result of an evaluation: then trouble that passes
 *                is waited out, as upload's is
 * min_examples   a device with fewer may not check in; the data is then opened once
 *                before the first check-in, with an empty collection and selector or
 *                those of cygnet_options.job. 0: check-in need not know */
typedef struct cygnet_coordinator {
    uint32_t struct_size;
    cygnet_delivery delivery;
    cygnet_status (*check_in)(struct cygnet_coordinator *c, cygnet_answer *answer,
                              const cygnet_check_in *hello, const cygnet_stop *stop,
                              cygnet_error *err);
    cygnet_status (*fetch)(struct cygnet_coordinator *c, cygnet_tensors **weights,
                           const cygnet_task *task, cygnet_progress progress, void *user,
                           const cygnet_stop *stop, cygnet_error *err);
    cygnet_status (*upload)(struct cygnet_coordinator *c, cygnet_receipt *receipt,
                            const cygnet_task *task, const cygnet_upload *what,
                            const cygnet_stop *stop, cygnet_error *err);
    cygnet_status (*renew)(struct cygnet_coordinator *c, cygnet_receipt *receipt,
                           uint32_t *lease_s, const cygnet_task *task,
                           const cygnet_stop *stop, cygnet_error *err);
    cygnet_status (*report)(struct cygnet_coordinator *c, const cygnet_task *task,
                            const cygnet_round_report *report, const cygnet_stop *stop,
                            cygnet_error *err);
    uint32_t (*retry_after_s)(struct cygnet_coordinator *c);
    uint32_t min_examples;
} cygnet_coordinator;

#ifdef __cplusplus
}
#endif
#endif
