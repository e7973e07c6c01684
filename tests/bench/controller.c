/* The controller command: what reacting costs, and how fast it is. */
#include "tests/bench/controller_parts.h"

#include "examples/common/command_line.h"
#include "examples/common/complain.h"
#include "examples/common/options.h"
#include "tests/bench/bench.h"
#include "tests/bench/tail.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct part_row {
    const char *name;
    cygnet_status (*run)(const struct controller_options *o, cygnet_error *err);
    bool needs_two_cores;
} PARTS[] = {{"overhead", controller_overhead, false},
             {"vacate", controller_vacate, true},
             {"blocks", controller_blocks, false},
             {"react", controller_react, true}};

static cygnet_status read_model(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct controller_options *o = options;

    (void)name;
    (void)err;
    o->work.model = o->workload.model = text;
    o->has_model = true;
    return CYGNET_OK;
}

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct controller_options *o = options;

    o->work.input = text;
    return option_shape(o->workload.input, &o->workload.n_input_dims, name, text, err);
}

#define AT(field) offsetof(struct controller_options, field)

static const struct option_row ROWS[] = {
    {"model", OPTION_READ, 0, 0, 0, read_model},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"batch", OPTION_U32, AT(workload.batch), 1, 65536, NULL},
    {"pairs", OPTION_U32, AT(pairs), 1, 1000, NULL},
    {"seconds", OPTION_REAL, AT(seconds), 0.01, 3600, NULL},
    {"normal", OPTION_FLAG, AT(is_normal), 0, 0, NULL},
    {"revocations", OPTION_U32, AT(revocations), 1, 100000, NULL},
    {"loads", OPTION_U32, AT(loads), 1, 1000, NULL},
    {"attempts", OPTION_U32, AT(attempts), 1, 10000, NULL},
    {"load-seconds", OPTION_REAL, AT(load_s), 0.1, 3600, NULL},
    {"patience", OPTION_REAL, AT(patience_s), 0, 3600, NULL},
    {"steps", OPTION_U32, AT(steps), 1, 1000, NULL},
    {"core", OPTION_U32, AT(core), 0, 1023, NULL},
    {"set", OPTION_TEXT, AT(set), 0, 0, NULL},
    {"json", OPTION_TEXT, AT(json), 0, 0, NULL},
    {NULL, OPTION_FLAG, 0, 0, 0, NULL},
};

/* ---- What the parts share ---------------------------------------------------- */

struct json_builder *controller_row(const struct controller_options *o,
                                    const char *measure)
{
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "measure", measure);
    json_put_string(b, "model", o->work.model);
    json_put_string(b, "input", o->work.input);
    json_put_u64(b, "batch", o->workload.batch);
    return b;
}

void controller_put_times(struct json_builder *b, const char *name, double *ms, size_t n)
{
    static const struct {
        const char *suffix;
        double q;
    } rows[] = {{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1.0}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char key[64];

        (void)snprintf(key, sizeof(key), "%.40s_%s", name, rows[i].suffix);
        json_put_double(b, key, tail_quantile(ms, n, rows[i].q));
    }
}

cygnet_status controller_write(const struct controller_options *o, struct json_builder *b,
                               cygnet_error *err)
{
    struct bytes dropped;
    cygnet_status st;

    json_close(b);
    if (o->file)
        return bench_write(o->file, b, err);
    bytes_init(&dropped, 65536, NULL);
    st = json_build_finish(b, &dropped, err);
    bytes_clear(&dropped);
    return st;
}

void controller_say_times(const struct controller_options *o, const char *name,
                          double *ms, size_t n)
{
    if (!o->speaks)
        return;
    if (n == 0)
        printf("%s: never\n", name);
    else
        printf("%s: median %.2f, 95 %% within %.2f, longest %.2f ms (%zu times)\n", name,
               tail_quantile(ms, n, 0.5), tail_quantile(ms, n, 0.95),
               tail_quantile(ms, n, 1.0), n);
    (void)fflush(stdout);
}

/* ---- Which parts ------------------------------------------------------------- */

static bool is_in(const char *list, const char *name)
{
    size_t length = strlen(name);

    while (list && *list) {
        size_t n = strcspn(list, ",");

        if (n == length && strncmp(list, name, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return !list;
}

/* Every name of the list is a part. */
static cygnet_status check_set(const char *list, cygnet_error *err)
{
    while (list && *list) {
        size_t n = strcspn(list, ",");
        bool is_known = false;

        for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++)
            is_known |=
                strlen(PARTS[i].name) == n && strncmp(PARTS[i].name, list, n) == 0;
        if (!is_known)
            return complain(err, CYGNET_EINVAL, 0,
                            "--set %.20s: want overhead, vacate, blocks or react", list);
        list += n + (list[n] == ',');
    }
    return CYGNET_OK;
}

static cygnet_status run_part(const struct controller_options *o,
                              const struct part_row *part, cygnet_error *err)
{
    struct json_builder *b;

    if (!part->needs_two_cores || sysconf(_SC_NPROCESSORS_ONLN) > 1)
        return part->run(o, err);
    if (o->speaks)
        printf("%s: not here: it takes two cores\n", part->name);
    b = controller_row(o, part->name);
    json_put_string(b, "absent", "it takes two cores");
    return controller_write(o, b, err);
}

static cygnet_status run_parts(const struct controller_options *o, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]) && st == CYGNET_OK; i++) {
        if (is_in(o->set, PARTS[i].name))
            st = run_part(o, &PARTS[i], err);
    }
    return st;
}

static void init(struct controller_options *o)
{
    *o = (struct controller_options){.pairs = 60,
                                     .seconds = 0.5,
                                     .revocations = 200,
                                     .loads = 10,
                                     .attempts = 40,
                                     .load_s = 1.5,
                                     .patience_s = 20,
                                     .steps = 5};
    workload_options_init(&o->workload);
    o->workload.model = o->work.model = "mobilenet_v2";
    o->work.input = "3x32x32";
    o->workload.n_input_dims = 3;
    o->workload.input[0] = 3;
    o->workload.input[1] = o->workload.input[2] = 32;
}

int bench_controller(int argc, char **argv)
{
    struct controller_options o;
    cygnet_error err, lost;
    cygnet_status st;

    init(&o);
    st = command_line_parse(&o, ROWS, argc, argv, &err);
    if (st == CYGNET_OK)
        st = check_set(o.set, &err);
    if (st != CYGNET_OK)
        return bench_complain(BENCH_USAGE, &err);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(o.work.batch, sizeof(o.work.batch), "%" PRIu32, o.workload.batch);
    if (o.json)
        o.file = bench_open(o.json, &err);
    if (o.json && !o.file)
        return bench_complain(BENCH_FAILED, &err);
    o.speaks = o.file != stdout;
    st = run_parts(&o, &err);
    if (o.file && bench_close(o.file, st == CYGNET_OK ? &err : &lost) != CYGNET_OK &&
        st == CYGNET_OK)
        st = CYGNET_ESTORAGE;
    return st == CYGNET_OK ? BENCH_DONE : bench_complain(BENCH_FAILED, &err);
}
