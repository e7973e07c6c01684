/* See replay.h. */
#include "engine/swan/replay.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/swan/policy.h"

#include <math.h>
#include <string.h>

#define FORMAT 1
#define MAX_TIME 1e15
#define MAX_SLOWDOWN 1e6
enum { MAX_LEVEL = 3, WORD_BYTES = 16 };

static const struct json_limits LIMITS = {.max_bytes = REPLAY_MAX_BYTES,
                                          .max_depth = 8,
                                          .max_values = 400000};

/* profile  as it is after the steps so far; soc: as it is now
 * at_ms    of the step; number: which, for messages */
struct replay {
    struct profile profile;
    struct soc soc;
    struct policy_input input;
    struct policy_decision decision;
    double at_ms;
    size_t number;
};

/* What the step took, as the trace has it. ms is NaN: nothing was measured. */
struct taken {
    double ms;
    double mj;
    enum energy_source source;
    int32_t entry;
};

static cygnet_status read_word(size_t *out, const struct json *object, const char *key,
                               const char *const *words, size_t n, cygnet_error *err)
{
    char word[WORD_BYTES] = "";
    cygnet_status st =
        json_read_string(word, sizeof(word), object, key, false, "trace", err);

    *out = 0;
    if (st != CYGNET_OK || !word[0])
        return st;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            *out = i;
            return CYGNET_OK;
        }
    }
    return fail(err, CYGNET_EFORMAT, 0, "trace: %s: no such one: \"%s\"", key, word);
}

/* A number a cluster, each at most the cluster's cores. False in *there: no such member.
 */
static cygnet_status read_counts(uint32_t out[SOC_MAX_CLUSTERS], bool *there,
                                 const struct json *object, const char *key,
                                 const struct profile *profile, cygnet_error *err)
{
    const struct json *list = json_member(object, key);
    size_t k = 0;

    *there = list && !json_is_null(list);
    if (!*there)
        return CYGNET_OK;
    if (!json_is_array(list) || json_count(list) != profile->n_clusters)
        return fail(err, CYGNET_EFORMAT, 0, "trace: %s: want a number a cluster", key);
    for (const struct json *v = json_at(list, 0); v; v = json_next(v), k++) {
        double n = json_number(v, -1);

        if (!(n >= 0 && n <= profile->clusters[k].n_cores) || n != floor(n))
            return fail(err, CYGNET_EFORMAT, 0,
                        "trace: %s: want 0 to the cluster's cores", key);
        out[k] = (uint32_t)n;
    }
    return CYGNET_OK;
}

static cygnet_status read_choice(struct choice *out, bool *there,
                                 const struct json *object, const char *key,
                                 const struct profile *profile, cygnet_error *err)
{
    uint32_t counts[SOC_MAX_CLUSTERS] = {0};
    cygnet_status st = read_counts(counts, there, object, key, profile, err);

    for (size_t k = 0; k < profile->n_clusters && st == CYGNET_OK; k++) {
        if (counts[k] > CHOICE_MAX_CORES)
            return fail(err, CYGNET_EFORMAT, 0, "trace: %s: more than %d", key,
                        CHOICE_MAX_CORES);
        out->n_cores[k] = (uint8_t)counts[k];
    }
    return st;
}

static cygnet_status read_policy(struct replay *r, const struct json *root,
                                 cygnet_error *err)
{
    char name[WORD_BYTES] = "swan";
    bool there = false;
    cygnet_status st =
        json_read_string(name, sizeof(name), root, "policy", false, "trace", err);

    if (st == CYGNET_OK && !policy_kind_parse(&r->input.kind, name))
        st = fail(err, CYGNET_EFORMAT, 0, "trace: policy: no such one: \"%s\"", name);
    if (st == CYGNET_OK)
        st = read_choice(&r->input.fixed, &there, root, "fixed", &r->profile, err);
    if (st == CYGNET_OK && r->input.kind == CYGNET_POLICY_FIXED &&
        choice_n_threads(&r->input.fixed) == 0)
        st = fail(err, CYGNET_EFORMAT, 0, "trace: fixed: want a number a cluster");
    return st;
}

static cygnet_status read_usable(struct replay *r, const struct json *step,
                                 cygnet_error *err)
{
    uint32_t usable[SOC_MAX_CLUSTERS], seen[SOC_MAX_CLUSTERS] = {0};
    bool there;
    cygnet_status st = read_counts(usable, &there, step, "usable", &r->profile, err);

    for (size_t i = 0; i < r->soc.n_cores && st == CYGNET_OK; i++) {
        struct soc_core *core = &r->soc.cores[i];

        core->allowed = !there || seen[core->cluster]++ < usable[core->cluster];
    }
    return st;
}

static cygnet_status read_limits(struct policy_input *in, const struct json *step,
                                 cygnet_error *err)
{
    const char *where = "trace: steps";
    cygnet_status st = json_read_u64(&in->steps_left, step, "steps_left", 0,
                                     JSON_EXACT_MAX, false, where, err);

    if (st == CYGNET_OK)
        st = json_read_double(&in->ms_left, step, "ms_left", -MAX_TIME, MAX_TIME, false,
                              where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&in->mj_left, step, "mj_left", -MAX_TIME, MAX_TIME, false,
                              where, err);
    if (st == CYGNET_OK)
        st = json_read_u32(&in->level, step, "level", 0, MAX_LEVEL, false, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&in->slowdown, step, "slowdown", 0, MAX_SLOWDOWN, false,
                              where, err);
    return st;
}

static cygnet_status read_flags(struct policy_input *in, const struct json *step,
                                cygnet_error *err)
{
    const char *where = "trace: steps";
    cygnet_status st = json_read_bool(&in->yields, step, "yields", false, where, err);

    if (st == CYGNET_OK)
        st = json_read_bool(&in->may_upgrade, step, "may_upgrade", false, where, err);
    if (st == CYGNET_OK)
        st = json_read_bool(&in->recovering, step, "recovering", false, where, err);
    return st;
}

static cygnet_status read_observation(struct replay *r, const struct json *step,
                                      cygnet_error *err)
{
    static const char *const words[] = {
        [DISTURBANCE_NONE] = "none",       [DISTURBANCE_CONTENTION] = "contention",
        [DISTURBANCE_THERMAL] = "thermal", [DISTURBANCE_REVOKED] = "revoked",
        [DISTURBANCE_DATA] = "data",
    };
    struct policy_input *in = &r->input;
    size_t disturbance;
    bool there;
    cygnet_status st;

    *in = (struct policy_input){.profile = &r->profile,
                                .soc = &r->soc,
                                .kind = in->kind,
                                .fixed = in->fixed,
                                .current = in->current,
                                .ms_left = INFINITY,
                                .mj_left = INFINITY,
                                .slowdown = 1,
                                .yields = true,
                                .may_upgrade = true};
    st = read_word(&disturbance, step, "disturbance", words, 5, err);
    in->disturbance = (enum disturbance)disturbance;
    if (st == CYGNET_OK)
        st = json_read_double(&r->at_ms, step, "at_ms", -MAX_TIME, MAX_TIME, false,
                              "trace: steps", err);
    if (st == CYGNET_OK)
        st = read_limits(in, step, err);
    if (st == CYGNET_OK)
        st = read_flags(in, step, err);
    if (st == CYGNET_OK)
        st = read_counts(in->contended, &there, step, "contended", &r->profile, err);
    if (st == CYGNET_OK)
        st = read_usable(r, step, err);
    return st;
}

static cygnet_status read_ran(struct taken *out, const struct replay *r,
                              const struct json *step, cygnet_error *err)
{
    struct choice ran = {{0}};
    bool there = false;
    cygnet_status st = read_choice(&ran, &there, step, "cores", &r->profile, err);

    out->entry = there ? profile_find(&r->profile, &ran) : r->decision.entry;
    if (st == CYGNET_OK && there && out->entry < 0)
        st = fail(err, CYGNET_EFORMAT, 0, "trace: cores: no choice of the profile");
    return st;
}

static cygnet_status read_taken(struct taken *out, const struct replay *r,
                                const struct json *step, cygnet_error *err)
{
    static const char *const words[] = {
        [ENERGY_UNKNOWN] = "unknown", [ENERGY_HOST] = "host",   [ENERGY_RAPL] = "rapl",
        [ENERGY_BATTERY] = "battery", [ENERGY_MODEL] = "model",
    };
    const char *where = "trace: steps";
    size_t source = 0;
    cygnet_status st;

    *out = (struct taken){.ms = NAN, .mj = NAN};
    st = json_read_double(&out->ms, step, "step_ms", 1e-6, MAX_TIME, false, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&out->mj, step, "step_mj", -MAX_TIME, MAX_TIME, false,
                              where, err);
    if (st == CYGNET_OK)
        st = read_word(&source, step, "source", words, 5, err);
    out->source = (enum energy_source)source;
    if (st == CYGNET_OK)
        st = read_ran(out, r, step, err);
    return st;
}

static void put_decision(struct json_builder *b, const struct replay *r)
{
    char name[CHOICE_TEXT_BYTES];

    json_open_object(b, NULL);
    json_put_double(b, "at_ms", r->at_ms);
    if (r->decision.entry >= 0) {
        profile_choice_text(name, &r->profile, (size_t)r->decision.entry);
        json_put_string(b, "choice", name);
        json_put_u64(b, "entry", (uint64_t)r->decision.entry);
    } else {
        json_put_null(b, "choice");
        json_put_null(b, "entry");
    }
    json_put_string(b, "reason", policy_reason_name(r->decision.reason));
    json_put_string(b, "why", r->decision.why);
    json_close(b);
}

static cygnet_status run_step(struct json_builder *b, struct replay *r,
                              const struct json *step, cygnet_error *err)
{
    struct taken taken;
    cygnet_status st;

    if (!json_is_object(step))
        return fail(err, CYGNET_EFORMAT, 0, "trace: steps: want objects");
    st = read_observation(r, step, err);
    if (st != CYGNET_OK)
        return st;
    policy_decide(&r->decision, &r->input);
    put_decision(b, r);
    st = read_taken(&taken, r, step, err);
    if (st != CYGNET_OK)
        return st;
    if (!isnan(taken.ms) && taken.entry >= 0 &&
        r->input.disturbance == DISTURBANCE_NONE) {
        profile_add(&r->profile, (size_t)taken.entry, taken.ms, taken.mj, taken.source);
        profile_update(&r->profile);
    }
    r->input.current = r->decision.entry >= 0 ? r->decision.entry : r->input.current;
    return CYGNET_OK;
}

static cygnet_status run_steps(struct json_builder *b, struct replay *r,
                               const struct json *root, cygnet_error *err)
{
    const struct json *list = json_member(root, "steps");
    cygnet_status st = CYGNET_OK;

    if (!json_is_array(list))
        return fail(err, CYGNET_EFORMAT, 0, "trace: steps: want an array");
    if (json_count(list) > REPLAY_MAX_STEPS)
        return fail(err, CYGNET_ELIMIT, 0, "trace: steps: more than %d",
                    REPLAY_MAX_STEPS);
    for (const struct json *v = json_at(list, 0); v && st == CYGNET_OK;
         v = json_next(v)) {
        r->number++;
        st = run_step(b, r, v, err);
    }
    if (st != CYGNET_OK)
        return fail_within(err, st, "step %zu", r->number);
    return st;
}

static cygnet_status start(struct replay *r, const struct json *root, cygnet_error *err)
{
    const struct json *profile;
    uint64_t format;
    cygnet_status st;

    if (!json_is_object(root))
        return fail(err, CYGNET_EFORMAT, 0, "trace: want an object");
    st = json_read_u64(&format, root, "format", FORMAT, FORMAT, true, "trace", err);
    if (st == CYGNET_OK)
        st = json_read_object(&profile, root, "profile", true, "trace", err);
    if (st == CYGNET_OK)
        st = profile_read_value(&r->profile, profile, err);
    if (st == CYGNET_OK)
        st = read_policy(r, root, err);
    if (st == CYGNET_OK) {
        profile_soc(&r->soc, &r->profile);
        r->input.current = -1;
    }
    return st;
}

static cygnet_status run(struct bytes *out, struct replay *r, const struct json *root,
                         cygnet_error *err)
{
    struct json_builder *b;
    struct bytes text;
    cygnet_status st = start(r, root, err), finished;

    if (st != CYGNET_OK)
        return st;
    bytes_init(&text, REPLAY_MAX_OUT_BYTES, out->alloc);
    b = json_build();
    json_open_object(b, NULL);
    json_open_array(b, "steps");
    st = run_steps(b, r, root, err);
    json_close(b);
    json_close(b);
    finished = json_build_finish(b, &text, st == CYGNET_OK ? err : NULL);
    st = st == CYGNET_OK ? finished : st;
    if (st == CYGNET_OK)
        st = bytes_append(out, text.data, text.len, err);
    bytes_clear(&text);
    return st;
}

cygnet_status replay_run(struct bytes *out, const void *trace, size_t len,
                         cygnet_error *err)
{
    struct replay *r;
    struct json *root;
    cygnet_status st = json_parse(&root, trace, len, &LIMITS, err);

    if (st != CYGNET_OK)
        return st;
    r = mem_calloc(NULL, 1, sizeof(*r));
    if (r)
        st = run(out, r, root, err);
    else
        st = fail(err, CYGNET_ENOMEM, 0, "out of memory for a replay");
    mem_free(NULL, r);
    json_destroy(root);
    return st;
}
