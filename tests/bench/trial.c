/* See trial.h. */
#include "tests/bench/trial.h"

#include "engine/swan/explore.h"
#include "engine/swan/policy.h"

#include <math.h>
#include <string.h>

#define VARIETY 0.15

#define STEP_NOISE 0.04
#define ENERGY_NOISE 0.05

struct state {
    const struct trial *trial;
    struct device_model device;
    struct soc soc;
    struct profile profile;
    struct profile truth;
    struct rng rng;
    double deadline_ms;
    int32_t oracle;
    int32_t current; /* what the policy said last in this round; -1: nothing yet */
};

/* No cluster becomes faster than the one above it. */
static void vary(struct state *s)
{
    double above = INFINITY;

    for (size_t k = 0; k < s->device.n_clusters; k++) {
        struct device_cluster *c = &s->device.clusters[k];

        c->speed = fmin(c->speed * exp(VARIETY * rng_normal(&s->rng)), above);
        c->watts *= exp(VARIETY * rng_normal(&s->rng));
        above = c->speed;
    }
}

static double true_ms(const struct state *s, int32_t entry)
{
    return s->truth.entries[entry].step_ms;
}

static struct policy_input input_of(const struct state *s, const struct profile *profile,
                                    uint64_t steps_left, double ms_left)
{
    return (struct policy_input){.profile = profile,
                                 .soc = &s->soc,
                                 .current = s->current,
                                 .steps_left = steps_left,
                                 .ms_left = ms_left,
                                 .mj_left = INFINITY,
                                 .slowdown = 1,
                                 .may_upgrade = true};
}

static int32_t decide(const struct policy_input *in)
{
    struct policy_decision decision;

    policy_decide(&decision, in);
    return decision.entry;
}

/* What a device that knew everything would know. */
static void know(struct state *s)
{
    const struct trial *t = s->trial;
    struct policy_input in;
    double fastest = INFINITY;

    for (size_t i = 0; i < s->truth.n_entries; i++) {
        const struct choice *choice = &s->truth.entries[i].choice;
        double ms = device_step_ms(&s->device, t->workload, choice);
        double mj = ms * device_watts(&s->device, choice);

        for (int j = 0; j < PROFILE_SAMPLES; j++)
            profile_add(&s->truth, i, ms, t->energies ? mj : (double)NAN, ENERGY_HOST);
        fastest = fmin(fastest, ms);
    }
    profile_update(&s->truth);
    s->deadline_ms = t->deadline * t->n_steps * fastest;
    in = input_of(s, &s->truth, t->n_steps, s->deadline_ms);
    s->oracle = decide(&in);
}

static void begin(struct state *s, const struct trial *trial)
{
    static const struct profile_key key = {"modelled", "modelled", "modelled"};

    s->trial = trial;
    s->device = *trial->device;
    s->current = -1;
    rng_init(&s->rng, trial->seed, "trial", 0);
    vary(s);
    device_model_soc(&s->soc, &s->device);
    profile_init(&s->profile, &key, &s->soc, s->soc.n_cores);
    profile_init(&s->truth, &key, &s->soc, s->soc.n_cores);
    know(s);
}

/* One step: its true time, which is what the round loses; *left_ms is the clock's. */
static double run_step(struct state *s, struct explore *explore, uint64_t steps_left,
                       double *left_ms)
{
    struct device_noise noise = {STEP_NOISE, ENERGY_NOISE, s->trial->wild_share};
    struct device_step step;
    struct policy_input in = input_of(s, &s->profile, steps_left, *left_ms);
    int32_t entry = explore_next(explore, &in);

    if (entry < 0)
        entry = s->current = decide(&in);
    step = device_step(&s->device, s->trial->workload, &s->profile.entries[entry].choice,
                       &noise, &s->rng);
    profile_add(&s->profile, (size_t)entry, step.ms,
                s->trial->energies ? step.mj : (double)NAN, ENERGY_HOST);
    profile_update(&s->profile);
    explore_step(explore, &s->profile, entry, step.ms);
    *left_ms -= step.ms;
    return true_ms(s, entry);
}

/* Returns what the round took beyond the oracle's, as a fraction. */
static double run_round(struct state *s, bool *late)
{
    double left_ms = s->deadline_ms, sum = 0;
    uint32_t n_steps = s->trial->n_steps;
    struct explore explore;

    explore_init(&explore);
    s->current = -1;
    for (uint32_t i = 0; i < n_steps; i++)
        sum += run_step(s, &explore, n_steps - i, &left_ms);
    *late = left_ms < 0;
    return sum / (n_steps * true_ms(s, s->oracle)) - 1;
}

static double regret(const struct state *s)
{
    struct policy_input in = input_of(s, &s->profile, s->trial->n_steps, s->deadline_ms);
    int32_t used = decide(&in);
    const struct profile_entry *found = &s->truth.entries[used];
    const struct profile_entry *best = &s->truth.entries[s->oracle];

    if (s->trial->energies)
        return found->step_mj / best->step_mj - 1;
    return found->step_ms / best->step_ms - 1;
}

/* How much worse the best entry of the explored frontier is that costs no more. */
static double stand_in(const struct state *s, size_t entry)
{
    const struct profile_entry *want = &s->truth.entries[entry];
    double least = INFINITY;

    for (size_t i = 0; i <= entry; i++) {
        const struct profile_entry *e = &s->truth.entries[i];
        double worse = e->step_ms / want->step_ms;

        if (s->trial->energies)
            worse = fmax(worse, e->step_mj / want->step_mj);
        if (s->profile.entries[i].pruned_by < 0)
            least = fmin(least, worse);
    }
    return least - 1;
}

static void count(struct trial_result *out, const struct state *s)
{
    out->n_entries = s->truth.n_entries;
    for (size_t i = 0; i < s->truth.n_entries; i++) {
        out->n_measured += s->profile.entries[i].n_samples > 0;
        if (s->truth.entries[i].pruned_by >= 0)
            continue;
        out->n_frontier++;
        out->missing = fmax(out->missing, stand_in(s, i));
    }
}

void trial_run(struct trial_result *out, const struct trial *trial)
{
    static struct state s;

    begin(&s, trial);
    *out = (struct trial_result){0};
    for (uint32_t round = 1; round <= trial->n_rounds; round++) {
        bool late;
        double lost = run_round(&s, &late);

        out->n_late += late;
        if (round == 1) {
            out->lost = lost;
            out->regret = regret(&s);
        } else {
            out->lost_later += lost / (trial->n_rounds - 1);
        }
        if (out->complete == 0 && explore_is_done(&s.profile))
            out->complete = round;
    }
    count(out, &s);
}
