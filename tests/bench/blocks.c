/* How long blocks are: what bounds the time until a worker sees that it should stop.
 * An executor of one thread that holds a clock to each block. Blocks of a step come in
 * the same order every time, so of each the least of several steps is taken, in CPU
 * time of the thread: what others on the machine do is no part of it. */
#include "tests/bench/controller_parts.h"

#include "examples/common/complain.h"
#include "tests/bench/tail.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIMIT_MS 5.0

/* ms[i]   the least time of block i of a step
 * run[i]  which call of the executor it was in */
struct clocked {
    struct nn_executor executor; /* first: the executor is this */
    double *ms;
    uint32_t *run;
    size_t n, max;
    uint32_t n_runs;
    bool is_first;
    bool is_out_of_memory;
};

static double cpu_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static bool grow(struct clocked *c)
{
    size_t max = c->max > 0 ? 2 * c->max : 4096;
    double *ms = realloc(c->ms, max * sizeof(*ms));
    uint32_t *run;

    if (ms)
        c->ms = ms;
    run = ms ? realloc(c->run, max * sizeof(*run)) : NULL;
    if (!run) {
        c->is_out_of_memory = true;
        return false;
    }
    c->run = run;
    c->max = max;
    return true;
}

static void note(struct clocked *c, double ms)
{
    size_t i = c->n++;

    if (i >= c->max && !grow(c)) {
        c->n--;
        return;
    }
    if (c->is_first || ms < c->ms[i])
        c->ms[i] = ms;
    c->run[i] = c->n_runs;
}

static void run(struct nn_executor *executor, nn_block block, void *arg, size_t n_blocks)
{
    struct clocked *c = (struct clocked *)executor;

    for (size_t i = 0; i < n_blocks; i++) {
        double began = cpu_ms();

        block(arg, i, 0);
        note(c, cpu_ms() - began);
    }
    c->n_runs++;
}

static cygnet_status clock_steps(struct clocked *c, struct workload *w, uint32_t steps,
                                 double *step_ms, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;
    double loss;

    *step_ms = 1e300;
    for (uint32_t i = 0; i <= steps && st == CYGNET_OK; i++) {
        double began = cpu_ms();

        c->n = 0;
        c->n_runs = 0;
        c->is_first = i <= 1; /* the first step touches new memory */
        st = workload_step(w, &loss, err);
        if (i > 0 && cpu_ms() - began < *step_ms)
            *step_ms = cpu_ms() - began;
    }
    if (st == CYGNET_OK && c->is_out_of_memory)
        st = complain(err, CYGNET_ENOMEM, 0, "out of memory for the times of blocks");
    return st;
}

static size_t find_longest(const struct clocked *c, size_t *n_over)
{
    size_t longest = 0;

    *n_over = 0;
    for (size_t i = 0; i < c->n; i++) {
        longest = c->ms[i] > c->ms[longest] ? i : longest;
        *n_over += c->ms[i] > LIMIT_MS;
    }
    return longest;
}

static cygnet_status report(const struct controller_options *o,
                            const struct scenario_work *work, const struct clocked *c,
                            double step_ms, cygnet_error *err)
{
    struct controller_options of_row = *o;
    struct json_builder *b;
    size_t n_over, longest = find_longest(c, &n_over);

    of_row.work = *work;
    b = controller_row(&of_row, "blocks");
    json_put_double(b, "step_ms", step_ms);
    json_put_u64(b, "blocks", c->n);
    json_put_u64(b, "runs", c->n_runs);
    json_put_double(b, "longest_block_ms", c->ms[longest]);
    json_put_u64(b, "longest_block_run", c->run[longest]);
    json_put_u64(b, "blocks_over_5_ms", n_over);
    if (o->speaks)
        printf("%-20s %-10s %9.1f %8zu %8u %10.2f %8u %6zu\n", work->model, work->input,
               step_ms, c->n, c->n_runs, c->ms[longest], c->run[longest], n_over);
    return controller_write(o, b, err);
}

static cygnet_status clock_model(const struct controller_options *o,
                                 const struct scenario_work *work,
                                 const struct workload_options *options,
                                 cygnet_error *err)
{
    struct clocked c = {.executor = {run, 1}};
    struct workload w;
    double step_ms;
    cygnet_status st = workload_init(&w, options, &c.executor, err);

    if (st == CYGNET_OK)
        st = clock_steps(&c, &w, o->steps, &step_ms, err);
    if (st == CYGNET_OK)
        st = report(o, work, &c, step_ms, err);
    workload_clear(&w);
    free(c.ms);
    free(c.run);
    return st;
}

static const struct {
    const char *model;
    const char *input;
    uint32_t dims[3];
} MODELS[] = {
    {"mobilenet_v2", "3x32x32", {3, 32, 32}},
    {"mobilenet_v2", "3x128x128", {3, 128, 128}},
    {"shufflenet_v2_x1_0", "3x32x32", {3, 32, 32}},
    {"shufflenet_v2_x1_0", "3x128x128", {3, 128, 128}},
    {"resnet34", "3x32x32", {3, 32, 32}},
    {"resnet34", "3x128x128", {3, 128, 128}},
    {"lenet5", "1x28x28", {1, 28, 28}},
};

static cygnet_status clock_all(const struct controller_options *o, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < sizeof(MODELS) / sizeof(MODELS[0]) && st == CYGNET_OK; i++) {
        struct scenario_work work = o->work;
        struct workload_options options = o->workload;

        work.model = options.model = MODELS[i].model;
        work.input = MODELS[i].input;
        options.n_input_dims = 3;
        memcpy(options.input, MODELS[i].dims, sizeof(MODELS[i].dims));
        st = clock_model(o, &work, &options, err);
    }
    return st;
}

cygnet_status controller_blocks(const struct controller_options *o, cygnet_error *err)
{
    if (o->speaks)
        printf("%-20s %-10s %9s %8s %8s %10s %8s %6s\n", "model", "input", "step ms",
               "blocks", "runs", "longest ms", "in run", "> 5 ms");
    if (o->has_model)
        return clock_model(o, &o->work, &o->workload, err);
    return clock_all(o, err);
}
