/* A run in a FedScale job that others began: its aggregator says nothing of its rounds,
 * so the clients' event lines do. */
#include "complain.h"
#include "fleet.h"
#include "progress.h"
#include "summary.h"

#include <stdio.h>

static void add_job(struct args *args, const struct fleet *f)
{
    const struct fleet_options *o = f->options;

    fleet_add_model(args, o);
    if (o->steps > 0)
        args_add(args, "--steps=%u", o->steps);
    else
        args_add(args, "--epochs=%u", o->epochs);
    args_add(args, "--batch=%u", o->batch);
    args_add(args, "--momentum=%.17g", o->momentum);
    args_add(args, "--deadline=%u", o->deadline_s);
    args_add(args, "--log=json");
    if (o->policy)
        args_add(args, "--policy=%s", o->policy);
    if (o->max_round_mj > 0)
        args_add(args, "--max-round-mj=%llu", (unsigned long long)o->max_round_mj);
    if (o->ca)
        args_add(args, "--ca=%s", o->ca);
}

static cygnet_status start_all(struct fleet *f, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    f->began = fleet_now_s();
    for (uint32_t i = 0; i < f->options->clients && st == CYGNET_OK; i++)
        st = fleet_start_client(f, i, add_job, err);
    return st;
}

static cygnet_status read_logs(struct fleet *f, struct progress *progress,
                               cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (uint32_t i = 0; i < f->options->clients && st == CYGNET_OK; i++) {
        char log[FILE_MAX_PATH];

        st = places_client_log(log, &f->places, i, err);
        if (st == CYGNET_OK)
            st = progress_read(progress, i, log, fleet_now_s(), err);
    }
    return st;
}

static bool any_running(struct fleet *f)
{
    for (uint32_t i = 0; i < f->options->clients; i++)
        if (process_running(fleet_client(f, i)))
            return true;
    return false;
}

static cygnet_status look(struct fleet *f, struct progress *progress, cygnet_error *err)
{
    bool finished = !any_running(f); /* before the last lines are read */
    uint32_t n_rounds = f->status.round;
    cygnet_status st = read_logs(f, progress, err);

    if (st == CYGNET_OK)
        st = progress_status(&f->status, progress, finished, err);
    if (st != CYGNET_OK)
        return st;
    f->heard = fleet_now_s();
    if (f->status.round != n_rounds)
        f->round_began = f->heard;
    table_show(&f->table, &f->status, 0, f->heard - f->round_began);
    return CYGNET_OK;
}

static cygnet_status all_died(struct fleet *f, uint32_t last, cygnet_error *err)
{
    char log[FILE_MAX_PATH];

    if (places_client_log(log, &f->places, last, NULL) == CYGNET_OK) {
        fprintf(stderr, "last lines of client %u:\n", last);
        fleet_show_tail(log);
    }
    return complain(err, CYGNET_ESTATE, 0, "every client has died");
}

/* The job ends with its clients. */
static cygnet_status watch(struct fleet *f, struct progress *progress, cygnet_error *err)
{
    uint32_t n = f->options->clients;
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && !f->status.finished) {
        uint32_t last;

        if (fleet_stop_asked())
            return complain(err, CYGNET_ECANCELLED, 0, "stopped");
        st = look(f, progress, err);
        last = fleet_note_deaths(f, true);
        if (st == CYGNET_OK && last < n && f->n_died == n)
            st = all_died(f, last, err);
        if (st == CYGNET_OK && !f->status.finished)
            fleet_pause_ms(FLEET_POLL_MS);
    }
    return st;
}

static cygnet_status summarize(struct fleet *f, cygnet_error *err)
{
    const struct summary s = {.options = f->options,
                              .status = &f->status,
                              .parameters = f->parameters,
                              .clients_died = f->n_died,
                              .seconds = f->heard - f->began};
    cygnet_status st = CYGNET_OK;

    if (f->options->out)
        st = summary_write(&s, f->places.summary, err);
    if (st == CYGNET_OK)
        summary_print(&s);
    return st;
}

cygnet_status join_run(struct fleet *f, cygnet_error *err)
{
    struct progress *progress = NULL;
    cygnet_status st = progress_create(&progress, f->options->clients, err);

    if (st == CYGNET_OK)
        st = start_all(f, err);
    if (st == CYGNET_OK)
        st = watch(f, progress, err);
    table_end(&f->table);
    if (st != CYGNET_OK)
        fleet_stop_all(f);
    else
        st = summarize(f, err);
    progress_destroy(progress);
    return st;
}
