/* Reading a check-in's answer. Every limit of docs/protocol.md has its one place
 * here; nothing is taken on trust. */
#include "transport/native_task.h"

#include "base/error.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#define MAX_CLASSES 65536u
#define MAX_INPUT_SIDE 65536u
#define MAX_PASSES 1000000u
#define MAX_BATCH 65536u
#define MAX_LR 1000.0
#define MAX_MOMENTUM 0.9999999 /* below 1, also as a float */
#define MAX_WEIGHT_DECAY 1.0
#define MAX_THREADS 64u

/* One object being read. Remembers its first failure, so that the readers below
 * need no check after each member. */
struct reader {
    const struct json *object;
    const char *where;
    cygnet_status st;
    cygnet_error *err;
};

enum presence { OPTIONAL, REQUIRED };

static void read_u64(struct reader *r, uint64_t *out, const char *key, uint64_t min,
                     uint64_t max, enum presence presence)
{
    if (r->st == CYGNET_OK)
        r->st = json_read_u64(out, r->object, key, min, max, presence == REQUIRED,
                              r->where, r->err);
}

static void read_u32(struct reader *r, uint32_t *out, const char *key, uint32_t min,
                     uint32_t max, enum presence presence)
{
    if (r->st == CYGNET_OK)
        r->st = json_read_u32(out, r->object, key, min, max, presence == REQUIRED,
                              r->where, r->err);
}

static void read_float(struct reader *r, float *out, const char *key, double max,
                       enum presence presence)
{
    double value = 0.0;

    if (r->st == CYGNET_OK)
        r->st = json_read_double(&value, r->object, key, 0.0, max, presence == REQUIRED,
                                 r->where, r->err);
    if (r->st == CYGNET_OK)
        *out = (float)value;
}

static bool is_clean(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    }
    return true;
}

static void refuse(struct reader *r, const char *key, const char *why)
{
    if (r->st == CYGNET_OK)
        r->st = fail(r->err, CYGNET_EFORMAT, 0, "%s.%s %s", r->where, key, why);
}

/* Text of at most size - 1 bytes; required text must not be empty. */
static void read_text(struct reader *r, char *out, size_t size, const char *key,
                      enum presence presence)
{
    if (r->st == CYGNET_OK)
        r->st = json_read_string(out, size, r->object, key, presence == REQUIRED,
                                 r->where, r->err);
    if (r->st == CYGNET_OK && presence == REQUIRED && !out[0])
        refuse(r, key, "is empty");
    if (r->st == CYGNET_OK && !is_clean(out))
        refuse(r, key, "holds a control character");
}

/* The member as an object of its own; absent optional ones read as empty. */
static struct reader enter(struct reader *r, const char *key, const char *where,
                           enum presence presence)
{
    struct reader inner = {.where = where, .err = r->err};

    if (r->st == CYGNET_OK)
        r->st = json_read_object(&inner.object, r->object, key, presence == REQUIRED,
                                 r->where, r->err);
    inner.st = r->st;
    return inner;
}

static void leave(struct reader *r, const struct reader *inner)
{
    r->st = inner->st;
}

/* ---- The parts of a task ------------------------------------------------- */

static void read_token(struct reader *r, cygnet_task *task)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

    read_text(r, task->token, sizeof(task->token), "token", REQUIRED);
    if (r->st == CYGNET_OK && task->token[strspn(task->token, allowed)])
        refuse(r, "token", "holds more than letters, digits, '_' and '-'");
}

static void read_input(struct reader *r, cygnet_task *task)
{
    const struct json *input = json_member(r->object, "input");
    size_t n = json_count(input);

    if (r->st != CYGNET_OK || !input || json_is_null(input))
        return;
    if (!json_is_array(input) || n < 1 || n > 4) {
        refuse(r, "input", "is not a list of 1 to 4 numbers");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double side = json_number(json_at(input, i), 0.0);

        if (!(side >= 1.0 && side <= MAX_INPUT_SIDE) || side != (double)(uint32_t)side) {
            refuse(r, "input", "holds something else than whole numbers of 1 to 65536");
            return;
        }
        task->input[i] = (uint32_t)side;
    }
    task->n_input_dims = (uint32_t)n;
}

static void read_sha256(struct reader *r, cygnet_task *task)
{
    read_text(r, task->weights_sha256, sizeof(task->weights_sha256), "sha256", REQUIRED);
    if (r->st == CYGNET_OK &&
        strspn(task->weights_sha256, "0123456789abcdef") != CYGNET_SHA256_HEX)
        refuse(r, "sha256", "is not 64 lower-case hex digits");
}

static void read_model(struct reader *task_reader, cygnet_task *task)
{
    struct reader model = enter(task_reader, "model", "task.model", REQUIRED);
    struct reader weights;

    read_text(&model, task->architecture, sizeof(task->architecture), "architecture",
              REQUIRED);
    read_u32(&model, &task->n_classes, "classes", 2, MAX_CLASSES, REQUIRED);
    read_input(&model, task);
    weights = enter(&model, "weights", "task.model.weights", REQUIRED);
    read_text(&weights, task->weights_url, sizeof(task->weights_url), "url", REQUIRED);
    read_u64(&weights, &task->weights_bytes, "size", 1, NATIVE_MAX_INTEGER, REQUIRED);
    read_sha256(&weights, task);
    leave(&model, &weights);
    leave(task_reader, &model);
}

static void read_data(struct reader *task_reader, cygnet_task *task)
{
    struct reader data = enter(task_reader, "data", "task.data", OPTIONAL);

    if (data.object) {
        read_text(&data, task->collection, sizeof(task->collection), "collection",
                  OPTIONAL);
        read_text(&data, task->selector, sizeof(task->selector), "selector", OPTIONAL);
    }
    leave(task_reader, &data);
}

/* The only optimiser so far is SGD; another one, whose settings we cannot judge,
 * makes the client decline. */
static void read_optimizer(struct reader *training, cygnet_task *task)
{
    struct reader sgd = enter(training, "optimizer", "task.training.optimizer", REQUIRED);
    char name[CYGNET_CODEC_MAX + 1] = "";

    read_text(&sgd, name, sizeof(name), "name", REQUIRED);
    if (sgd.st == CYGNET_OK && strcmp(name, "sgd") != 0) {
        (void)snprintf(task->unsupported, sizeof(task->unsupported), "optimizer %.50s",
                       name);
        return;
    }
    read_float(&sgd, &task->lr, "lr", MAX_LR, REQUIRED);
    read_float(&sgd, &task->momentum, "momentum", MAX_MOMENTUM, OPTIONAL);
    read_float(&sgd, &task->weight_decay, "weight_decay", MAX_WEIGHT_DECAY, OPTIONAL);
    leave(training, &sgd);
}

static void read_training(struct reader *task_reader, cygnet_task *task)
{
    struct reader training = enter(task_reader, "training", "task.training", REQUIRED);

    read_u32(&training, &task->epochs, "epochs", 0, MAX_PASSES, OPTIONAL);
    read_u32(&training, &task->steps, "steps", 0, MAX_PASSES, OPTIONAL);
    if (training.st == CYGNET_OK && task->epochs == 0 && task->steps == 0)
        refuse(&training, "epochs", "and steps are both absent or 0");
    read_u32(&training, &task->batch, "batch", 1, MAX_BATCH, REQUIRED);
    read_u64(&training, &task->max_examples, "max_examples", 0, NATIVE_MAX_INTEGER,
             OPTIONAL);
    read_u64(&training, &task->seed, "seed", 0, NATIVE_MAX_INTEGER, OPTIONAL);
    read_optimizer(&training, task);
    leave(task_reader, &training);
}

static void read_update(struct reader *task_reader, cygnet_task *task)
{
    struct reader update = enter(task_reader, "update", "task.update", REQUIRED);

    read_text(&update, task->codec, sizeof(task->codec), "codec", REQUIRED);
    read_u64(&update, &task->max_update_bytes, "max_bytes", 0, NATIVE_MAX_INTEGER,
             OPTIONAL);
    leave(task_reader, &update);
}

static void read_requirement(struct reader *r, cygnet_requirement *out, const char *key)
{
    char word[16] = "ignored";

    read_text(r, word, sizeof(word), key, OPTIONAL);
    if (r->st != CYGNET_OK)
        return;
    if (strcmp(word, "required") == 0)
        *out = CYGNET_REQUIRED;
    else if (strcmp(word, "preferred") == 0)
        *out = CYGNET_PREFERRED;
    else if (strcmp(word, "ignored") == 0)
        *out = CYGNET_IGNORED;
    else
        refuse(r, key, "is not \"required\", \"preferred\" or \"ignored\"");
}

static void read_eligibility(struct reader *task_reader, cygnet_task *task)
{
    struct reader rule = enter(task_reader, "eligibility", "task.eligibility", OPTIONAL);
    uint32_t percent = 0;

    if (rule.object) {
        read_requirement(&rule, &task->charging, "charging");
        read_requirement(&rule, &task->idle, "idle");
        read_requirement(&rule, &task->unmetered, "unmetered");
        read_u32(&rule, &percent, "min_battery_percent", 0, 100, OPTIONAL);
    }
    task->min_battery_percent = (int32_t)percent;
    leave(task_reader, &rule);
}

static bool find_policy(cygnet_policy *out, const char *name)
{
    static const char *const names[] = {"swan", "greedy", "fixed", "efficient"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (cygnet_policy)i;
            return true;
        }
    }
    return false;
}

/* A policy of a later version changes no result: without it training runs as if the
 * task had named none, unless the task requires that it is known.
 * unknown  receives its name, else "" */
static void read_execution(struct reader *task_reader, cygnet_task *task,
                           char unknown[CYGNET_CODEC_MAX + 1])
{
    struct reader way = enter(task_reader, "execution", "task.execution", OPTIONAL);

    unknown[0] = '\0';
    if (way.object) {
        read_text(&way, unknown, CYGNET_CODEC_MAX + 1, "policy", OPTIONAL);
        read_u32(&way, &task->n_threads, "threads", 0, MAX_THREADS, OPTIONAL);
        read_u64(&way, &task->max_round_mj, "max_round_mj", 0, NATIVE_MAX_INTEGER,
                 OPTIONAL);
    }
    if (way.st == CYGNET_OK && find_policy(&task->policy, unknown))
        unknown[0] = '\0';
    leave(task_reader, &way);
}

/* Whether a requirement is met. The only one that this version of the dialect knows is
 * that what the task says of its execution is. */
static bool is_met(const char *requirement, const char *unknown_policy)
{
    return strcmp(requirement, "execution") == 0 && !unknown_policy[0];
}

static void say_unsupported(cygnet_task *task, const char *requirement,
                            const char *unknown_policy)
{
    if (strcmp(requirement, "execution") == 0)
        (void)snprintf(task->unsupported, sizeof(task->unsupported), "policy %.50s",
                       unknown_policy);
    else
        (void)snprintf(task->unsupported, sizeof(task->unsupported), "%s", requirement);
}

/* The first one listed that is not met is the one that stops us. */
static void read_requires(struct reader *r, cygnet_task *task, const char *unknown_policy)
{
    const struct json *list = json_member(r->object, "requires");
    bool is_stopped = false;

    if (r->st != CYGNET_OK || !list || json_is_null(list))
        return;
    if (!json_is_array(list)) {
        refuse(r, "requires", "is not a list");
        return;
    }
    for (size_t i = 0; i < json_count(list); i++) {
        const char *name = json_text(json_at(list, i), NULL);

        if (!name || !name[0] || strlen(name) > CYGNET_UNSUPPORTED_MAX ||
            !is_clean(name)) {
            refuse(r, "requires", "holds something else than names of 1 to 64 bytes");
            return;
        }
        if (!is_stopped && !is_met(name, unknown_policy)) {
            say_unsupported(task, name, unknown_policy);
            is_stopped = true;
        }
    }
}

static cygnet_status read_task(cygnet_task *task, const struct json *object,
                               cygnet_error *err)
{
    struct reader r = {.object = object, .where = "task", .err = err};
    char unknown_policy[CYGNET_CODEC_MAX + 1];

    (void)snprintf(task->collection, sizeof(task->collection), "train");
    read_text(&r, task->id, sizeof(task->id), "id", REQUIRED);
    read_u64(&r, &task->round, "round", 1, NATIVE_MAX_INTEGER, REQUIRED);
    read_token(&r, task);
    read_u32(&r, &task->lease_s, "lease_s", 0, NATIVE_MAX_SECONDS, OPTIONAL);
    read_u32(&r, &task->deadline_s, "deadline_s", 1, NATIVE_MAX_SECONDS, REQUIRED);
    read_model(&r, task);
    read_data(&r, task);
    read_training(&r, task);
    read_update(&r, task);
    read_eligibility(&r, task);
    read_execution(&r, task, unknown_policy);
    read_requires(&r, task, unknown_policy);
    return r.st;
}

/* ---- The retry window ---------------------------------------------------- */

/* A reason of a later version means what the mildest one does. */
static cygnet_retry_reason reason_of(const char *word)
{
    if (strcmp(word, "finished") == 0)
        return CYGNET_RETRY_FINISHED;
    if (strcmp(word, "stay_away") == 0)
        return CYGNET_RETRY_STAY_AWAY;
    return CYGNET_RETRY_BUSY;
}

static cygnet_status read_retry(cygnet_answer *out, const struct json *object,
                                cygnet_error *err)
{
    struct reader r = {.object = object, .where = "retry", .err = err};
    char reason[33] = "busy";

    read_u32(&r, &out->retry_min_s, "min_s", 0, NATIVE_MAX_SECONDS, REQUIRED);
    read_u32(&r, &out->retry_max_s, "max_s", 0, NATIVE_MAX_SECONDS, REQUIRED);
    read_text(&r, reason, sizeof(reason), "reason", OPTIONAL);
    if (r.st == CYGNET_OK && out->retry_min_s > out->retry_max_s)
        refuse(&r, "min_s", "is above max_s");
    out->reason = reason_of(reason);
    return r.st;
}

static cygnet_status read_answer(cygnet_answer *out, const struct json *document,
                                 cygnet_error *err)
{
    const struct json *task = NULL;
    const struct json *retry = NULL;
    cygnet_status st;

    if (!json_is_object(document))
        return fail(err, CYGNET_EFORMAT, 0, "not a JSON object");
    st = json_read_object(&task, document, "task", false, "answer", err);
    if (st == CYGNET_OK)
        st = json_read_object(&retry, document, "retry", false, "answer", err);
    if (st != CYGNET_OK)
        return st;
    if (!task == !retry)
        return fail(err, CYGNET_EPROTOCOL, 0, "%s a retry window",
                    task ? "both a task and" : "neither a task nor");
    out->has_task = task != NULL;
    return task ? read_task(&out->task, task, err) : read_retry(out, retry, err);
}

cygnet_status native_answer_parse(cygnet_answer *out, const void *text, size_t len,
                                  cygnet_error *err)
{
    struct json *document = NULL;
    cygnet_status st = json_parse(&document, text, len, &JSON_DEFAULT_LIMITS, err);

    memset(out, 0, sizeof(*out));
    if (st == CYGNET_OK)
        st = read_answer(out, document, err);
    json_destroy(document);
    if (st != CYGNET_OK) {
        memset(out, 0, sizeof(*out));
        return fail_within(err, st, "answer to the check-in");
    }
    return CYGNET_OK;
}
