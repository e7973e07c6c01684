/* What cygnet-fleet live has in hand while it runs, with a coordinator of its own
 * (live.c) or in a job that others began (join.c). */
#ifndef FLEET_FLEET_H
#define FLEET_FLEET_H

#include "places.h"
#include "process.h"
#include "table.h"

#define FLEET_POLL_MS 150
#define FLEET_STOP_LIMIT_MS 5000

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

/* Ends the run at the next look around: SIGINT, SIGTERM and SIGHUP. */
void fleet_catch_signals(void);
bool fleet_stop_asked(void);

double fleet_now_s(void);
void fleet_pause_ms(long ms);

/* The process of client i. */
struct process *fleet_client(struct fleet *f, uint32_t i);

/* Checks data, partition and model before any process is started, and says what is
 * planned. */
cygnet_status fleet_check_inputs(struct fleet *f, cygnet_error *err);

/* --model, --classes and --input. */
void fleet_add_model(struct args *args, const struct fleet_options *options);

/* Starts client i of a server; `add` adds the options that not all servers need. */
cygnet_status fleet_start_client(struct fleet *f, uint32_t i,
                                 void (*add)(struct args *args, const struct fleet *f),
                                 cygnet_error *err);

/* The last lines of a log, on standard error. */
void fleet_show_tail(const char *path);

/* Shows the clients that have died since, a client that ended well being none where
 * `may_end`. The last of them; options->clients: none. */
uint32_t fleet_note_deaths(struct fleet *f, bool may_end);

/* Ends every process. */
void fleet_stop_all(struct fleet *f);

/* ---- join.c ---- */

/* Takes part in the job of options->coordinator, to its end. */
cygnet_status join_run(struct fleet *f, cygnet_error *err);

#endif
