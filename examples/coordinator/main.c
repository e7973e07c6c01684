/* cygnet-coordinator: a reference coordinator for the native protocol. This file
 * is its life: start, the loop that closes rounds, stop. */
#include "../common/complain.h"
#include "evaluate.h"
#include "server.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS 100
#define SWEEP_MS 1000

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL); /* a write fails with EFBIG instead */
}

/* ---- Lines on stdout ---------------------------------------------------- */

static void print_real(const char *name, double value, bool json)
{
    if (json && !isfinite(value))
        printf(",\"%s\":null", name);
    else if (json)
        printf(",\"%s\":%.6f", name, value);
    else if (!isnan(value))
        printf(", %s %.4f", name, value);
}

static void print_round(const struct round_row *row, const struct options *o)
{
    const char *format =
        o->log_json ? "{\"event\":\"round\",\"round\":%llu,\"participants\":%u,"
                      "\"failed\":%u,\"bytes_up\":%llu,\"bytes_down\":%llu"
                    : "round %llu: %u participants, %u failed, %llu bytes up, %llu down";

    printf(format, (unsigned long long)row->round, row->n_accepted, row->n_failed,
           (unsigned long long)row->bytes_up, (unsigned long long)row->bytes_down);
    print_real("loss", row->loss, o->log_json);
    print_real("accuracy", row->accuracy, o->log_json);
    print_real("seconds", row->seconds, o->log_json);
    if (o->log_json)
        printf(",\"model_sha256\":\"%s\"}", row->result);
    printf("\n");
}

static void print_listening(const struct options *o, uint16_t port)
{
    const char *scheme = o->plain_http ? "http" : "https";
    bool v6 = strchr(o->host, ':') != NULL;
    char url[128];

    snprintf(url, sizeof url, "%s://%s%s%s:%u", scheme, v6 ? "[" : "", o->host,
             v6 ? "]" : "", (unsigned)port);
    if (o->log_json)
        printf("{\"event\":\"listening\",\"url\":\"%s\"}\n", url);
    else
        printf("listening on %s\n", url);
}

/* ---- Closing a round ---------------------------------------------------- */

static void warn(const cygnet_error *err)
{
    fprintf(stderr, "cygnet-coordinator: %s\n", err->message);
}

/* Weights that are too wild for a loss are no reason to stop: it is unknown. */
static cygnet_status evaluate(struct round_row *row, struct evaluator *e,
                              const struct global *next, cygnet_error *err)
{
    cygnet_status st =
        evaluator_run(&row->loss, &row->accuracy, e, global_weights(next), err);

    if (st == CYGNET_ENUMERIC) {
        warn(err);
        row->loss = row->accuracy = (double)NAN;
        return CYGNET_OK;
    }
    return st;
}

/* The slow half, without the lock: nobody changes a round that is CLOSING. */
static cygnet_status compute(struct global **next, struct round_row *row,
                             struct rounds *r, struct evaluator *e, cygnet_error *err)
{
    cygnet_tensors *weights = NULL;
    cygnet_status st = aggregate_apply(&weights, r->round.sum, global_weights(r->global),
                                       r->options->server_lr, err);

    if (st == CYGNET_OK)
        st = global_create(next, weights, r->files, err);
    if (st == CYGNET_OK)
        st = evaluate(row, e, *next, err);
    if (st != CYGNET_OK)
        return st;
    memcpy(row->result, global_sha256(*next), sizeof row->result);
    row->state = ROUND_DONE;
    row->n_failed = rounds_count_failed(&r->round);
    row->seconds = (double)(rounds_now_ms(r) - r->round.opened_ms) / 1000.0;
    return CYGNET_OK;
}

/* Called with the lock held, and returns with it held. */
static cygnet_status close_round(struct rounds *r, struct evaluator *e, cygnet_error *err)
{
    struct round_row row = r->round.row;
    struct global *next = NULL;
    cygnet_status st;

    pthread_mutex_unlock(&r->lock);
    st = compute(&next, &row, r, e, err);
    pthread_mutex_lock(&r->lock);
    if (st == CYGNET_ENUMERIC) {
        warn(err);
        return rounds_discard(r, err);
    }
    if (st != CYGNET_OK) {
        global_unref(next);
        return st;
    }
    st = rounds_finish(r, next, &row, err);
    if (st == CYGNET_OK)
        print_round(&row, r->options);
    return st;
}

/* ---- The loop ----------------------------------------------------------- */

/* finished_ms  when the run ended; 0: not yet
 * saved        the final weights are in --out-model
 * trouble      what is wrong at the moment; OK: nothing */
struct loop {
    struct rounds *r;
    struct evaluator *e;
    struct server *server;
    int64_t finished_ms;
    int64_t swept_ms;
    bool saved;
    cygnet_error trouble;
};

static bool all_informed(const struct rounds *r)
{
    for (size_t i = 0; i < r->clients.n; i++)
        if (!r->clients.items[i].informed)
            return false;
    return true;
}

static bool may_exit(struct loop *loop)
{
    const struct rounds *r = loop->r;
    int64_t now = rounds_now_ms(r);

    if (r->phase != PHASE_FINISHED || !r->options->exit_when_finished)
        return false;
    if (loop->finished_ms == 0)
        loop->finished_ms = now;
    return (loop->saved && all_informed(r)) ||
           now - loop->finished_ms >= (int64_t)r->options->linger_s * 1000;
}

static void wait_a_little(struct rounds *r)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&r->changed, &r->lock, &until);
}

static cygnet_status save_model(struct loop *loop, cygnet_error *err)
{
    struct rounds *r = loop->r;
    struct global *final = global_ref(r->global);
    cygnet_status st = CYGNET_OK;

    pthread_mutex_unlock(&r->lock);
    if (r->options->out_model)
        st = cygnet_tensors_save(global_weights(final), r->options->out_model, err);
    global_unref(final);
    pthread_mutex_lock(&r->lock);
    loop->saved = st == CYGNET_OK;
    return st;
}

static cygnet_status step(struct loop *loop, cygnet_error *err)
{
    struct rounds *r = loop->r;
    cygnet_status st = rounds_tick(r, err);

    if (st == CYGNET_OK && r->phase == PHASE_CLOSING)
        st = close_round(r, loop->e, err);
    if (st == CYGNET_OK && r->phase == PHASE_FINISHED && !loop->saved)
        st = save_model(loop, err);
    return st;
}

/* Housekeeping; needs no lock. */
static void sweep(struct loop *loop)
{
    int64_t now = rounds_now_ms(loop->r);

    rounds_prune(loop->r);
    if (now - loop->swept_ms < SWEEP_MS)
        return;
    loop->swept_ms = now;
    server_sweep(loop->server);
}

/* A full disk, no memory, a database that somebody else holds: all may pass, and
 * nothing was half done. It is said once. */
static bool may_pass(struct loop *loop, cygnet_status st, const cygnet_error *err)
{
    if (st == CYGNET_OK) {
        loop->trouble.status = CYGNET_OK;
        return true;
    }
    if (st != CYGNET_ENOSPC && st != CYGNET_ENOMEM && st != CYGNET_EBUSY)
        return false;
    if (loop->trouble.status != st)
        warn(err);
    loop->trouble = *err;
    return true;
}

/* Asked to stop, nothing has to be saved; but a model that should be in a file by now
 * and is not must not look like success. */
static cygnet_status stopped(const struct loop *loop, cygnet_error *err)
{
    if (loop->r->phase != PHASE_FINISHED || loop->saved ||
        loop->trouble.status == CYGNET_OK)
        return CYGNET_OK;
    *err = loop->trouble;
    return err->status;
}

static cygnet_status run(struct loop *loop, cygnet_error *err)
{
    struct rounds *r = loop->r;
    cygnet_status st = CYGNET_OK;

    pthread_mutex_lock(&r->lock);
    while (!stop_asked && !may_exit(loop)) {
        st = step(loop, err);
        if (!may_pass(loop, st, err))
            break;
        pthread_mutex_unlock(&r->lock);
        sweep(loop);
        pthread_mutex_lock(&r->lock);
        if (st != CYGNET_OK || r->phase != PHASE_CLOSING)
            wait_a_little(r);
    }
    if (stop_asked)
        st = stopped(loop, err);
    pthread_mutex_unlock(&r->lock);
    return st;
}

/* ---- Start and stop ----------------------------------------------------- */

static cygnet_status announce(const struct options *o, uint16_t port, cygnet_error *err)
{
    char text[8];
    int n = snprintf(text, sizeof text, "%u\n", (unsigned)port);

    print_listening(o, port);
    return o->port_file ? files_save(o->port_file, text, (size_t)n, err) : CYGNET_OK;
}

static cygnet_status serve(struct rounds *r, struct evaluator *e, cygnet_error *err)
{
    struct server *server = NULL;
    uint16_t port = 0;
    cygnet_status st = server_create(&server, &port, r, err);

    if (st == CYGNET_OK)
        st = announce(r->options, port, err);
    if (st == CYGNET_OK) {
        struct loop loop = {.r = r,
                            .e = e,
                            .server = server,
                            .swept_ms = rounds_now_ms(r)};
        st = run(&loop, err);
    }
    server_destroy(server);
    return st;
}

static cygnet_status start(struct files *files, struct evaluator *e,
                           const struct options *o, cygnet_error *err)
{
    char path[FILES_PATH_MAX];
    cygnet_tensors *initial = NULL;
    struct rounds *rounds = NULL;
    struct tools tools = {o, files, NULL, &clock_of_system};
    cygnet_status st;

    files_db_path(path, files);
    st = db_open(&tools.db, path, err);
    if (st == CYGNET_OK)
        st = evaluator_initial(&initial, e, o, err);
    if (st == CYGNET_OK)
        st = rounds_create(&rounds, &tools, initial, err);
    if (st == CYGNET_OK)
        st = serve(rounds, e, err);
    rounds_destroy(rounds);
    db_close(tools.db);
    return st;
}

static cygnet_status coordinate(struct options *o, cygnet_error *err)
{
    struct evaluator *e = NULL;
    struct files files;
    cygnet_status st = evaluator_create(&e, o, err);

    if (st == CYGNET_OK)
        st = files_open(&files, o->state_dir, err);
    if (st == CYGNET_OK) {
        st = start(&files, e, o, err);
        files_close(&files);
    }
    evaluator_destroy(e);
    return st;
}

int main(int argc, char **argv)
{
    struct options options;
    cygnet_error err = {0};
    cygnet_status st = options_parse(&options, argc, argv, &err);

    if (st == CYGNET_OK && options.help) {
        fputs(OPTIONS_HELP, stdout);
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_signals();
    if (st == CYGNET_OK)
        st = coordinate(&options, &err);
    if (st == CYGNET_OK)
        return 0;
    fprintf(stderr, "cygnet-coordinator: %s\n", err.message);
    return st == CYGNET_EINVAL ? 2 : 1;
}
