/* The step command: each case in a process of its own, so that its memory is its
 * own and no case warms the next one's caches. */
#include "tests/bench/bench.h"

#include "engine/nn/model.h"
#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "examples/common/options.h"
#include "tests/bench/measure.h"
#include "tests/bench/peak.h"
#include "tests/bench/workload.h"
#include "tests/bench/yardstick.h"
#include "tests/fakes/fake_alloc.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_CASES = 16, N_WARM_UP = 3 };

#define MB 1e-6

struct step_options {
    const char *models[MAX_CASES];
    uint32_t threads[MAX_CASES];
    size_t n_models, n_threads;
    uint32_t input[CYGNET_INPUT_MAX_DIMS];
    uint32_t n_input_dims;
    uint32_t batch, steps, classes;
    uint64_t seed;
    double lr;
    const char *json;
};

static cygnet_status read_model(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct step_options *o = options;

    if (o->n_models == MAX_CASES)
        return complain(err, CYGNET_EINVAL, 0, "%s: more than %d", name, MAX_CASES);
    o->models[o->n_models++] = text;
    return CYGNET_OK;
}

static cygnet_status read_threads(void *options, const char *name, const char *text,
                                  cygnet_error *err)
{
    struct step_options *o = options;
    uint64_t n;
    cygnet_status st = option_count(&n, name, text, 1, 64, err);

    if (st == CYGNET_OK && o->n_threads == MAX_CASES)
        st = complain(err, CYGNET_EINVAL, 0, "%s: more than %d", name, MAX_CASES);
    if (st == CYGNET_OK)
        o->threads[o->n_threads++] = (uint32_t)n;
    return st;
}

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct step_options *o = options;

    return option_shape(o->input, &o->n_input_dims, name, text, err);
}

static const struct option_row ROWS[] = {
    {"model", OPTION_READ, 0, 0, 0, read_model},
    {"threads", OPTION_READ, 0, 0, 0, read_threads},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"batch", OPTION_U32, offsetof(struct step_options, batch), 1, 65536, NULL},
    {"steps", OPTION_U32, offsetof(struct step_options, steps), 1, 1000000, NULL},
    {"classes", OPTION_U32, offsetof(struct step_options, classes), 1, 1000000, NULL},
    {"seed", OPTION_U64, offsetof(struct step_options, seed), 0, 0, NULL},
    {"lr", OPTION_REAL, offsetof(struct step_options, lr), 0, 1000, NULL},
    {"json", OPTION_TEXT, offsetof(struct step_options, json), 0, 0, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* One case and what came of it. */
struct bench_case {
    const struct step_options *options;
    const char *name;
    uint32_t n_threads;
    struct fake_alloc alloc;
    struct workload_options workload_options;
    struct workload workload;
    struct sample *samples;
    uint64_t idle_bytes, peak_bytes;
    uint64_t n_requests, n_faults, cpu_ns;
    double first_ms, loss_first, loss_last;
    struct spread spread;
};

static void workload_of(struct bench_case *c)
{
    const struct step_options *o = c->options;

    fake_alloc_init(&c->alloc);
    c->workload_options = (struct workload_options){
        .model = c->name,
        .n_input_dims = o->n_input_dims,
        .batch = o->batch,
        .classes = o->classes,
        .n_threads = c->n_threads,
        .seed = o->seed,
        .lr = o->lr,
        .allocator = &c->alloc.alloc,
    };
    memcpy(c->workload_options.input, o->input, sizeof(o->input));
}

static cygnet_status run_step(struct bench_case *c, struct sample *sample,
                              cygnet_error *err)
{
    uint64_t waited_before, waited_after, start, faults, cpu;
    bool known = measure_waited_ns(&waited_before);
    cygnet_status st;

    faults = measure_page_faults();
    cpu = measure_cpu_ns();
    start = measure_now_ns();
    st = workload_step(&c->workload, &c->loss_last, err);
    sample->wall_ns = measure_now_ns() - start;
    c->cpu_ns += measure_cpu_ns() - cpu;
    c->n_faults += measure_page_faults() - faults;
    if (st != CYGNET_OK)
        return st;
    known = measure_waited_ns(&waited_after) && known;
    sample->waited_ns = known ? waited_after - waited_before : 0;
    return CYGNET_OK;
}

static cygnet_status warm_up(struct bench_case *c, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (int i = 0; i < N_WARM_UP && st == CYGNET_OK; i++) {
        struct sample sample;

        st = run_step(c, &sample, err);
        if (i == 0 && st == CYGNET_OK) {
            c->first_ms = (double)sample.wall_ns * 1e-6;
            c->loss_first = c->loss_last;
        }
    }
    c->n_requests = (uint64_t)c->alloc.n_requests;
    c->n_faults = 0;
    c->cpu_ns = 0;
    return st;
}

static cygnet_status measure(struct bench_case *c, cygnet_error *err)
{
    cygnet_status st;

    c->idle_bytes = measure_rss_bytes();
    c->samples = calloc(c->options->steps, sizeof(*c->samples));
    if (!c->samples)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for samples");
    workload_of(c);
    st = workload_init(&c->workload, &c->workload_options, NULL, err);
    if (st == CYGNET_OK)
        st = warm_up(c, err);
    for (uint32_t i = 0; i < c->options->steps && st == CYGNET_OK; i++)
        st = run_step(c, &c->samples[i], err);
    if (st != CYGNET_OK)
        return st;
    c->n_requests = (uint64_t)c->alloc.n_requests - c->n_requests;
    c->peak_bytes = measure_peak_rss_bytes();
    c->spread = measure_spread(c->samples, c->options->steps);
    return CYGNET_OK;
}

static void put_shape(struct json_builder *b, const cygnet_model *model)
{
    uint32_t shape[CYGNET_INPUT_MAX_DIMS];
    uint32_t n_dims = cygnet_model_input_shape(model, shape);
    char text[64] = "";

    for (uint32_t d = 0; d < n_dims; d++) {
        size_t used = strlen(text);

        (void)snprintf(text + used, sizeof(text) - used, d > 0 ? "x%u" : "%u", shape[d]);
    }
    json_put_string(b, "input", text);
}

static void put_memory(struct json_builder *b, const struct bench_case *c)
{
    uint32_t batch = c->options->batch;

    json_put_double(b, "peak_rss_mb", (double)c->peak_bytes * MB);
    json_put_double(b, "idle_rss_mb", (double)c->idle_bytes * MB);
    json_put_double(b, "planned_mb",
                    (double)cygnet_model_planned_bytes(c->workload.model) * MB);
    json_put_double(b, "bound_mb",
                    (double)yardstick_bytes(c->workload.model, batch) * MB);
}

static void put_work(struct json_builder *b, const struct bench_case *c)
{
    uint32_t batch = c->options->batch;
    struct model_cost cost = model_cost_of_step(c->workload.model, batch);
    double effective = yardstick_flops(c->workload.model, batch) * 1e-9;
    double gflops = effective / (c->spread.median_ms * 1e-3);
    double peak = peak_gflops(c->n_threads, -1);

    json_put_double(b, "gflop_per_step",
                    (cost.forward_flops + cost.backward_flops) * 1e-9);
    json_put_double(b, "gflop_effective", effective);
    json_put_double(b, "gflops", gflops);
    json_put_double(b, "peak_gflops", peak);
    json_put_double(b, "pct_of_peak", 100 * gflops / peak);
}

static void put_times(struct json_builder *b, const struct bench_case *c)
{
    double steps = c->options->steps;
    uint64_t waited;

    json_put_double(b, "ms_per_step", c->spread.median_ms);
    json_put_double(b, "ms_quartile_1", c->spread.low_ms);
    json_put_double(b, "ms_quartile_3", c->spread.high_ms);
    json_put_double(b, "first_step_ms", c->first_ms);
    json_put_double(b, "cpu_ms_per_step", (double)c->cpu_ns * 1e-6 / steps);
    json_put_double(b, "samples_per_s", c->options->batch / (c->spread.median_ms * 1e-3));
    if (measure_waited_ns(&waited))
        json_put_u64(b, "dropped", c->spread.dropped);
    else
        json_put_null(b, "dropped");
    json_put_bool(b, "contended", c->spread.contended);
}

static cygnet_status print_case(FILE *file, const struct bench_case *c, cygnet_error *err)
{
    const struct step_options *o = c->options;
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "engine", "cygnet");
    json_put_string(b, "model", c->name);
    put_shape(b, c->workload.model);
    json_put_u64(b, "classes", c->workload.classes);
    json_put_u64(b, "batch", o->batch);
    json_put_u64(b, "threads", c->n_threads);
    json_put_u64(b, "steps", o->steps);
    put_times(b, c);
    put_memory(b, c);
    json_put_double(b, "allocs_per_step", (double)c->n_requests / o->steps);
    json_put_double(b, "page_faults_per_step", (double)c->n_faults / o->steps);
    put_work(b, c);
    json_put_double(b, "loss_first", c->loss_first);
    json_put_double(b, "loss_last", c->loss_last);
    json_close(b);
    return bench_write(file, b, err);
}

/* In the child process. */
static int run_case(FILE *file, const struct step_options *o, const char *name,
                    uint32_t n_threads)
{
    struct bench_case c = {.options = o, .name = name, .n_threads = n_threads};
    cygnet_error err;
    cygnet_status st;

    st = measure(&c, &err);
    if (st == CYGNET_OK)
        st = print_case(file, &c, &err);
    workload_clear(&c.workload);
    free(c.samples);
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}

static int run_case_apart(FILE *file, const struct step_options *o, const char *name,
                          uint32_t n_threads)
{
    cygnet_error err;
    int status;
    pid_t child = fork();

    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(run_case(file, o, name, n_threads));
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        complain(&err, CYGNET_ENOMEM, errno, "no process for a case: %s",
                 strerror(errno));
        return bench_complain(BENCH_FAILED, &err);
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    complain(&err, CYGNET_ENOMEM, WTERMSIG(status), "%s was ended by signal %d", name,
             WTERMSIG(status));
    return bench_complain(BENCH_FAILED, &err);
}

static int run_cases(FILE *file, const struct step_options *o)
{
    int status = BENCH_DONE;

    for (size_t m = 0; m < o->n_models; m++) {
        for (size_t t = 0; t < o->n_threads && status == BENCH_DONE; t++)
            status = run_case_apart(file, o, o->models[m], o->threads[t]);
    }
    return status;
}

int bench_step(int argc, char **argv)
{
    struct step_options o = {.batch = 16, .steps = 100, .lr = 0.01, .json = "-"};
    cygnet_error err;
    cygnet_status st = command_line_parse(&o, ROWS, argc, argv, &err);
    FILE *file;
    int status;

    if (st == CYGNET_OK && o.n_models == 0)
        st = complain(&err, CYGNET_EINVAL, 0, "--model is missing");
    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    if (o.n_threads == 0)
        o.threads[o.n_threads++] = 1;
    file = bench_open(o.json, &err);
    if (!file)
        return bench_complain(BENCH_FAILED, &err);
    status = run_cases(file, &o);
    st = bench_close(file, &err);
    if (st != CYGNET_OK && status == BENCH_DONE)
        status = bench_complain(BENCH_FAILED, &err);
    return status;
}
