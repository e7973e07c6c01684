/* Rows and tables. */
#include "tests/bench/interference.h"

#include "tests/bench/bench.h"

#include <inttypes.h>
#include <math.h>

static const char *part_name(const struct figures *f)
{
    return f->part == PART_ONSET ? "onset" : "steady";
}

static void put_interval(struct json_builder *b, const char *name, double low,
                         double high)
{
    json_open_array(b, name);
    json_put_double(b, NULL, low);
    json_put_double(b, NULL, high);
    json_close(b);
}

static void put_frames(struct json_builder *b, const struct figures *f)
{
    json_put_double(b, "frame_wait_ms_p50", f->wait_p50);
    json_put_double(b, "frame_wait_ms_p99", f->wait_p99);
    json_put_double(b, "frame_wait_ms_p50_over_alone", f->wait_p50_over_alone);
    json_put_double(b, "alone_frame_wait_ms_p50", f->alone_wait_p50);
    json_put_double(b, "frame_p50_ms", f->frame_p50);
    json_put_double(b, "frame_p99_ms", f->frame_p99);
    json_put_double(b, "alone_frame_p99_ms", f->alone_frame_p99);
    json_put_double(b, "frame_p99_ratio", f->ratio);
    put_interval(b, "ci95", f->low, f->high);
    json_put_double(b, "frame_cpu_ms_p50", f->cpu_ms_per_frame);
    json_put_u64(b, "frames", f->n_frames);
    json_put_u64(b, "missed_frames", f->n_missed);
    json_put_u64(b, "alone_frames", f->n_alone_frames);
    json_put_u64(b, "alone_missed_frames", f->n_alone_missed);
}

static void put_steps(struct json_builder *b, const struct figures *f)
{
    json_put_double(b, "samples_per_s", f->samples_per_s);
    json_put_double(b, "samples_per_s_foreground_on", f->samples_per_s_on);
    json_put_double(b, "samples_per_s_foreground_off", f->samples_per_s_off);
    json_put_double(b, "samples_of_best_fixed", f->of_best_fixed);
    put_interval(b, "samples_of_best_fixed_ci95", f->best_low, f->best_high);
    json_put_double(b, "samples_of_pytorch", f->of_pytorch);
    json_put_double(b, "cpu_s_per_sample", f->cpu_s_per_sample);
    json_put_u64(b, "switches", f->n_switches);
    json_put_u64(b, "explored_steps", f->n_explored);
}

cygnet_status interference_write(FILE *file, const struct figures *figures, size_t n,
                                 const struct interference_options *options,
                                 cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < n && st == CYGNET_OK; i++) {
        const struct figures *f = &figures[i];
        struct json_builder *b = json_build();

        json_open_object(b, NULL);
        json_put_string(b, "scenario", f->scenario->name);
        json_put_string(b, "foreground", f->mode->name);
        json_put_string(b, "window", part_name(f));
        json_put_u64(b, "pairs", f->pairs);
        json_put_double(b, "window_s", f->window_s);
        json_put_string(b, "model", options->work.model);
        json_put_string(b, "input", options->work.input);
        json_put_u64(b, "batch", options->batch);
        if (f->scenario->absent[0])
            json_put_string(b, "absent", f->scenario->absent);
        else {
            if (f->scenario->engine[0])
                json_put_string(b, "engine", f->scenario->engine);
            put_frames(b, f);
            put_steps(b, f);
        }
        json_close(b);
        st = bench_write(file, b, err);
    }
    return st;
}

/* A number of the given width, or a dash. */
static void print_number(int width, int decimals, double value)
{
    if (isfinite(value))
        printf(" %*.*f", width, decimals, value);
    else
        printf(" %*s", width, "-");
}

static void print_interval(const struct figures *f)
{
    if (isfinite(f->low))
        printf(" [%4.2f %5.2f]", f->low, f->high);
    else
        printf(" %12s", "-");
}

static void print_row(const struct figures *f)
{
    printf("%-16s", f->scenario->name);
    if (f->scenario->absent[0]) {
        printf(" not here: %s\n", f->scenario->absent);
        return;
    }
    print_number(8, 3, f->wait_p50);
    print_number(8, 3, f->wait_p99);
    print_number(8, 2, f->frame_p50);
    print_number(8, 2, f->frame_p99);
    print_number(6, 2, f->ratio);
    print_interval(f);
    printf(" %6" PRIu64, f->n_missed);
    print_number(9, 1, f->samples_per_s);
    print_number(7, 2, f->of_best_fixed);
    print_number(9, 3, 1e3 * f->cpu_s_per_sample);
    printf(" %8" PRIu64 "\n", f->n_switches);
}

void interference_print(const struct figures *figures, size_t n, const struct mode *mode,
                        const struct interference_options *options)
{
    printf("Foreground %s, %s: %" PRIu32 " pairs, %s at %s, batch %" PRIu32 "\n",
           mode->name, part_name(figures), options->pairs, options->work.model,
           options->work.input, options->batch);
    printf("%-16s %8s %8s %8s %8s %6s %12s %6s %9s %7s %9s %8s\n", "", "wait ms",
           "wait ms", "frame ms", "frame ms", "p99 of", "", "missed", "samples",
           "of best", "cpu ms", "");
    printf("%-16s %8s %8s %8s %8s %6s %12s %6s %9s %7s %9s %8s\n", "scenario", "p50",
           "p99", "p50", "p99", "alone", "95 %", "frames", "per s", "fixed", "a sample",
           "switches");
    for (size_t i = 0; i < n; i++)
        print_row(&figures[i]);
    printf("\n");
    (void)fflush(stdout);
}
