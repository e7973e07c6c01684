/* The public view of profiles, decisions and traces, as JSON (cygnet/swan.h). */
#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/swan/explore.h"
#include "engine/swan/policy_why_not.h"
#include "engine/swan/replay.h"

#include <assert.h>
#include <cygnet/swan.h>
#include <math.h>
#include <string.h>

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
                          const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_status st;

    *out = mem_alloc(alloc, sizeof(**out));
    if (!*out)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a profile");
    st = profile_read(*out, text, len, err);
    if (st != CYGNET_OK) {
        mem_free(alloc, *out);
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
    st = load(&profile, text, len, alloc, err);
    if (st != CYGNET_OK)
        return st;
    assert(profile);
    bytes_init(&table, PROFILE_MAX_BYTES, alloc);
    st = write_table(&table, profile, err);
    mem_free(alloc, profile);
    if (st == CYGNET_OK)
        st = bytes_give(out, &table, err);
    bytes_clear(&table);
    return st;
}

/* ---- Explaining ------------------------------------------------------------ */

void cygnet_swan_question_init(cygnet_swan_question *question)
{
    *question = (cygnet_swan_question){.struct_size = sizeof(*question),
                                       .policy = CYGNET_POLICY_SWAN,
                                       .seconds_left = -1};
}

/* What else the policy had to choose from. */
static void put_others(struct json_builder *b, const struct policy_input *in,
                       const struct policy_decision *decision)
{
    char why_not[POLICY_WHY_BYTES];
    struct view view;

    view_make(&view, in);
    json_open_array(b, "others");
    for (size_t i = 0; i < view.n && decision->entry >= 0; i++) {
        if (i == (size_t)decision->entry || !policy_thinks_of(&view, i))
            continue;
        policy_why_not(why_not, &view, decision, i);
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
    st = load(&profile, text, len, alloc, err);
    if (st != CYGNET_OK)
        return st;
    assert(profile);
    bytes_init(&reply, PROFILE_MAX_BYTES, alloc);
    st = answer(&reply, profile, question, err);
    mem_free(alloc, profile);
    if (st == CYGNET_OK)
        st = bytes_give(out, &reply, err);
    bytes_clear(&reply);
    return st;
}

cygnet_status cygnet_swan_replay(char **out, const char *trace, size_t len,
                                 const cygnet_allocator *alloc, cygnet_error *err)
{
    struct bytes reply;
    cygnet_status st;

    *out = NULL;
    bytes_init(&reply, REPLAY_MAX_OUT_BYTES, alloc);
    st = replay_run(&reply, trace, len, err);
    if (st == CYGNET_OK)
        st = bytes_give(out, &reply, err);
    bytes_clear(&reply);
    return st;
}
