/* Learning rates over the steps of a training. */
#include <cygnet/nn.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

void cygnet_schedule_init(cygnet_schedule *schedule)
{
    memset(schedule, 0, sizeof(*schedule));
    schedule->struct_size = sizeof(*schedule);
    schedule->kind = CYGNET_SCHEDULE_CONSTANT;
    schedule->lr = 1e-2;
    schedule->step_size = 1;
    schedule->gamma = 0.1;
}

/* Half a period from 1 to 0 over n_steps, then 0. */
static double cosine(uint64_t at, uint64_t n_steps)
{
    static const double pi = 3.14159265358979323846;

    if (at >= n_steps)
        return 0;
    return (1 + cos(pi * ((double)at / (double)n_steps))) / 2;
}

static double staircase(const cygnet_schedule *s, uint64_t at)
{
    uint64_t n_stairs = s->step_size > 0 ? at / s->step_size : 0;

    return s->step_size > 0 ? s->lr * pow(s->gamma, (double)n_stairs) : NAN;
}

static bool is_sound(const cygnet_schedule *s)
{
    return s->struct_size >= sizeof(*s) && s->lr >= 0 && s->min_lr >= 0 && s->gamma >= 0;
}

double cygnet_schedule_lr(const cygnet_schedule *s, uint64_t step)
{
    uint64_t warmup, at, n_steps;

    if (!s || !is_sound(s))
        return NAN;
    warmup = s->warmup_steps;
    if (step < warmup)
        return s->lr * ((double)step + 1) / ((double)warmup + 1);
    at = step - warmup;
    n_steps = s->total_steps > warmup ? s->total_steps - warmup : 0;
    switch (s->kind) {
    case CYGNET_SCHEDULE_CONSTANT:
        return s->lr;
    case CYGNET_SCHEDULE_COSINE:
        return s->min_lr + (s->lr - s->min_lr) * cosine(at, n_steps);
    case CYGNET_SCHEDULE_STEP:
        return staircase(s, at);
    }
    return NAN;
}
