/* What both kinds of runs share: checks, clients, signals. */
#include "fleet.h"
#include "complain.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLIENT_NICE 5
#define TAIL_LINES 8
#define FEDSCALE_MIN_ROWS 32
#define LOG_MAX_BYTES ((size_t)64 << 20)

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

bool fleet_stop_asked(void)
{
    return stop_asked != 0;
}

void fleet_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

double fleet_now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void fleet_pause_ms(long ms)
{
    const struct timespec step = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&step, NULL);
}

struct process *fleet_client(struct fleet *f, uint32_t i)
{
    return &f->processes[1 + i];
}

/* ---- Before anything is started ---------------------------------------- */

static void say_plan(const struct fleet *f, const struct dataset *data,
                     const uint32_t *dims, uint32_t n_dims)
{
    const struct fleet_options *o = f->options;

    printf("%u clients", o->clients);
    if (o->coordinator)
        printf(" of %s", o->coordinator);
    else
        printf(", %u a round, %u rounds", o->participants, o->rounds);
    printf("; %s: %u to train (%s), %u held out\n", o->data, data->train.n,
           o->partition_text, data->test.n);
    printf("model %s, %llu parameters, input ", o->model,
           (unsigned long long)f->parameters);
    for (uint32_t d = 0; d < n_dims; d++)
        printf("%s%u", d ? "x" : "", dims[d]);
    printf("; codec %s; seed %llu\n\n", o->codec, (unsigned long long)o->seed);
    fflush(stdout);
}

/* Builds the model here once: a wrong name or shape is found before any process
 * is started. */
static cygnet_status check_model(struct fleet *f, const struct dataset *data,
                                 cygnet_error *err)
{
    const struct fleet_options *o = f->options;
    cygnet_model_options options;
    cygnet_model *model;
    uint32_t dims[CYGNET_INPUT_MAX_DIMS];
    uint64_t row[CYGNET_INPUT_MAX_DIMS];
    uint32_t n_dims;
    struct image_shape shape;
    cygnet_status st;

    cygnet_model_options_init(&options);
    options.architecture = o->model;
    options.n_classes = o->classes;
    options.n_input_dims = o->n_input_dims;
    memcpy(options.input, o->input, sizeof(o->input));
    st = cygnet_model_create(&model, &options, err);
    if (st != CYGNET_OK)
        return st;
    n_dims = cygnet_model_input_shape(model, dims);
    f->parameters = cygnet_model_n_parameters(model);
    cygnet_model_destroy(model);
    for (uint32_t d = 0; d < n_dims; d++)
        row[d] = dims[d];
    st = image_shape_of_row(&shape, row, n_dims, data->shape, err);
    if (st == CYGNET_OK)
        say_plan(f, data, dims, n_dims);
    return st;
}

/* Every shard can be dealt; with too few rows an aggregator never selects a client, and
 * waits for it for ever. */
static cygnet_status check_shards(const struct fleet_options *o,
                                  const struct dataset *data, cygnet_error *err)
{
    uint32_t n = o->coordinator ? o->clients : 1;
    cygnet_status st = CYGNET_OK;

    for (uint32_t i = 0; i < n && st == CYGNET_OK; i++) {
        struct rows rows = {0};

        st =
            partition_shard(&rows, data, &o->partition_spec, o->seed, i, o->clients, err);
        if (st == CYGNET_OK && o->coordinator && rows.n < FEDSCALE_MIN_ROWS)
            st = complain(err, CYGNET_EDATA, 0,
                          "client %u would have %u examples; a FedScale job takes "
                          "devices with %d or more (--partition iid, fewer --clients)",
                          i, rows.n, FEDSCALE_MIN_ROWS);
        rows_clear(&rows);
    }
    return st;
}

cygnet_status fleet_check_inputs(struct fleet *f, cygnet_error *err)
{
    const struct fleet_options *o = f->options;
    struct dataset *data;
    cygnet_status st = dataset_open(&data, o->data, o->classes, err);

    if (st != CYGNET_OK)
        return st;
    st = check_shards(o, data, err);
    if (st == CYGNET_OK)
        st = check_model(f, data, err);
    dataset_destroy(data);
    return st;
}

/* ---- Clients ------------------------------------------------------------- */

void fleet_add_model(struct args *args, const struct fleet_options *o)
{
    char input[64] = "";
    size_t used = 0;

    args_add(args, "--model=%s", o->model);
    args_add(args, "--classes=%u", o->classes);
    for (uint32_t d = 0; d < o->n_input_dims; d++)
        used += (size_t)snprintf(input + used, sizeof(input) - used, "%s%u", d ? "x" : "",
                                 o->input[d]);
    if (used > 0)
        args_add(args, "--input=%s", input);
}

cygnet_status fleet_start_client(struct fleet *f, uint32_t i,
                                 void (*add)(struct args *args, const struct fleet *f),
                                 cygnet_error *err)
{
    const struct fleet_options *o = f->options;
    struct args args = {.n = 0};
    char log[FILE_MAX_PATH];
    cygnet_status st = places_client_log(log, &f->places, i, err);

    if (st != CYGNET_OK)
        return st;
    unlink(log);
    args_add(&args, "%s", f->places.client);
    args_add(&args, "--server=%s", o->coordinator ? o->coordinator : f->url);
    args_add(&args, "--state-dir=%s/client-%u", f->places.work, i);
    args_add(&args, "--data=%s", o->data);
    args_add(&args, "--classes=%u", o->classes);
    args_add(&args, "--partition=%s", o->partition_text);
    args_add(&args, "--shard=%u/%u", i, o->clients);
    args_add(&args, "--seed=%llu", (unsigned long long)o->seed);
    args_add(&args, "--threads=%u", o->threads);
    args_add(&args, "--full-priority");
    args_add(&args, "--assume=charging,idle,unmetered");
    args_add(&args, "--until-done");
    add(&args, f);
    st = process_start(fleet_client(f, i), &args, log, CLIENT_NICE, err);
    args_clear(&args);
    return st;
}

uint32_t fleet_note_deaths(struct fleet *f, bool may_end)
{
    uint32_t n = f->options->clients;
    uint32_t last = n;

    for (uint32_t i = 0; i < n; i++) {
        struct process *process = fleet_client(f, i);
        char how[64];

        if (f->noted[i] || process_running(process))
            continue;
        f->noted[i] = true;
        if (may_end && !process_failed(process))
            continue;
        process_describe(how, sizeof(how), process);
        table_note(&f->table, "client %u died: %s", i, how);
        f->n_died++;
        last = i;
    }
    return last;
}

void fleet_show_tail(const char *path)
{
    uint8_t *text;
    size_t len;
    size_t from;
    int lines = 0;

    if (file_read(&text, &len, path, LOG_MAX_BYTES, NULL) != CYGNET_OK)
        return;
    for (from = len; from > 0 && lines <= TAIL_LINES; from--)
        lines += text[from - 1] == '\n';
    from += lines > TAIL_LINES ? 1u : 0u;
    while (from > 0 && from < len && text[from - 1] != '\n')
        from++;
    fprintf(stderr, "%s", (const char *)text + from);
    free(text);
}

void fleet_stop_all(struct fleet *f)
{
    for (uint32_t i = 0; i <= f->options->clients; i++)
        process_signal(&f->processes[i], SIGTERM);
    process_wait_all(f->processes, f->options->clients + 1, FLEET_STOP_LIMIT_MS);
}
