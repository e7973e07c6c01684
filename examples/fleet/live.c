/* One live run: check, start, watch, tidy up. */
#include "live.h"
#include "certificate.h"
#include "complain.h"
#include "fleet.h"
#include "summary.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define START_LIMIT_MS 30000
#define GOODBYE_LIMIT_MS 8000 /* for clients to hear that training is over */
#define DEAF_LIMIT_MS 60000   /* without an answer of a running coordinator */

static struct process *coordinator(struct fleet *f)
{
    return &f->processes[0];
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
    fleet_add_model(&args, f->options);
    add_training(&args, f->options);
    st = process_start(coordinator(f), &args, f->places.log, 0, err);
    args_clear(&args);
    return st;
}

static cygnet_status coordinator_failed(struct fleet *f, const char *what,
                                        cygnet_error *err)
{
    char how[64];

    process_describe(how, sizeof(how), coordinator(f));
    table_end(&f->table);
    fprintf(stderr, "last lines of the coordinator:\n");
    fleet_show_tail(f->places.log);
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
    double limit = fleet_now_s() + START_LIMIT_MS / 1000.0;

    while (!read_port(f)) {
        if (fleet_stop_asked())
            return complain(err, CYGNET_ECANCELLED, 0, "stopped");
        if (!process_running(coordinator(f)))
            return coordinator_failed(f, "ended too early", err);
        if (fleet_now_s() > limit)
            return complain(err, CYGNET_ETIMEOUT, 0,
                            "the coordinator has not opened its port in %d s",
                            START_LIMIT_MS / 1000);
        fleet_pause_ms(20);
    }
    return CYGNET_OK;
}

static void add_server(struct args *args, const struct fleet *f)
{
    args_add(args, "--population=fleet");
    args_add(args, "--ca=%s", f->places.ca);
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
        st = fleet_start_client(f, i, add_server, err);
    f->began = f->round_began = f->heard = fleet_now_s();
    return st;
}

/* ---- Watching ----------------------------------------------------------- */

static cygnet_status all_died(struct fleet *f, uint32_t last, cygnet_error *err)
{
    char log[FILE_MAX_PATH];

    if (places_client_log(log, &f->places, last, NULL) == CYGNET_OK) {
        fprintf(stderr, "last lines of client %u:\n", last);
        fleet_show_tail(log);
    }
    if (f->status.n_rows == 0 && f->status.checked_in < f->options->clients)
        return complain(err, CYGNET_ESTATE, 0,
                        "client %u ended before every client was known, so that no "
                        "round can begin",
                        last);
    return complain(err, CYGNET_ESTATE, 0, "every client has ended");
}

/* An error when no round can follow the deaths since. */
static cygnet_status check_clients(struct fleet *f, cygnet_error *err)
{
    uint32_t n = f->options->clients;
    uint32_t last = fleet_note_deaths(f, false);

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
        f->heard = fleet_now_s();
        if (f->status.round != round)
            f->round_began = f->heard;
        return CYGNET_OK;
    }
    if (fleet_now_s() - f->heard > DEAF_LIMIT_MS / 1000.0)
        return err->status;
    return CYGNET_OK;
}

static cygnet_status watch(struct fleet *f, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && !f->status.finished) {
        if (fleet_stop_asked())
            return complain(err, CYGNET_ECANCELLED, 0, "stopped");
        if (!process_running(coordinator(f)))
            return coordinator_failed(f, "ended too early", err);
        st = poll_status(f, err);
        if (st == CYGNET_OK)
            table_show(&f->table, &f->status, f->options->rounds,
                       fleet_now_s() - f->round_began);
        if (st == CYGNET_OK && !f->status.finished)
            st = check_clients(f, err);
        if (st == CYGNET_OK && !f->status.finished)
            fleet_pause_ms(FLEET_POLL_MS);
    }
    return st;
}

/* ---- Ending ------------------------------------------------------------- */

/* Clients hear of the end by themselves; the coordinator is told. */
static cygnet_status let_end(struct fleet *f, cygnet_error *err)
{
    process_wait_all(&f->processes[1], f->options->clients, GOODBYE_LIMIT_MS);
    process_signal(coordinator(f), SIGTERM);
    process_wait_all(coordinator(f), 1, FLEET_STOP_LIMIT_MS);
    if (process_failed(coordinator(f)))
        return coordinator_failed(f, "has not saved the model: is the disk full?", err);
    return CYGNET_OK;
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
        fleet_stop_all(f);
    if (st == CYGNET_OK)
        st = summarize(f, err);
    return st;
}

cygnet_status live_run(const struct fleet_options *options, cygnet_error *err)
{
    struct fleet f = {.options = options};
    cygnet_status st;

    fleet_catch_signals();
    table_init(&f.table);
    st = fleet_check_inputs(&f, err);
    if (st == CYGNET_OK)
        st = places_open(&f.places, options, err);
    if (st != CYGNET_OK)
        return st;
    f.processes = calloc(options->clients + 1u, sizeof(*f.processes));
    f.noted = calloc(options->clients, sizeof(*f.noted));
    if (f.processes && f.noted)
        st = options->coordinator ? join_run(&f, err) : run(&f, err);
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
