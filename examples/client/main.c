/* cygnet-client: a configurable client on the public face of the library. */
#include "client_host.h"
#include "complain.h"
#include "file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POWER_MODEL_MAX_BYTES 65536u

enum exit_status { DONE = 0, FAILED = 1, USAGE = 2, NOTHING_DONE = 3, STOPPED = 4 };

/* For the signal handler alone; set before it is installed, never changed. */
static cygnet_client *running;

static void on_signal(int number)
{
    (void)number;
    cygnet_client_cancel(running);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int complain_at_edge(const cygnet_error *err)
{
    fflush(stdout);
    fprintf(stderr, "cygnet-client: %s (%s)\n", err->message,
            cygnet_status_name(err->status));
    return FAILED;
}

static int exit_status(cygnet_outcome outcome)
{
    if (outcome == CYGNET_OUTCOME_COMPLETED || outcome == CYGNET_OUTCOME_FINISHED ||
        outcome == CYGNET_OUTCOME_EVALUATED)
        return DONE;
    return outcome == CYGNET_OUTCOME_INTERRUPTED ? STOPPED : NOTHING_DONE;
}

static void fill_options(cygnet_options *out, const struct client_options *o,
                         const cygnet_host *hooks)
{
    cygnet_options_init(out);
    out->server_url = o->server;
    out->population = o->population;
    out->state_dir = o->state_dir;
    out->ca_file = o->ca_file;
    out->allow_loopback_http = o->loopback_http;
    out->n_threads = o->threads;
    out->policy = o->policy;
    out->full_priority = o->full_priority;
    out->energy_mode = o->energy;
    out->max_round_mj = o->max_round_mj;
    out->battery_mwh = o->battery_mwh;
    /* shards of one run must not be the same client */
    out->seed = o->seed ? o->seed * UINT64_C(0x9e3779b97f4a7c15) + o->shard + 1 : 0;
    out->host = hooks;
}

static void fill_job(cygnet_job *out, const struct client_options *o)
{
    cygnet_job_init(out);
    out->architecture = o->model;
    out->n_classes = o->classes;
    out->n_input_dims = o->n_input_dims;
    memcpy(out->input, o->input, sizeof(out->input));
    if (o->steps > 0 || o->epochs > 0) {
        out->steps = o->steps;
        out->epochs = o->epochs;
    }
    if (o->batch > 0)
        out->batch = o->batch;
    if (o->momentum >= 0.0)
        out->momentum = (float)o->momentum;
    if (o->weight_decay >= 0.0)
        out->weight_decay = (float)o->weight_decay;
    if (o->deadline_s > 0)
        out->deadline_s = o->deadline_s;
    out->seed = o->seed;
}

static cygnet_status create(const struct client_options *o, const cygnet_host *hooks,
                            cygnet_error *err)
{
    cygnet_options options;
    cygnet_job job;
    uint8_t *model = NULL;
    size_t len;
    cygnet_status st = CYGNET_OK;

    fill_options(&options, o, hooks);
    fill_job(&job, o);
    options.job = o->model ? &job : NULL;
    if (o->power_model)
        st = file_read(&model, &len, o->power_model, POWER_MODEL_MAX_BYTES, err);
    options.power_model = (const char *)model;
    if (st == CYGNET_OK)
        st = cygnet_client_create(&running, &options, err);
    free(model);
    return st;
}

static cygnet_status run(struct client_host *host, const cygnet_host *hooks,
                         cygnet_report *report, cygnet_error *err)
{
    const struct client_options *o = host->options;
    cygnet_status st = create(o, hooks, err);

    if (st != CYGNET_OK)
        return st;
    catch_signals();
    if (o->rounds > 0 || o->until_done)
        st = cygnet_client_run_until(running, o->rounds, report, err);
    else
        st = cygnet_client_run_once(running, report, err);
    return st;
}

/* The data hook's own words say more than its number. */
static int finish(const struct client_host *host, cygnet_status st,
                  const cygnet_report *report, cygnet_error *err)
{
    if (st == CYGNET_EHOST && host->why[0])
        complain(err, st, err->detail, "%s", host->why);
    if (st != CYGNET_OK && st != CYGNET_ECANCELLED)
        return complain_at_edge(err);
    client_print(host->options, report);
    if (ferror(stdout)) {
        complain(err, CYGNET_ESTORAGE, errno, "standard output: %s", strerror(errno));
        return complain_at_edge(err);
    }
    return st == CYGNET_ECANCELLED ? STOPPED : exit_status(report->outcome);
}

static int client_main(const struct client_options *options)
{
    struct client_host host;
    cygnet_host hooks;
    cygnet_report report;
    cygnet_error err = {.status = CYGNET_OK};
    cygnet_status st = client_host_open(&host, &hooks, options, &err);
    int status;

    cygnet_report_init(&report);
    if (st == CYGNET_OK)
        st = run(&host, &hooks, &report, &err);
    status = finish(&host, st, &report, &err);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    cygnet_client_destroy(running);
    client_host_close(&host);
    return status;
}

int main(int argc, char **argv)
{
    struct client_options options;
    cygnet_error err;

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    /* a closed pipe or a limit on files is an error of the write, not an end */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (client_options_parse(&options, argc, argv, &err) != CYGNET_OK) {
        fprintf(stderr, "cygnet-client: %s (see --help)\n", err.message);
        return USAGE;
    }
    if (options.help)
        fputs(CLIENT_HELP, stdout);
    else if (options.version)
        printf("cygnet-client %s\n", cygnet_version());
    else
        return client_main(&options);
    return fflush(stdout) == 0 ? DONE : FAILED;
}
