/* The engine's life, and what it remembers from one training to the next. */
#include "engine/swan/swan_parts.h"

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/pool/timed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Life -------------------------------------------------------------------- */

/* A model may be asked something outside of steps; that runs where it is asked. */
static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct swan *swan = (struct swan *)executor;
    struct nn_executor *inner =
        swan->in_call ? pool_executor(swan->pool) : &nn_serial_executor;

    inner->run(inner, block, arg, n_blocks);
}

static uint32_t count_usable(const struct soc *soc)
{
    uint32_t n = 0;

    for (uint32_t k = 0; k < soc->n_clusters; k++)
        n += soc_n_usable(soc, k);
    return n;
}

/* The most threads: what is asked for, at most what there is. */
static uint32_t count_threads(const struct swan *swan)
{
    uint32_t n = count_usable(&swan->soc);

    if (swan->options.max_threads > 0 && swan->options.max_threads < n)
        n = swan->options.max_threads;
    return n < 1 ? 1 : n > POOL_MAX_THREADS ? POOL_MAX_THREADS : n;
}

/* So many of the most capable cores. */
static struct choice most_capable(const struct soc *soc, uint32_t n_threads)
{
    struct choice choice = {{0}};

    for (uint32_t k = 0; k < soc->n_clusters && n_threads > 0; k++) {
        uint32_t n = soc_n_usable(soc, k);

        if (n > n_threads)
            n = n_threads;
        choice.n_cores[k] = (uint8_t)n;
        n_threads -= n;
    }
    return choice;
}

static void init(struct swan *swan)
{
    struct energy_options energy = swan->options.energy;

    swan->executor = (struct nn_executor){run, count_threads(swan)};
    if (swan->options.policy != CYGNET_POLICY_TASK)
        swan->policy = swan->options.policy;
    swan->fixed = most_capable(&swan->soc, (uint32_t)swan->executor.n_workers);
    atomic_init(&swan->heat, -1);
    swan->entry = -1;
    swan->decision.entry = -1;
    swan->step.began_ms = (double)NAN;
    pthread_mutex_init(&swan->mutex, NULL);
    timed_init(&swan->wanted);
    energy.root = swan->root;
    energy_meter_init(&swan->meter, &energy);
    energy_idle_break(&swan->idle);
    swan_end_energy(swan);
    swan->began = swan->ended;
}

cygnet_status swan_create(struct swan **out, const struct swan_options *options,
                          cygnet_error *err)
{
    struct swan *swan = mem_calloc(options->alloc, 1, sizeof(*swan));
    cygnet_status st;

    *out = NULL;
    if (!swan)
        return fail(err, CYGNET_ENOMEM, 0, "no memory for the engine");
    swan->options = *options;
    (void)snprintf(swan->root, sizeof(swan->root), "%s", options->root);
    (void)snprintf(swan->engine, sizeof(swan->engine), "%s", options->engine);
    st = soc_read(&swan->soc, swan->root, err);
    if (st != CYGNET_OK) {
        mem_free(options->alloc, swan);
        return st;
    }
    init(swan);
    *out = swan;
    return CYGNET_OK;
}

void swan_destroy(struct swan *swan)
{
    if (!swan)
        return;
    swan_end(swan);
    pool_destroy(swan->pool);
    pthread_cond_destroy(&swan->wanted);
    pthread_mutex_destroy(&swan->mutex);
    mem_free(swan->options.alloc, swan);
}

struct nn_executor *swan_executor(struct swan *swan)
{
    return &swan->executor;
}

/* ---- A training -------------------------------------------------------------- */

static cygnet_status start_pool(struct swan *swan, cygnet_error *err)
{
    const struct swan_options *o = &swan->options;
    const struct pool_options options = {
        .n_threads = (uint32_t)swan->executor.n_workers,
        .has_leader = true,
        .yields = o->yields,
        .started = o->started,
        .user = o->user,
    };

    if (swan->pool)
        return CYGNET_OK;
    return pool_create_with(&swan->pool, &options, o->alloc, err);
}

static cygnet_status open_senses(struct swan *swan, cygnet_error *err)
{
    int32_t threads[POOL_MAX_THREADS];

    pool_threads(swan->pool, threads);
    return senses_open(&swan->senses, swan->root, threads, swan->executor.n_workers,
                       swan->options.alloc, err);
}

/* A profile that is not of this model, SoC and engine, or damaged, counts as none. */
static cygnet_status open_profile(struct swan *swan, const struct swan_training *training,
                                  cygnet_error *err)
{
    struct profile_key key = {.model = ""};
    cygnet_status st =
        sha256_hex(key.model, training->model, strlen(training->model), err);

    if (st != CYGNET_OK)
        return st;
    memcpy(key.soc, swan->soc.fingerprint, sizeof(key.soc));
    memcpy(key.engine, swan->engine, sizeof(key.engine));
    profile_init(&swan->profile, &key, &swan->soc, (uint32_t)swan->executor.n_workers);
    if (training->profile)
        st = profile_parse(&swan->profile, training->profile, training->profile_len, err);
    return st == CYGNET_ENOMEM ? st : CYGNET_OK;
}

/* A training chooses where the engine's owner left it to choose. */
static void take_policy(struct swan *swan, const struct swan_training *training)
{
    uint32_t n_threads = (uint32_t)swan->executor.n_workers;

    if (swan->options.policy != CYGNET_POLICY_TASK)
        return;
    swan->policy = training->policy;
    if ((uint32_t)training->policy > CYGNET_POLICY_EFFICIENT)
        swan->policy = CYGNET_POLICY_SWAN;
    if (training->n_threads > 0 && training->n_threads < n_threads)
        n_threads = training->n_threads;
    swan->fixed = most_capable(&swan->soc, n_threads);
}

static void begin(struct swan *swan, const struct swan_training *training)
{
    swan->steps_left = training->n_steps;
    swan->ms_left = training->ms_left;
    swan->stop = training->stop;
    swan->entry = -1;
    swan->decision = (struct policy_decision){.entry = -1};
    swan->granted = (struct pool_grant){0};
    swan->is_placed = swan->must_grant = swan->must_refresh = false;
    swan->news.n = 0;
    swan->counters = (struct swan_counters){0};
    swan->n_looks = 0;
    controller_init(&swan->controller, swan_now_ms());
    explore_init(&swan->explore);
    swan_begin_energy(swan, training->mj_left);
    swan->is_training = true;
    swan_look(swan);
    take_policy(swan, training);
    swan_decide(swan);
}

bool swan_reacts(const struct swan *swan)
{
    return swan->policy == CYGNET_POLICY_SWAN || swan->policy == CYGNET_POLICY_EFFICIENT;
}

cygnet_status swan_begin(struct swan *swan, const struct swan_training *training,
                         cygnet_error *err)
{
    cygnet_status st;

    if (swan->is_training)
        return fail(err, CYGNET_EINVAL, 0, "a training is under way");
    st = start_pool(swan, err);
    if (st == CYGNET_OK)
        st = open_profile(swan, training, err);
    if (st == CYGNET_OK)
        st = open_senses(swan, err);
    if (st != CYGNET_OK)
        return st;
    pthread_mutex_lock(&swan->mutex);
    begin(swan, training);
    pthread_mutex_unlock(&swan->mutex);
    st = swan_start_looking(swan, err);
    if (st != CYGNET_OK)
        swan_end(swan);
    return st;
}

void swan_end(struct swan *swan)
{
    if (!swan->is_training)
        return;
    swan_stop_looking(swan);
    swan_tell(swan);
    senses_close(swan->senses);
    swan->senses = NULL;
    pthread_mutex_lock(&swan->mutex);
    swan->is_training = false;
    swan_end_energy(swan);
    pthread_mutex_unlock(&swan->mutex);
}

void swan_set_heat(struct swan *swan, int32_t heat)
{
    atomic_store(&swan->heat, heat < -1 ? -1 : heat > 3 ? 3 : heat);
}

bool swan_is_paused(struct swan *swan)
{
    bool is_paused;

    pthread_mutex_lock(&swan->mutex);
    is_paused = swan->is_training && swan->decision.entry < 0;
    pthread_mutex_unlock(&swan->mutex);
    swan_tell(swan);
    return is_paused;
}

void swan_count(struct swan_counters *out, struct swan *swan)
{
    struct energy_reading all;
    struct energy_mark now;

    pthread_mutex_lock(&swan->mutex);
    now = swan->ended;
    if (swan->is_training)
        energy_meter_mark(&now, &swan->meter, swan_energy_ms(swan));
    energy_marginal(&all, &swan->meter, &swan->began, &now);
    *out = swan->counters;
    out->mj = all.mj;
    out->n_looks = swan->n_looks;
    pthread_mutex_unlock(&swan->mutex);
}

void swan_peek(struct swan_peek *out, struct swan *swan)
{
    pthread_mutex_lock(&swan->mutex);
    out->n_threads = swan->is_training ? swan->granted.n_threads : 0;
    if (swan->decision.entry < 0)
        out->n_threads = 0;
    out->disturbance = swan->controller.disturbance;
    pthread_mutex_unlock(&swan->mutex);
}

/* ---- What is kept and told --------------------------------------------------- */

cygnet_status swan_save(struct swan *swan, struct bytes *out, cygnet_error *err)
{
    cygnet_status st;

    pthread_mutex_lock(&swan->mutex);
    st = profile_write(out, &swan->profile, err);
    pthread_mutex_unlock(&swan->mutex);
    return st;
}

static void put_cores(struct json_builder *b, const struct swan *swan)
{
    const struct controller *c = &swan->controller;

    json_open_array(b, "cores");
    for (uint32_t i = 0; i < swan->soc.n_cores; i++) {
        json_open_object(b, NULL);
        json_put_u64(b, "cpu", swan->soc.cores[i].cpu);
        json_put_bool(b, "usable", soc_usable(&swan->soc.cores[i]));
        json_put_double(b, "waited", c->waits[i].level);
        json_put_double(b, "others", c->foreigns[i].level);
        json_put_bool(b, "wanted", controller_sees_wanted(c, i));
        json_close(b);
    }
    json_close(b);
}

/* Of a step on the choice, and what the round may still take; null: not known, or no
 * limit. */
static void put_energy(struct json_builder *b, const struct swan *swan)
{
    static const struct profile_entry unknown = {.step_mj = NAN, .spread_mj = NAN};
    int32_t entry = swan->decision.entry;
    const struct profile_entry *e = entry < 0 ? &unknown : &swan->profile.entries[entry];

    json_open_object(b, "energy");
    json_put_double(b, "step_mj", e->step_mj);
    json_put_double(b, "spread_mj", e->spread_mj);
    json_put_string(b, "source", energy_source_name(e->energy_source));
    json_put_bool(b, "measured", e->energy_is_measured);
    json_put_double(b, "budget_left_mj", swan->mj_left);
    json_close(b);
}

static void put_state(struct json_builder *b, const struct swan *swan)
{
    char text[CHOICE_TEXT_BYTES] = "pause";

    if (swan->decision.entry >= 0)
        profile_choice_text(text, &swan->profile, (size_t)swan->decision.entry);
    json_open_object(b, NULL);
    json_put_string(b, "policy", policy_kind_name(swan->policy));
    json_put_string(b, "choice", text);
    json_put_string(b, "reason", policy_reason_name(swan->decision.reason));
    json_put_string(b, "why", swan->decision.why);
    json_put_string(b, "disturbance", disturbance_name(swan->controller.disturbance));
    json_put_double(b, "slowdown", swan->controller.slowdown);
    json_put_bool(b, "yields", swan->pool && pool_yields(swan->pool));
    json_put_u64(b, "switches", swan->counters.n_switches);
    json_put_u64(b, "explored_steps", swan->counters.n_explored);
    json_put_double(b, "longest_vacate_ms", swan->counters.vacate_ms);
    put_energy(b, swan);
    put_cores(b, swan);
    json_close(b);
}

cygnet_status swan_explain(struct swan *swan, struct bytes *out, cygnet_error *err)
{
    struct json_builder *b = json_build();

    pthread_mutex_lock(&swan->mutex);
    put_state(b, swan);
    pthread_mutex_unlock(&swan->mutex);
    return json_build_finish(b, out, err);
}
