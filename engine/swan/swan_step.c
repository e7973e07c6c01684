/* One step: on which choice, and what is learnt from it. */
#include "engine/swan/swan_parts.h"

#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

double swan_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

double swan_profiled_ms(const struct swan *swan)
{
    const struct profile_entry *e;

    if (swan->entry < 0)
        return (double)NAN;
    e = &swan->profile.entries[swan->entry];
    return e->n_measured > 0 ? e->step_ms : (double)NAN;
}

double swan_expected_ms(const struct swan *swan)
{
    return swan->step.is_mixed ? (double)NAN : swan_profiled_ms(swan);
}

/* ---- Energy ------------------------------------------------------------------ */

/* A new stretch of clean steps begins here. */
static void begin_stretch(struct swan *swan)
{
    energy_meter_mark(&swan->energy_from, &swan->meter, swan_energy_ms(swan));
    swan->energy_steps = 0;
}

/* What a step of the stretch took, once enough steps are in it. */
static double stretch_mj(struct swan *swan, enum energy_source *source)
{
    struct energy_reading stretch, step;
    struct energy_mark now;

    swan->energy_steps++;
    energy_meter_mark(&now, &swan->meter, swan_energy_ms(swan));
    energy_marginal(&stretch, &swan->meter, &swan->energy_from, &now);
    energy_per_step(&step, &stretch, swan->energy_steps);
    *source = step.source;
    if (step.source != ENERGY_UNKNOWN ||
        !energy_mark_holds(&swan->energy_from, &swan->meter))
        begin_stretch(swan);
    return step.mj;
}

/* ---- News -------------------------------------------------------------------- */

static char *new_line(struct swan_news *news)
{
    if (news->n == SWAN_NEWS) {
        news->n--;
        memmove(news->lines[0], news->lines[1], news->n * SWAN_LINE_BYTES);
    }
    return news->lines[news->n++];
}

static void note_refusal(struct swan *swan, const cygnet_error *err)
{
    (void)snprintf(new_line(&swan->news), SWAN_LINE_BYTES,
                   "threads are where the system puts them: %s", err->message);
}

static void note_decision(struct swan *swan)
{
    char text[CHOICE_TEXT_BYTES] = "pause";

    if (swan->decision.entry >= 0)
        profile_choice_text(text, &swan->profile, (size_t)swan->decision.entry);
    (void)snprintf(new_line(&swan->news), SWAN_LINE_BYTES, "%s (%s): %s", text,
                   policy_reason_name(swan->decision.reason), swan->decision.why);
}

void swan_tell(struct swan *swan)
{
    struct swan_news news;

    pthread_mutex_lock(&swan->mutex);
    news = swan->news;
    swan->news.n = 0;
    pthread_mutex_unlock(&swan->mutex);
    for (size_t i = 0; i < news.n; i++)
        log_line(swan->options.log, LOG_DEBUG, "swan: %s", news.lines[i]);
}

/* ---- Using ------------------------------------------------------------------- */

/* A system that does not place threads, or has taken these cores meanwhile, takes their
 * number all the same. */
static void grant(struct swan *swan, const struct pool_grant *wanted)
{
    cygnet_error err;
    cygnet_status st = pool_grant(swan->pool, wanted, &err);

    swan->granted = *wanted;
    swan->is_placed = st == CYGNET_OK && wanted->n_cpus > 0;
    swan->must_grant = false;
    swan->must_refresh |= st == CYGNET_ENOTFOUND;
    if (st != CYGNET_OK)
        note_refusal(swan, &err);
}

bool swan_use(struct swan *swan, int32_t entry)
{
    const struct choice *choice = &swan->profile.entries[entry].choice;
    struct pool_grant before = swan->granted;
    struct pool_grant wanted;

    place_choice(&wanted, choice, swan->options.placement, &swan->soc,
                 swan_reacts(swan) ? &swan->controller : NULL, &before);
    if (entry == swan->entry && !swan->must_grant && place_equal(&wanted, &before))
        return false;
    grant(swan, &wanted);
    energy_meter_load(&swan->meter, choice->n_cores, swan_energy_ms(swan));
    swan->step.is_clean = false;
    begin_stretch(swan);
    if (entry == swan->entry)
        return true;
    swan->step.is_mixed = true;
    swan->counters.n_switches += swan->entry >= 0;
    swan->entry = entry;
    return true;
}

/* ---- Deciding ---------------------------------------------------------------- */

static void fill_input(struct policy_input *in, const struct swan *swan)
{
    *in = (struct policy_input){
        .profile = &swan->profile,
        .soc = &swan->soc,
        .kind = swan->policy,
        .current = swan->decision.entry,
        .steps_left = swan->steps_left,
        .ms_left = swan->ms_left,
        .mj_left = swan->mj_left,
        .yields = swan->pool && pool_yields(swan->pool),
    };
    if (in->kind == CYGNET_POLICY_FIXED)
        in->fixed = swan->fixed;
    controller_report(in, &swan->controller, &swan->soc);
}

/* The cheapest choice that is possible, so that a step under way can end. */
static int32_t cheapest(const struct swan *swan)
{
    for (uint32_t i = 0; i < swan->profile.n_entries; i++) {
        if (choice_is_possible(&swan->profile.entries[i].choice, &swan->soc))
            return (int32_t)i;
    }
    return 0;
}

/* The policy goes by what it said last, whatever was tried in between. */
void swan_decide(struct swan *swan)
{
    int32_t before = swan->decision.entry, now;
    struct policy_input in;

    fill_input(&in, swan);
    policy_decide(&swan->decision, &in);
    swan->decided_ms = swan_now_ms();
    swan->step.explores = false;
    swan_count_pause(swan);
    now = swan->decision.entry;
    (void)swan_use(swan, now >= 0 ? now : cheapest(swan));
    if (now >= 0)
        controller_decided(&swan->controller, before, now);
    if (now != before)
        note_decision(swan);
}

/* Only on a quiet machine. */
static int32_t entry_to_try(struct swan *swan)
{
    if (!swan_reacts(swan) || !controller_is_quiet(&swan->controller))
        return -1;
    return explore_next(&swan->explore, &swan->profile, &swan->soc, swan->steps_left,
                        swan->ms_left);
}

static void choose(struct swan *swan)
{
    int32_t tried = entry_to_try(swan);

    if (tried < 0) {
        swan_decide(swan);
        return;
    }
    (void)swan_use(swan, tried);
    swan->step.explores = true;
    swan->counters.n_explored++;
}

/* ---- Learning ---------------------------------------------------------------- */

static void learn(struct swan *swan, double data_ms)
{
    struct swan_step *step = &swan->step;
    double step_ms = step->ended_ms - step->began_ms;
    enum energy_source source;
    double mj;

    controller_step(&swan->controller, step_ms, data_ms, swan_expected_ms(swan));
    if (!step->is_clean) {
        begin_stretch(swan);
        return;
    }
    mj = stretch_mj(swan, &source);
    profile_add(&swan->profile, (size_t)step->entry, step_ms, mj, source);
    profile_update(&swan->profile);
    explore_step(&swan->explore, &swan->profile, step->entry, step_ms);
}

static void watch(void *user)
{
    struct swan *swan = user;

    swan_tell(swan);
    (void)cygnet_stopped(swan->stop);
}

void swan_step(struct swan *swan, void (*call)(void *arg), void *arg, double data_ms,
               uint64_t steps_left, double ms_left)
{
    struct swan_step *step = &swan->step;

    pthread_mutex_lock(&swan->mutex);
    swan->steps_left = steps_left;
    swan->ms_left = ms_left;
    choose(swan);
    *step = (struct swan_step){.began_ms = swan_now_ms(),
                               .entry = swan->entry,
                               .is_clean = controller_is_quiet(&swan->controller),
                               .explores = step->explores};
    swan->in_call = true;
    pthread_mutex_unlock(&swan->mutex);

    swan_tell(swan);
    pool_call(swan->pool, call, arg, watch, swan);

    pthread_mutex_lock(&swan->mutex);
    swan->in_call = false;
    step->ended_ms = swan_now_ms();
    learn(swan, data_ms);
    swan_spend(swan, step->entry);
    step->began_ms = (double)NAN;
    pthread_mutex_unlock(&swan->mutex);
    swan_tell(swan);
}
