/* Lines of text and sums over them. */
#include "tests/bench/record.h"

#include "examples/common/complain.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE_BYTES = 512 };

void record_clear(struct record *record)
{
    free(record->frames);
    free(record->steps);
    *record = (struct record){0};
}

/* Room for one more; returns the array, or NULL, when the old one stays valid. */
static void *grow(void *array, size_t n, size_t *max, size_t size)
{
    size_t wanted = *max > 0 ? 2 * *max : 1024;
    void *more;

    if (n < *max)
        return array;
    more = realloc(array, wanted * size);
    if (more)
        *max = wanted;
    return more;
}

bool record_add_frame(struct record *record, const struct frame *frame)
{
    struct frame *more = grow(record->frames, record->n_frames, &record->max_frames,
                              sizeof(*record->frames));

    if (!more)
        return false;
    record->frames = more;
    record->frames[record->n_frames++] = *frame;
    return true;
}

bool record_add_step(struct record *record, const struct step_record *step)
{
    struct step_record *more =
        grow(record->steps, record->n_steps, &record->max_steps, sizeof(*record->steps));

    if (!more)
        return false;
    record->steps = more;
    record->steps[record->n_steps++] = *step;
    return true;
}

static cygnet_status out_of_memory(cygnet_error *err)
{
    return complain(err, CYGNET_ENOMEM, 0, "out of memory for a record");
}

static cygnet_status not_understood(const struct child *child, const char *line,
                                    cygnet_error *err)
{
    return complain(err, CYGNET_EFORMAT, 0, "%s: %.200s", child->name, line);
}

cygnet_status record_read_frames(struct record *record, struct child *child,
                                 cygnet_error *err)
{
    char line[LINE_BYTES] = "it ended in the middle of a window";

    while (child_line(child, line, sizeof(line))) {
        struct frame f;

        if (strcmp(line, "done") == 0)
            return CYGNET_OK;
        if (sscanf(line, "frame %lf %lf %lf %lf %" SCNu32, &f.due_ms, &f.frame_ms,
                   &f.wait_ms, &f.cpu_ms, &f.missed) != 5)
            return not_understood(child, line, err);
        if (!record_add_frame(record, &f))
            return out_of_memory(err);
    }
    return complain(err, CYGNET_ESTATE, 0, "%s: it ended in a window", child->name);
}

cygnet_status record_read_steps(struct record *record, struct child *child,
                                cygnet_error *err)
{
    char line[LINE_BYTES] = "";

    while (child_line(child, line, sizeof(line))) {
        struct step_record s;

        if (sscanf(line, "done %" SCNu32 " %" SCNu64 " %" SCNu64, &record->batch,
                   &record->n_switches, &record->n_explored) == 3)
            return CYGNET_OK;
        if (sscanf(line, "step %lf %lf %lf %" SCNu32, &s.end_ms, &s.step_ms, &s.cpu_s,
                   &s.n_threads) != 4)
            return not_understood(child, line, err);
        if (!record_add_step(record, &s))
            return out_of_memory(err);
    }
    return complain(err, CYGNET_ESTATE, 0, "%s: it ended in a window", child->name);
}

void record_tell_frames(const struct record *record)
{
    for (size_t i = 0; i < record->n_frames; i++) {
        const struct frame *f = &record->frames[i];

        printf("frame %.3f %.4f %.4f %.4f %" PRIu32 "\n", f->due_ms, f->frame_ms,
               f->wait_ms, f->cpu_ms, f->missed);
    }
    printf("done\n");
    (void)fflush(stdout);
}

void record_tell_steps(const struct record *record)
{
    for (size_t i = 0; i < record->n_steps; i++) {
        const struct step_record *s = &record->steps[i];

        printf("step %.3f %.4f %.6f %" PRIu32 "\n", s->end_ms, s->step_ms, s->cpu_s,
               s->n_threads);
    }
    printf("done %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", record->batch,
           record->n_switches, record->n_explored);
    (void)fflush(stdout);
}

double record_samples(const struct record *record, double from_ms, double until_ms)
{
    double steps = 0.0;

    for (size_t i = 0; i < record->n_steps; i++) {
        const struct step_record *s = &record->steps[i];
        double began_ms = s->end_ms - s->step_ms;
        double inside = fmin(s->end_ms, until_ms) - fmax(began_ms, from_ms);

        if (inside > 0.0)
            steps += inside / s->step_ms;
    }
    return steps * record->batch;
}

/* CPU time that the process had taken at a moment, between its steps in proportion. */
static double cpu_s_at(const struct record *record, double ms)
{
    for (size_t i = 0; i < record->n_steps; i++) {
        const struct step_record *s = &record->steps[i];

        if (s->end_ms < ms)
            continue;
        if (i == 0 || s->end_ms <= s[-1].end_ms)
            return s->cpu_s;
        return s->cpu_s -
               (s->cpu_s - s[-1].cpu_s) * (s->end_ms - ms) / (s->end_ms - s[-1].end_ms);
    }
    return record->n_steps > 0 ? record->steps[record->n_steps - 1].cpu_s : 0.0;
}

double record_cpu_s(const struct record *record, double from_ms, double until_ms)
{
    return cpu_s_at(record, until_ms) - cpu_s_at(record, from_ms);
}

double record_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void record_sleep_until(double ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms * 1e-3)};

    t.tv_nsec = (long)((ms - (double)t.tv_sec * 1e3) * 1e6);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}
