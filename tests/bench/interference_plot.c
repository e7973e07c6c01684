/* One window as a plot. */
#include "tests/bench/interference.h"

#include "examples/common/complain.h"
#include "tests/bench/bench.h"
#include "tests/bench/plot.h"

#include <math.h>
#include <stdlib.h>

enum { SHADED_MAX = 256 };

/* Points of all panels. */
struct points {
    double *at[3], *value[3];
    size_t n[3];
    double highest[3];
};

enum { STEPS, THREADS, FRAMES };

static bool alloc_points(struct points *points, const struct record *record)
{
    bool done = true;

    for (int i = 0; i < 3; i++) {
        size_t n = i == FRAMES ? record->n_frames : record->n_steps;

        points->at[i] = calloc(n + 1, sizeof(double));
        points->value[i] = calloc(n + 1, sizeof(double));
        done = done && points->at[i] && points->value[i];
    }
    return done;
}

static void free_points(struct points *points)
{
    for (int i = 0; i < 3; i++) {
        free(points->at[i]);
        free(points->value[i]);
    }
}

static void add(struct points *points, int panel, double at_ms, double value)
{
    size_t n = points->n[panel]++;

    points->at[panel][n] = 1e-3 * at_ms;
    points->value[panel][n] = value;
    points->highest[panel] = fmax(points->highest[panel], value);
}

static void fill_points(struct points *points, const struct record *record)
{
    for (size_t i = 0; i < record->n_steps; i++) {
        const struct step_record *s = &record->steps[i];
        double at = s->end_ms - record->from_ms;

        if (at < 0.0 || s->end_ms > record->until_ms || s->step_ms <= 0.0)
            continue;
        add(points, STEPS, at, s->step_ms);
        add(points, THREADS, at, s->n_threads);
    }
    for (size_t i = 0; i < record->n_frames; i++)
        add(points, FRAMES, record->frames[i].due_ms - record->from_ms,
            record->frames[i].frame_ms);
}

static size_t find_bursts(double shaded[SHADED_MAX][2], double seconds, double burst_s)
{
    size_t n = 0;

    for (double at = burst_s; at < seconds && n < SHADED_MAX; at += 2.0 * burst_s) {
        shaded[n][0] = at;
        shaded[n++][1] = fmin(at + burst_s, seconds);
    }
    return n;
}

static void draw(FILE *file, const struct points *points, double seconds,
                 const struct interference_options *options)
{
    static const char *const labels[] = {"step, ms", "threads in use",
                                         "foreground frame, ms"};
    struct plot_panel panels[3];
    double shaded[SHADED_MAX][2];
    struct plot plot = {.seconds = seconds, .panels = panels, .n_panels = 3};
    char title[256];

    (void)snprintf(title, sizeof(title),
                   "Swan beside a foreground in bursts: %.60s at %.30s, batch %.10s",
                   options->work.model, options->work.input, options->work.batch);
    plot.title = title;
    plot.shaded = (const double(*)[2])shaded;
    plot.n_shaded = find_bursts(shaded, seconds, options->burst_s);
    plot.shaded_label = "the foreground works (60 frames a second, a third of a core)";
    for (int i = 0; i < 3; i++) {
        panels[i] = (struct plot_panel){.label = labels[i],
                                        .at = points->at[i],
                                        .value = points->value[i],
                                        .n = points->n[i],
                                        .top = plot_top(points->highest[i]),
                                        .is_steps = i == THREADS,
                                        .limit = i == FRAMES ? FRAME_MS : (double)NAN,
                                        .limit_label = "1/60 s"};
    }
    panels[THREADS].top = points->highest[THREADS] + 1.0;
    if (panels[FRAMES].top < 20.0)
        panels[FRAMES].top = 20.0;
    plot_write(file, &plot);
}

cygnet_status interference_plot(const char *path, const struct record *record,
                                const struct interference_options *options,
                                cygnet_error *err)
{
    struct points points = {.n = {0}};
    FILE *file = bench_open(path, err);
    cygnet_status st = CYGNET_OK;

    if (!file)
        return CYGNET_ESTORAGE;
    if (alloc_points(&points, record)) {
        fill_points(&points, record);
        draw(file, &points, 1e-3 * (record->until_ms - record->from_ms), options);
    } else {
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for a plot");
    }
    free_points(&points);
    if (st == CYGNET_OK)
        return bench_close(file, err);
    (void)bench_close(file, NULL);
    return st;
}
