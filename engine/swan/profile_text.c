/* The public view of profiles, decisions and traces, as JSON (cygnet/swan.h). */
#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/swan/explore.h"
#include "engine/swan/policy.h"
#include "engine/swan/replay.h"

#include <assert.h>
#include <cygnet/swan.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WHY_BYTES = 2 * CHOICE_TEXT_BYTES };

/* Hands the text over, or frees it. */
static cygnet_status give(char **out, struct bytes *text, cygnet_status st,
                          cygnet_error *err)
{
    if (st == CYGNET_OK && !bytes_text(text))
        st = fail(err, CYGNET_ENOMEM, 0, "out of memory for a text");
    if (st == CYGNET_OK)
        *out = (char *)text->data;
    else
        bytes_clear(text);
    return st;
}

static void put_choice(struct json_builder *b, const char *key,
                       const struct profile *profile, int32_t entry)
{
    char name[CHOICE_TEXT_BYTES];

    if (entry < 0) {
        json_put_null(b, key);
        return;
    }
    profile_choice_text(name, profile, (size_t)entry);
    json_put_string(b, key, name);
}

static void put_energy(struct json_builder *b, const struct profile_entry *e)
{
    json_put_double(b, "step_mj", e->step_mj);
    json_put_double(b, "spread_mj", e->spread_mj);
    json_put_string(b, "energy_source", energy_source_name(e->energy_source));
    json_put_bool(b, "energy_measured", e->energy_is_measured);
}

static void put_row(struct json_builder *b, const struct profile *profile, size_t i)
{
    const struct profile_entry *e = &profile->entries[i];

    json_open_object(b, NULL);
    put_choice(b, "choice", profile, (int32_t)i);
    json_open_array(b, "cores");
    for (size_t k = 0; k < profile->n_clusters; k++)
        json_put_u64(b, NULL, e->choice.n_cores[k]);
    json_close(b);
    json_put_u64(b, "cost_rank", i + 1);
    json_put_double(b, "step_ms", e->step_ms);
    json_put_double(b, "spread_ms", e->spread_ms);
    json_put_double(b, "model_ms", e->model_ms);
    json_put_bool(b, "measured", e->n_samples > 0);
    json_put_u64(b, "steps", e->n_measured);
    put_energy(b, e);
    json_put_bool(b, "kept", e->pruned_by < 0);
    put_choice(b, "pruned_by", profile, e->pruned_by);
    json_close(b);
}

static cygnet_status write_table(struct bytes *out, const struct profile *profile,
                                 cygnet_error *err)
{
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "model", profile->key.model);
    json_put_string(b, "soc", profile->key.soc);
    json_put_string(b, "engine", profile->key.engine);
    json_put_bool(b, "complete", explore_is_done(profile));
    json_open_object(b, "explored");
    json_put_u64(b, "steps", profile->explored.n_steps);
    json_put_double(b, "lost", profile->explored.n_lost);
    json_close(b);
    json_open_array(b, "choices");
    for (size_t i = 0; i < profile->n_entries; i++)
        put_row(b, profile, i);
    json_close(b);
    json_close(b);
    return json_build_finish(b, out, err);
}

/* Reads a stored profile into new memory. */
static cygnet_status load(struct profile **out, const char *text, size_t len,
                          cygnet_error *err)
{
    cygnet_status st;

    *out = mem_alloc(NULL, sizeof(**out));
    if (!*out)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a profile");
    st = profile_read(*out, text, len, err);
    if (st != CYGNET_OK) {
        mem_free(NULL, *out);
        *out = NULL;
    }
    return st;
}

cygnet_status cygnet_swan_profile(char **out, const char *text, size_t len,
                                  const cygnet_allocator *alloc, cygnet_error *err)
{
    struct profile *profile;
    struct bytes table;
    cygnet_status st;

    *out = NULL;
    st = load(&profile, text, len, err);
    if (st != CYGNET_OK)
        return st;
    assert(profile);
    bytes_init(&table, PROFILE_MAX_BYTES, alloc);
    st = write_table(&table, profile, err);
    mem_free(NULL, profile);
    return give(out, &table, st, err);
}

/* ---- Explaining ------------------------------------------------------------ */

void cygnet_swan_question_init(cygnet_swan_question *question)
{
    *question = (cygnet_swan_question){.struct_size = sizeof(*question),
                                       .policy = CYGNET_POLICY_SWAN,
                                       .seconds_left = -1};
}

static double more(double value, double than)
{
    return 100 * (value / than - 1);
}

/* Why the policy does not take an entry of the frontier, in a line. */
static void say_why_not(char out[WHY_BYTES], const struct policy_input *in,
                        const struct policy_decision *decision, size_t entry)
{
    const struct profile_entry *e = &in->profile->entries[entry];
    const struct profile_entry *used = &in->profile->entries[decision->entry];
    double seconds = e->step_ms * (double)in->steps_left / 1000;

    if (!choice_is_possible(&e->choice, in->soc))
        (void)snprintf(out, WHY_BYTES, "its cores may not be used now");
    else if (!profile_has_measurement(in->profile))
        (void)snprintf(out, WHY_BYTES, "nothing is measured yet");
    else if (!isinf(in->ms_left) && seconds > in->ms_left / 1000)
        (void)snprintf(out, WHY_BYTES, "needs %.3g s, and %.3g s are left", seconds,
                       in->ms_left / 1000);
    else if (decision->reason == REASON_LEAST_ENERGY && e->step_mj < used->step_mj &&
             !isinf(in->ms_left))
        (void)snprintf(out, WHY_BYTES, "needs %.3g s of %.3g s: not enough to spare",
                       seconds, in->ms_left / 1000);
    else if (decision->reason == REASON_LEAST_ENERGY && e->step_mj > used->step_mj)
        (void)snprintf(out, WHY_BYTES, "takes %.1f %% more energy, in %.1f %% %s time",
                       more(e->step_mj, used->step_mj),
                       fabs(more(e->step_ms, used->step_ms)),
                       e->step_ms > used->step_ms ? "more" : "less");
    else if (e->step_ms > used->step_ms)
        (void)snprintf(out, WHY_BYTES, "takes %.1f %% more time",
                       more(e->step_ms, used->step_ms));
    else if (entry > (size_t)decision->entry)
        (void)snprintf(out, WHY_BYTES, "costs the user more and is only %.1f %% faster",
                       -more(e->step_ms, used->step_ms));
    else
        (void)snprintf(out, WHY_BYTES, "the policy \"%s\" has not asked for it",
                       policy_reason_name(decision->reason));
}

static void put_others(struct json_builder *b, const struct policy_input *in,
                       const struct policy_decision *decision)
{
    char why_not[WHY_BYTES];

    json_open_array(b, "others");
    for (size_t i = 0; i < in->profile->n_entries && decision->entry >= 0; i++) {
        if (in->profile->entries[i].pruned_by >= 0 || i == (size_t)decision->entry)
            continue;
        say_why_not(why_not, in, decision, i);
        json_open_object(b, NULL);
        put_choice(b, "choice", in->profile, (int32_t)i);
        json_put_string(b, "why_not", why_not);
        json_close(b);
    }
    json_close(b);
}

static cygnet_status write_answer(struct bytes *out, const struct policy_input *in,
                                  cygnet_error *err)
{
    struct json_builder *b = json_build();
    struct policy_decision decision;

    policy_decide(&decision, in);
    json_open_object(b, NULL);
    put_choice(b, "choice", in->profile, decision.entry);
    json_put_string(b, "reason", policy_reason_name(decision.reason));
    json_put_string(b, "why", decision.why);
    if (decision.entry >= 0)
        put_energy(b, &in->profile->entries[decision.entry]);
    put_others(b, in, &decision);
    json_close(b);
    return json_build_finish(b, out, err);
}

static cygnet_status find_cores(struct soc *out, const struct profile *profile,
                                const char *root, cygnet_error *err)
{
    cygnet_status st;

    if (!root) {
        profile_soc(out, profile);
        return CYGNET_OK;
    }
    st = soc_read(out, root, err);
    if (st == CYGNET_OK && strcmp(out->fingerprint, profile->key.soc) != 0)
        st = fail(err, CYGNET_ENOTFOUND, 0, "the profile is of another SoC than %.200s",
                  root);
    return st;
}

static cygnet_status answer(struct bytes *out, const struct profile *profile,
                            const cygnet_swan_question *question, cygnet_error *err)
{
    struct soc soc;
    struct policy_input in = {
        .profile = profile,
        .soc = &soc,
        .kind = question->policy,
        .current = -1,
        .steps_left = question->steps_left,
        .ms_left =
            question->seconds_left < 0 ? (double)INFINITY : question->seconds_left * 1000,
        .mj_left = INFINITY,
        .slowdown = 1,
        .may_upgrade = true,
    };
    cygnet_status st = find_cores(&soc, profile, question->root, err);

    return st == CYGNET_OK ? write_answer(out, &in, err) : st;
}

cygnet_status cygnet_swan_explain(char **out, const char *text, size_t len,
                                  const cygnet_swan_question *question,
                                  const cygnet_allocator *alloc, cygnet_error *err)
{
    struct profile *profile;
    struct bytes reply;
    cygnet_status st;

    *out = NULL;
    if (question->struct_size < sizeof(*question) || isnan(question->seconds_left) ||
        (question->policy != CYGNET_POLICY_SWAN &&
         question->policy != CYGNET_POLICY_GREEDY &&
         question->policy != CYGNET_POLICY_EFFICIENT))
        return fail(err, CYGNET_EINVAL, 0,
                    "question: want an initialised one of swan, greedy or efficient");
    st = load(&profile, text, len, err);
    if (st != CYGNET_OK)
        return st;
    assert(profile);
    bytes_init(&reply, PROFILE_MAX_BYTES, alloc);
    st = answer(&reply, profile, question, err);
    mem_free(NULL, profile);
    return give(out, &reply, st, err);
}

cygnet_status cygnet_swan_replay(char **out, const char *trace, size_t len,
                                 const cygnet_allocator *alloc, cygnet_error *err)
{
    struct bytes reply;
    cygnet_status st;

    *out = NULL;
    bytes_init(&reply, REPLAY_MAX_OUT_BYTES, alloc);
    st = replay_run(&reply, trace, len, err);
    return give(out, &reply, st, err);
}
