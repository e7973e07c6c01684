/* From frames and steps to figures. */
#include "tests/bench/interference.h"

#include "examples/common/complain.h"
#include "tests/bench/tail.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bursts lie between pauses: there is one more of them. */
double interference_window_ms(const struct interference_options *options,
                              const struct mode *mode)
{
    double n_bursts = fmax(1.0, ceil(options->seconds / (2.0 * options->burst_s) - 0.5));

    return 1e3 * (mode->has_bursts ? (2.0 * n_bursts + 1.0) * options->burst_s
                                   : options->seconds);
}

bool interference_is_on(const struct interference_options *options,
                        const struct mode *mode, double since_from_ms)
{
    double burst = 1e3 * options->burst_s;

    return !mode->has_bursts || fmod(since_from_ms, 2.0 * burst) >= burst;
}

/* The first pause is no onset: nothing has gone before it. */
enum part interference_part(const struct interference_options *options,
                            const struct mode *mode, double since_from_ms)
{
    double burst = 1e3 * options->burst_s;

    if (!mode->has_bursts || since_from_ms < burst)
        return PART_STEADY;
    return fmod(since_from_ms, burst) < 1e3 * options->onset_s ? PART_ONSET : PART_STEADY;
}

/* ---- Frames ------------------------------------------------------------------ */

enum value { VALUE_FRAME, VALUE_WAIT, VALUE_CPU };

static double value_of(const struct frame *frame, enum value value)
{
    if (value == VALUE_FRAME)
        return frame->frame_ms;
    return value == VALUE_WAIT ? frame->wait_ms : frame->cpu_ms;
}

static bool collect(struct tail_side *side, const struct runs *runs,
                    const struct record *record, enum part part, enum value value)
{
    const struct interference_options *o = runs->options;
    const struct pair *pair = runs->pairs;
    uint32_t number = 0;
    bool done = true;

    while (record != &pair->alone && record != &pair->beside) {
        pair++;
        number++;
    }
    for (size_t i = 0; i < record->n_frames && done; i++) {
        const struct frame *f = &record->frames[i];
        double v = value_of(f, value);

        if (v >= 0.0 &&
            interference_part(o, runs->mode, f->due_ms - record->from_ms) == part)
            done = tail_add(side, v, number);
    }
    return done;
}

/* The values of one scenario; of "alone" on both sides those of every scenario. */
static bool collect_all(struct tail *tail, const struct runs *runs, size_t n_runs,
                        size_t which, enum part part, enum value value)
{
    bool is_alone = scenario_is_alone(runs[which].scenario);
    bool done = true;

    tail->n_pairs = runs->options->pairs;
    for (size_t i = 0; i < n_runs; i++) {
        for (uint32_t p = 0; p < tail->n_pairs && done; p++) {
            const struct pair *pair = &runs[i].pairs[p];

            if (!is_alone && i != which)
                continue;
            done = collect(&tail->alone, &runs[i], &pair->alone, part, value);
            done = done && collect(&tail->beside, &runs[i],
                                   is_alone ? &pair->alone : &pair->beside, part, value);
        }
    }
    return done;
}

static uint64_t count_missed(const struct tail_side *side)
{
    uint64_t n = 0;

    for (size_t i = 0; i < side->n; i++)
        n += (uint64_t)(side->values[i] / FRAME_MS);
    return n;
}

static cygnet_status fill_frames(struct figures *out, struct tail *tail,
                                 cygnet_error *err)
{
    struct tail_ratio ratio;
    cygnet_status st = tail_compare(&ratio, tail, 0.99, err);

    out->ratio = ratio.ratio;
    out->low = ratio.low;
    out->high = ratio.high;
    out->n_frames = tail->beside.n;
    out->n_missed = count_missed(&tail->beside);
    out->n_alone_frames = tail->alone.n;
    out->n_alone_missed = count_missed(&tail->alone);
    out->alone_frame_p99 = tail_quantile(tail->alone.values, tail->alone.n, 0.99);
    out->frame_p50 = tail_quantile(tail->beside.values, tail->beside.n, 0.5);
    out->frame_p99 = tail_quantile(tail->beside.values, tail->beside.n, 0.99);
    return st;
}

static void fill_waits(struct figures *out, struct tail *tail)
{
    out->wait_p50 = tail_quantile(tail->beside.values, tail->beside.n, 0.5);
    out->wait_p99 = tail_quantile(tail->beside.values, tail->beside.n, 0.99);
    out->alone_wait_p50 = tail_quantile(tail->alone.values, tail->alone.n, 0.5);
    out->wait_p50_over_alone = out->wait_p50 - out->alone_wait_p50;
}

static cygnet_status fill_value(struct figures *out, const struct runs *runs,
                                size_t n_runs, size_t which, enum value value,
                                cygnet_error *err)
{
    struct tail tail = {.n_pairs = 0};
    cygnet_status st = CYGNET_OK;

    if (!collect_all(&tail, runs, n_runs, which, out->part, value))
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for frames");
    else if (value == VALUE_FRAME)
        st = fill_frames(out, &tail, err);
    else if (value == VALUE_WAIT)
        fill_waits(out, &tail);
    else
        out->cpu_ms_per_frame = tail_quantile(tail.beside.values, tail.beside.n, 0.5);
    tail_clear(&tail);
    return st;
}

/* ---- Steps ------------------------------------------------------------------- */

struct sums {
    double samples[2]; /* while the foreground pauses, while it works */
    double seconds[2];
    double cpu_s;
};

static void add_piece(struct sums *sums, const struct record *record, bool is_on,
                      double from_ms, double until_ms)
{
    from_ms += record->from_ms;
    until_ms = fmin(until_ms + record->from_ms, record->until_ms);
    if (until_ms <= from_ms)
        return;
    sums->samples[is_on] += record_samples(record, from_ms, until_ms);
    sums->seconds[is_on] += 1e-3 * (until_ms - from_ms);
    sums->cpu_s += record_cpu_s(record, from_ms, until_ms);
}

/* Piece by piece: from each coming and going of the foreground to the end of the onset,
 * and on to the next. */
static void add_window(struct sums *sums, const struct runs *runs,
                       const struct record *record, enum part part)
{
    const struct interference_options *o = runs->options;
    double window = record->until_ms - record->from_ms;
    double length = runs->mode->has_bursts ? 1e3 * o->burst_s : window;
    double onset = runs->mode->has_bursts ? 1e3 * o->onset_s : window;

    for (double at = 0.0; at + 0.5 < window; at += length) {
        bool is_on = interference_is_on(o, runs->mode, at + 0.25 * onset);

        if (interference_part(o, runs->mode, at) == part)
            add_piece(sums, record, is_on, at, at + onset);
        if (part == PART_STEADY)
            add_piece(sums, record, is_on, at + onset, at + length);
    }
}

static void fill_steps(struct figures *out, const struct runs *runs)
{
    struct sums sums = {.cpu_s = 0.0};
    double samples;

    for (uint32_t p = 0; p < runs->options->pairs; p++) {
        const struct record *record = &runs->pairs[p].beside;
        double before = sums.samples[0] + sums.samples[1];

        add_window(&sums, runs, record, out->part);
        out->samples[p] = sums.samples[0] + sums.samples[1] - before;
        out->n_switches += record->n_switches;
        out->n_explored += record->n_explored;
    }
    samples = sums.samples[0] + sums.samples[1];
    out->samples_per_s = samples / (sums.seconds[0] + sums.seconds[1]);
    out->samples_per_s_off = sums.samples[0] / sums.seconds[0];
    out->samples_per_s_on = sums.samples[1] / sums.seconds[1];
    out->cpu_s_per_sample = sums.cpu_s / samples;
}

cygnet_status interference_figures(struct figures *out, const struct runs *runs,
                                   size_t n_runs, size_t which, enum part part,
                                   cygnet_error *err)
{
    const struct runs *own = &runs[which];
    cygnet_status st = CYGNET_OK;

    *out = (struct figures){.scenario = own->scenario,
                            .mode = own->mode,
                            .part = part,
                            .pairs = own->options->pairs,
                            .window_s =
                                1e-3 * interference_window_ms(own->options, own->mode),
                            .of_best_fixed = (double)NAN,
                            .best_low = (double)NAN,
                            .best_high = (double)NAN,
                            .of_pytorch = (double)NAN,
                            .samples_per_s = (double)NAN,
                            .samples_per_s_on = (double)NAN,
                            .samples_per_s_off = (double)NAN,
                            .cpu_s_per_sample = (double)NAN};
    for (enum value v = VALUE_FRAME; v <= VALUE_CPU && st == CYGNET_OK; v++)
        st = fill_value(out, runs, n_runs, which, v, err);
    if (own->scenario->child.pid > 0)
        fill_steps(out, own);
    return st;
}

/* Of the fixed choices, the one with the most samples; -1: there is none. */
static int find_best_fixed(const struct figures *figures, size_t n)
{
    int best = -1;

    for (size_t i = 0; i < n; i++) {
        if (scenario_is_fixed(figures[i].scenario) &&
            (best < 0 || figures[i].samples_per_s > figures[best].samples_per_s))
            best = (int)i;
    }
    return best;
}

static cygnet_status compare_with_best(struct figures *f, const struct figures *best,
                                       cygnet_error *err)
{
    struct tail_ratio ratio;
    cygnet_status st;

    if (isnan(f->samples_per_s))
        return CYGNET_OK;
    st = tail_sums(&ratio, f->samples, best->samples, f->pairs, err);
    f->of_best_fixed = ratio.ratio;
    f->best_low = ratio.low;
    f->best_high = ratio.high;
    return st;
}

cygnet_status interference_compare(struct figures *figures, size_t n, cygnet_error *err)
{
    int best = find_best_fixed(figures, n);
    double pytorch = (double)NAN;
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(figures[i].scenario->name, "pytorch") == 0)
            pytorch = figures[i].samples_per_s;
    }
    for (size_t i = 0; i < n && st == CYGNET_OK; i++) {
        figures[i].of_pytorch = figures[i].samples_per_s / pytorch;
        if (best >= 0)
            st = compare_with_best(&figures[i], &figures[best], err);
    }
    return st;
}
