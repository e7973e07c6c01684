/* One live run: check, start, watch, tidy up. */
#include "live.h"
#include "certificate.h"
#include "complain.h"
#include "places.h"
#include "process.h"
#include "summary.h"
#include "table.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 150
#define START_LIMIT_MS 30000
#define STOP_LIMIT_MS 5000
#define GOODBYE_LIMIT_MS 8000 /* for clients to hear that training is over */
#define DEAF_LIMIT_MS 60000   /* without an answer of a running coordinator */
#define CLIENT_NICE 5
#define TAIL_LINES 8
#define LOG_MAX_BYTES ((size_t)64 << 20)

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

/* processes  the coordinator, then the clients
 * noted      deaths already shown, by client
 * n_died     clients that ended before the training did */
struct fleet {
    const struct fleet_options *options;
    struct places places;
    struct process *processes;
    bool *noted;
    uint32_t n_died;
    struct status_reader *reader;
    struct status status;
    struct table table;
    uint64_t parameters;
    char url[64];
    double began;
    double round_began;
    double heard;
};

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void pause_ms(long ms)
{
    const struct timespec step = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&step, NULL);
}

static struct process *coordinator(struct fleet *f)
{
    return &f->processes[0];
}

static struct process *client(struct fleet *f, uint32_t i)
{
    return &f->processes[1 + i];
}

/* ---- Before anything is started ---------------------------------------- */

static void say_plan(const struct fleet *f, const struct dataset *data,
                     const uint32_t *dims, uint32_t n_dims)
{
    const struct fleet_options *o = f->options;

    printf("%u clients, %u a round, %u rounds; %s: %u to train (%s), %u held out\n",
           o->clients, o->participants, o->rounds, o->data, data->train.n,
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

static cygnet_status check_inputs(struct fleet *f, cygnet_error *err)
{
    const struct fleet_options *o = f->options;
    struct dataset *data;
    struct rows rows = {0};
    cygnet_status st = dataset_open(&data, o->data, o->classes, err);

    if (st != CYGNET_OK)
        return st;
    st = partition_shard(&rows, data, &o->partition_spec, o->seed, 0, o->clients, err);
    if (st == CYGNET_OK)
        st = check_model(f, data, err);
    rows_clear(&rows);
    dataset_destroy(data);
    return st;
}

/* ---- Starting ----------------------------------------------------------- */

static void add_training(struct args *args, const struct fleet_options *o)
{
    args_add(args, "--rounds=%u", o->rounds);
    args_add(args, "--participants=%u", o->participants);
    args_add(args, "--min-clients=%u", o->clients);
    args_add(args, "--over-commitment=%.17g", o->over_commitment);
    args_add(args, "--deadline=%u", o->deadline_s);
    args_add(args, "--lease=%u", o->lease_s);
    args_add(args, "--grace=%u", o->lease_s);
    args_add(args, "--epochs=%u", o->epochs);
    args_add(args, "--batch=%u", o->batch);
    args_add(args, "--lr=%.17g", o->lr);
    args_add(args, "--momentum=%.17g", o->momentum);
    args_add(args, "--codec=%s", o->codec);
    args_add(args, "--seed=%llu", (unsigned long long)o->seed);
    args_add(args, "--eval=%s", o->data);
    if (o->policy)
        args_add(args, "--policy=%s", o->policy);
    if (o->max_round_mj > 0)
        args_add(args, "--max-round-mj=%llu", (unsigned long long)o->max_round_mj);
    if (o->target_accuracy <= 1.0)
        args_add(args, "--target-accuracy=%.17g", o->target_accuracy);
}

static void add_model(struct args *args, const struct fleet_options *o)
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

static cygnet_status start_coordinator(struct fleet *f, cygnet_error *err)
{
    struct args args = {.n = 0};
    cygnet_status st;

    args_add(&args, "%s", f->places.coordinator);
    args_add(&args, "--listen=127.0.0.1:0");
    args_add(&args, "--port-file=%s", f->places.port);
    args_add(&args, "--state-dir=%s/coordinator", f->places.work);
    args_add(&args, "--tls-cert=%s", f->places.cert);
    args_add(&args, "--tls-key=%s", f->places.key);
    args_add(&args, "--population=fleet");
    args_add(&args, "--out-model=%s", f->places.model);
    add_model(&args, f->options);
    add_training(&args, f->options);
    st = process_start(coordinator(f), &args, f->places.log, 0, err);
    args_clear(&args);
    return st;
}

static cygnet_status start_client(struct fleet *f, uint32_t i, cygnet_error *err)
{
    const struct fleet_options *o = f->options;
    struct args args = {.n = 0};
    char log[FILE_MAX_PATH];
    cygnet_status st = places_client_log(log, &f->places, i, err);

    if (st != CYGNET_OK)
        return st;
    unlink(log);
    args_add(&args, "%s", f->places.client);
    args_add(&args, "--server=%s", f->url);
    args_add(&args, "--population=fleet");
    args_add(&args, "--state-dir=%s/client-%u", f->places.work, i);
    args_add(&args, "--ca=%s", f->places.ca);
    args_add(&args, "--data=%s", o->data);
    args_add(&args, "--classes=%u", o->classes);
    args_add(&args, "--partition=%s", o->partition_text);
    args_add(&args, "--shard=%u/%u", i, o->clients);
    args_add(&args, "--seed=%llu", (unsigned long long)o->seed);
    args_add(&args, "--threads=%u", o->threads);
    args_add(&args, "--full-priority");
    args_add(&args, "--assume=charging,idle,unmetered");
    args_add(&args, "--until-done");
    st = process_start(client(f, i), &args, log, CLIENT_NICE, err);
    args_clear(&args);
    return st;
}

/* The last lines of a log, on standard error. */
static void show_tail(const char *path)
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

static cygnet_status coordinator_failed(struct fleet *f, const char *what,
                                        cygnet_error *err)
{
    char how[64];

    process_describe(how, sizeof(how), coordinator(f));
    table_end(&f->table);
    fprintf(stderr, "last lines of the coordinator:\n");
    show_tail(f->places.log);
    return complain(err, CYGNET_ESTATE, 0, "the coordinator %s (%s)", what, how);
}

/* Reads the port once the coordinator has written it. */
static bool read_port(struct fleet *f)
{
    uint8_t *text;
    size_t len;
    unsigned long port;

    if (file_read(&text, &len, f->places.port, 64, NULL) != CYGNET_OK)
        return false;
    port = strtoul((const char *)text, NULL, 10);
    free(text);
    if (port == 0 || port > 65535)
        return false;
    snprintf(f->url, sizeof(f->url), "https://127.0.0.1:%lu", port);
    return true;
}

static cygnet_status await_port(struct fleet *f, cygnet_error *err)
{
    double limit = now_s() + START_LIMIT_MS / 1000.0;

    while (!read_port(f)) {
        if (stop_asked)
            return complain(err, CYGNET_ECANCELLED, 0, "stopped");
        if (!process_running(coordinator(f)))
            return coordinator_failed(f, "ended too early", err);
        if (now_s() > limit)
            return complain(err, CYGNET_ETIMEOUT, 0,
                            "the coordinator has not opened its port in %d s",
                            START_LIMIT_MS / 1000);
        pause_ms(20);
    }
    return CYGNET_OK;
}

static cygnet_status start_all(struct fleet *f, cygnet_error *err)
{
    char url[96];
    cygnet_status st = certificate_make(f->places.ca, f->places.cert, f->places.key, err);

    if (st == CYGNET_OK)
        st = start_coordinator(f, err);
    if (st == CYGNET_OK)
        st = await_port(f, err);
    if (st == CYGNET_OK) {
        snprintf(url, sizeof(url), "%s/v1/status", f->url);
        st = status_reader_create(&f->reader, url, f->places.ca, err);
    }
    for (uint32_t i = 0; i < f->options->clients && st == CYGNET_OK; i++)
        st = start_client(f, i, err);
    f->began = f->round_began = f->heard = now_s();
    return st;
}

/* ---- Watching ----------------------------------------------------------- */

static cygnet_status all_died(struct fleet *f, uint32_t last, cygnet_error *err)
{
    char log[FILE_MAX_PATH];

    if (places_client_log(log, &f->places, last, NULL) == CYGNET_OK) {
        fprintf(stderr, "last lines of client %u:\n", last);
        show_tail(log);
    }
    if (f->status.n_rows == 0 && f->status.checked_in < f->options->clients)
        return complain(err, CYGNET_ESTATE, 0,
                        "client %u ended before every client was known, so that no "
                        "round can begin",
                        last);
    return complain(err, CYGNET_ESTATE, 0, "every client has ended");
}

/* Shows clients that have died since; an error when no round can follow. */
static cygnet_status check_clients(struct fleet *f, cygnet_error *err)
{
    uint32_t n = f->options->clients;
    uint32_t last = n;

    for (uint32_t i = 0; i < n; i++) {
        char how[64];

        if (f->noted[i] || process_running(client(f, i)))
            continue;
        process_describe(how, sizeof(how), client(f, i));
        table_note(&f->table, "client %u died: %s", i, how);
        f->noted[i] = true;
        f->n_died++;
        last = i;
    }
    if (last == n)
        return CYGNET_OK;
    if (f->n_died == n || (f->status.n_rows == 0 && f->status.checked_in < n))
        return all_died(f, last, err);
    return CYGNET_OK;
}

static cygnet_status poll_status(struct fleet *f, cygnet_error *err)
{
    uint32_t round = f->status.round;

    if (status_read(&f->status, f->reader, err) == CYGNET_OK) {
        f->heard = now_s();
        if (f->status.round != round)
            f->round_began = f->heard;
        return CYGNET_OK;
    }
    if (now_s() - f->heard > DEAF_LIMIT_MS / 1000.0)
        return err->status;
    return CYGNET_OK;
}

static cygnet_status watch(struct fleet *f, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && !f->status.finished) {
        if (stop_asked)
            return complain(err, CYGNET_ECANCELLED, 0, "stopped");
        if (!process_running(coordinator(f)))
            return coordinator_failed(f, "ended too early", err);
        st = poll_status(f, err);
        if (st == CYGNET_OK)
            table_show(&f->table, &f->status, f->options->rounds,
                       now_s() - f->round_began);
        if (st == CYGNET_OK && !f->status.finished)
            st = check_clients(f, err);
        if (st == CYGNET_OK && !f->status.finished)
            pause_ms(POLL_MS);
    }
    return st;
}

/* ---- Ending ------------------------------------------------------------- */

/* Clients hear of the end by themselves; the coordinator is told. */
static cygnet_status let_end(struct fleet *f, cygnet_error *err)
{
    process_wait_all(&f->processes[1], f->options->clients, GOODBYE_LIMIT_MS);
    process_signal(coordinator(f), SIGTERM);
    process_wait_all(coordinator(f), 1, STOP_LIMIT_MS);
    if (process_failed(coordinator(f)))
        return coordinator_failed(f, "has not saved the model: is the disk full?", err);
    return CYGNET_OK;
}

static void stop_all(struct fleet *f)
{
    for (uint32_t i = 0; i <= f->options->clients; i++)
        process_signal(&f->processes[i], SIGTERM);
    process_wait_all(f->processes, f->options->clients + 1, STOP_LIMIT_MS);
}

static cygnet_status summarize(struct fleet *f, cygnet_error *err)
{
    struct summary s = {.options = f->options,
                        .status = &f->status,
                        .parameters = f->parameters,
                        .clients_died = f->n_died,
                        .seconds = f->heard - f->began};
    cygnet_status st = summary_hash(s.model_sha256, f->places.model, err);

    if (st == CYGNET_OK && f->options->out)
        st = summary_write(&s, f->places.summary, err);
    if (st == CYGNET_OK)
        summary_print(&s);
    return st;
}

static cygnet_status run(struct fleet *f, cygnet_error *err)
{
    cygnet_status st = start_all(f, err);

    if (st == CYGNET_OK)
        st = watch(f, err);
    table_end(&f->table);
    if (st == CYGNET_OK)
        st = let_end(f, err);
    else
        stop_all(f);
    if (st == CYGNET_OK)
        st = summarize(f, err);
    return st;
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

cygnet_status live_run(const struct fleet_options *options, cygnet_error *err)
{
    struct fleet f = {.options = options};
    cygnet_status st;

    catch_signals();
    table_init(&f.table);
    st = check_inputs(&f, err);
    if (st == CYGNET_OK)
        st = places_open(&f.places, options, err);
    if (st != CYGNET_OK)
        return st;
    f.processes = calloc(options->clients + 1u, sizeof(*f.processes));
    f.noted = calloc(options->clients, sizeof(*f.noted));
    if (f.processes && f.noted)
        st = run(&f, err);
    else
        st =
            complain(err, CYGNET_ENOMEM, 0, "no memory for %u clients", options->clients);
    status_reader_destroy(f.reader);
    status_clear(&f.status);
    free(f.processes);
    free(f.noted);
    places_close(&f.places);
    return st;
}
