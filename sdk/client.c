/* The client: joins the participant with the transport, the stores, the host and the
 * threads, and is the only place that logs. What a round is, fl/ knows. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/sized.h"
#include "engine/nn/model.h"
#include "engine/swan/swan.h"
#include "fl/participant.h"
#include "sdk/energy.h"
#include "sdk/layout.h"
#include "sdk/options.h"
#include "sdk/wake.h"
#include "transport/transport.h"

#include <cygnet/cygnet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* stop, look_again, wake  written by any thread
 * busy                    1 while a call drives the client */
struct cygnet_client {
    cygnet_options options;
    cygnet_host host;
    struct log log;
    struct clock clock;
    struct wake wake;
    cygnet_stop stop;
    cygnet_stop look_again;
    atomic_int busy;
    struct client_energy energy;
    struct swan *swan;
    struct store *state;
    struct store *cache;
    cygnet_http *http;           /* ours; NULL when the app brought one */
    cygnet_coordinator *dialect; /* likewise */
    void (*destroy_dialect)(cygnet_coordinator *dialect);
    struct layout layout; /* of the job's model; empty without a job */
    struct participant *participant;
};

/* ---- The doors that fl/ and transport/ look through ------------------------- */

static int64_t client_wall_ms(void *user)
{
    const cygnet_client *client = user;

    return client->host.wall_ms(client->host.user);
}

static int64_t client_mono_ms(void *user)
{
    const cygnet_client *client = user;

    return client->host.mono_ms(client->host.user);
}

static void client_wait_ms(int64_t ms, const cygnet_stop *stop, void *user)
{
    const cygnet_client *client = user;

    if (client->host.wait_ms)
        client->host.wait_ms(ms, stop, client->host.user);
    else
        wake_wait(&client->wake, ms, stop);
}

static void client_log(enum log_level level, const char *message, void *user)
{
    const cygnet_client *client = user;

    if (client->host.log)
        client->host.log((cygnet_log_level)level, message, client->host.user);
}

static void open_doors(cygnet_client *client)
{
    client->log = (struct log){client_log, client};
    client->clock =
        (struct clock){client_wall_ms, client_mono_ms, client_wait_ms, client};
}

/* ---- Create and destroy ------------------------------------------------------ */

static cygnet_status open_stores(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    cygnet_status st = store_open_directory(&client->state, options->state_dir, 1,
                                            options->allocator, err);

    if (st != CYGNET_OK)
        return fail_within(err, st, "state_dir");
    if (options->coordinator) /* an own dialect keeps its own cache */
        return CYGNET_OK;
    st = store_open_directory(&client->cache, options->cache_dir, 0, options->allocator,
                              err);
    return st == CYGNET_OK ? st : fail_within(err, st, "cache_dir");
}

static cygnet_status build_http(cygnet_client *client, enum url_plain plain,
                                cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    cygnet_status st;

    if (options->http)
        return CYGNET_OK;
    st =
        curl_http_create(&client->http, options->ca_file, plain, options->allocator, err);
    return st == CYGNET_EINVAL ? fail_within(err, st, "ca_file") : st;
}

static cygnet_status build_native(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    const struct native_config config = {
        .server_url = options->server_url,
        .http = options->http ? options->http : client->http,
        .cache = client->cache,
        .max_cache_bytes = options->max_cache_bytes,
        .max_model_bytes = options->max_model_bytes,
        .allow_loopback_http = options->allow_loopback_http,
        .clock = &client->clock,
        .log = &client->log,
        .auth_token = client->host.auth_token,
        .auth_user = client->host.user,
        .alloc = options->allocator,
    };

    client->destroy_dialect = native_coordinator_destroy;
    return native_coordinator_create(&client->dialect, &config, err);
}

static cygnet_status build_fedscale(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    const struct fedscale_config config = {
        .server_url = options->server_url,
        .http = options->http ? options->http : client->http,
        .store = client->state,
        .max_model_bytes = options->max_model_bytes,
        .job = options->job,
        .layout = {client->layout.tensors, client->layout.n_tensors},
        .clock = &client->clock,
        .log = &client->log,
        .alloc = options->allocator,
    };

    client->destroy_dialect = fedscale_coordinator_destroy;
    return fedscale_coordinator_create(&client->dialect, &config, err);
}

/* By the scheme of server_url. build sets dialect and destroy_dialect.
 *
 * plain  a protocol without TLS leads anywhere in plain text: its URL says so */
static const struct dialect {
    const char *scheme;
    bool plain;
    cygnet_status (*build)(cygnet_client *client, cygnet_error *err);
} dialects[] = {
    {"https://", false, build_native},
    {"http://", false, build_native},
    {"fedscale://", true, build_fedscale},
    {"fedscales://", false, build_fedscale},
};

static const struct dialect *find_dialect(const char *url)
{
    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++)
        if (strncasecmp(url, dialects[i].scheme, strlen(dialects[i].scheme)) == 0)
            return &dialects[i];
    return NULL;
}

static cygnet_status build_dialect(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    const struct dialect *dialect;
    cygnet_status st;

    if (options->coordinator)
        return CYGNET_OK;
    dialect = find_dialect(options->server_url);
    if (!dialect)
        return fail(err, CYGNET_EINVAL, 0, "server_url: its scheme is not known");
    st = build_http(client,
                    dialect->plain ? URL_PLAIN_ANYWHERE
                                   : (enum url_plain)options->allow_loopback_http,
                    err);
    return st == CYGNET_OK ? dialect->build(client, err) : st;
}

/* Also where no dialect asks for it, so that a job that cannot be is told at once. */
static cygnet_status build_layout(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;

    if (!options->job)
        return CYGNET_OK;
    return layout_init(&client->layout, options->job, options->max_model_bytes,
                       options->allocator, err);
}

static void client_thread_started(void *user, uint32_t worker)
{
    const cygnet_client *client = user;

    client->host.thread_started(worker, client->host.user);
}

static cygnet_status build_engine(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    char engine[PROFILE_KEY_BYTES];
    struct swan_options swan = {
        .root = "/",
        .policy = options->policy,
        .max_threads = options->n_threads,
        .placement = PLACEMENT_MASK,
        .yields = !options->full_priority,
        .engine = engine,
        .started = client->host.thread_started ? client_thread_started : NULL,
        .user = client,
        .log = &client->log,
        .alloc = options->allocator,
    };

    cygnet_status st =
        energy_prepare(&client->energy, &swan.energy, options, &client->host, err);

    (void)snprintf(engine, sizeof(engine), "%s %s", cygnet_version(),
                   model_numeric_class());
    if (st == CYGNET_OK)
        st = swan_create(&client->swan, &swan, err);
    if (st == CYGNET_OK)
        st = energy_join(&client->energy, client->swan, client->state, err);
    return st;
}

static cygnet_status build_participant(cygnet_client *client, cygnet_error *err)
{
    const cygnet_options *options = &client->options;
    const struct participant_config config = {
        .population = options->population,
        .coordinator = options->coordinator ? options->coordinator : client->dialect,
        .store = client->state,
        .clock = &client->clock,
        .host = &client->host,
        .collection = options->job ? options->job->collection : NULL,
        .executor = swan_executor(client->swan),
        .swan = client->swan,
        .supply = &client->energy.supply,
        .log = &client->log,
        .alloc = options->allocator,
        .rule = {options->charging, options->idle, options->unmetered,
                 options->min_battery_percent},
        .max_model_bytes = options->max_model_bytes,
        .max_train_bytes = options->max_train_bytes,
        .seed = options->seed,
        .stop = &client->stop,
        .look_again = &client->look_again,
    };
    cygnet_status st = participant_create(&client->participant, &config, err);

    return st == CYGNET_EFORMAT
               ? fail_within(err, st, "state_dir %.100s", options->state_dir)
               : st;
}

static cygnet_status build(cygnet_client *client, cygnet_error *err)
{
    cygnet_status st = wake_init(&client->wake, err);

    if (st == CYGNET_OK)
        st = build_layout(client, err);
    if (st == CYGNET_OK)
        st = open_stores(client, err);
    if (st == CYGNET_OK)
        st = build_dialect(client, err);
    if (st == CYGNET_OK)
        st = build_engine(client, err);
    if (st == CYGNET_OK)
        st = build_participant(client, err);
    return st;
}

static void log_failure(const cygnet_client *client, const char *what,
                        const cygnet_error *err)
{
    log_line(&client->log, LOG_ERROR, "%s: %s: %s", what, cygnet_status_name(err->status),
             err->message);
}

/* Takes over checked options; they go the way of the client, also on failure. */
static cygnet_status assemble(cygnet_client **out, const cygnet_options *options,
                              const cygnet_host *host, cygnet_error *err)
{
    cygnet_client *client = mem_calloc(options->allocator, 1, sizeof(*client));
    cygnet_status st;

    if (!client)
        return fail(err, CYGNET_ENOMEM, 0, "no memory for a client");
    client->options = *options;
    client->host = *host;
    client->options.host = &client->host;
    client->wake.fd = -1;
    open_doors(client);
    st = build(client, err);
    if (st == CYGNET_OK) {
        *out = client;
        return st;
    }
    log_failure(client, "create", err);
    client->options = (cygnet_options){.allocator = options->allocator};
    cygnet_client_destroy(client);
    return st;
}

cygnet_status cygnet_client_create(cygnet_client **out, const cygnet_options *options,
                                   cygnet_error *err)
{
    cygnet_error own = {CYGNET_OK, 0, ""};
    cygnet_options copy;
    cygnet_host host;
    cygnet_status st;

    if (!out)
        return fail(err, CYGNET_EINVAL, 0, "out: is NULL");
    *out = NULL;
    if (!options)
        return fail(err, CYGNET_EINVAL, 0, "options: is NULL");
    st = options_adopt(&copy, &host, options, &own);
    if (st == CYGNET_OK)
        st = assemble(out, &copy, &host, &own);
    if (st == CYGNET_OK)
        return st;
    options_clear(&copy);
    if (err)
        *err = own;
    return st;
}

void cygnet_client_destroy(cygnet_client *client)
{
    const cygnet_allocator *alloc;

    if (!client)
        return;
    alloc = client->options.allocator;
    participant_destroy(client->participant);
    if (client->destroy_dialect)
        client->destroy_dialect(client->dialect);
    layout_clear(&client->layout);
    curl_http_destroy(client->http);
    store_destroy(client->cache);
    store_destroy(client->state);
    swan_destroy(client->swan);
    wake_clear(&client->wake);
    options_clear(&client->options);
    mem_free(alloc, client);
}

/* ---- Runs -------------------------------------------------------------------- */

/* Errors: ESTATE when a call drives the client already (a hook calling back, or a
 * second thread). */
static cygnet_status enter(cygnet_client *client, cygnet_error *err)
{
    int idle = 0;

    if (atomic_compare_exchange_strong(&client->busy, &idle, 1))
        return CYGNET_OK;
    return fail(err, CYGNET_ESTATE, 0,
                "another call drives this client; a hook may only cancel or notify");
}

static void leave(cygnet_client *client)
{
    atomic_store(&client->busy, 0);
}

enum run_kind { RUN_CHECK_IN, RUN_ONCE, RUN_UNTIL };

static const char *const run_names[] = {"check_in", "run_once", "run_until"};

static cygnet_status run_participant(cygnet_client *client, enum run_kind kind,
                                     uint64_t max_rounds, cygnet_report *report,
                                     cygnet_error *err)
{
    switch (kind) {
    case RUN_CHECK_IN:
        return participant_check_in(client->participant, report, err);
    case RUN_ONCE:
        return participant_run_once(client->participant, report, err);
    default:
        return participant_run_until(client->participant, max_rounds, report, err);
    }
}

/* Failures before the participant has a say leave their mark in the report too. */
static void report_failure(cygnet_report *report, const cygnet_error *err)
{
    if (report->outcome == CYGNET_OUTCOME_NONE)
        report->outcome = err->status == CYGNET_ECANCELLED ? CYGNET_OUTCOME_INTERRUPTED
                                                           : CYGNET_OUTCOME_FAILED;
    report->status = err->status;
    memcpy(report->message, err->message, sizeof(report->message));
}

static cygnet_status run(cygnet_client *client, enum run_kind kind, uint64_t max_rounds,
                         cygnet_report *report, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    if (cygnet_stopped(&client->stop))
        st = fail(err, CYGNET_ECANCELLED, 0, "cancelled before the run began");
    if (st == CYGNET_OK)
        st = run_participant(client, kind, max_rounds, report, err);
    if (st == CYGNET_ECANCELLED)
        stop_clear(&client->stop); /* this cancel has been answered */
    if (st != CYGNET_OK)
        report_failure(report, err);
    return st;
}

static void log_end(const cygnet_client *client, enum run_kind kind,
                    const cygnet_report *report, const cygnet_error *err)
{
    const char *outcome = cygnet_outcome_name(report->outcome);

    if (report->status == CYGNET_ECANCELLED)
        log_line(&client->log, LOG_INFO, "%s: cancelled", run_names[kind]);
    else if (report->status != CYGNET_OK)
        log_failure(client, run_names[kind], err);
    else
        log_line(&client->log, LOG_INFO, "%s: round %llu, %s%s%s", run_names[kind],
                 (unsigned long long)report->round, outcome,
                 report->message[0] ? ": " : "", report->message);
}

static cygnet_status check_report(const cygnet_report *report, cygnet_error *err)
{
    static const struct sized type = {"report", sizeof(cygnet_report),
                                      SIZED_UP_TO(cygnet_report, status),
                                      _Alignof(cygnet_report)};

    return report ? sized_check(report->struct_size, &type, err) : CYGNET_OK;
}

static cygnet_status drive(cygnet_client *client, enum run_kind kind, uint64_t max_rounds,
                           cygnet_report *report, cygnet_error *err)
{
    cygnet_error own = {CYGNET_OK, 0, ""};
    cygnet_report full;
    cygnet_status st = check_report(report, err);

    if (st == CYGNET_OK)
        st = enter(client, err);
    if (st != CYGNET_OK)
        return st;
    cygnet_report_init(&full);
    st = run(client, kind, max_rounds, &full, &own);
    log_end(client, kind, &full, &own);
    if (report)
        sized_give(report, &full, sizeof(full));
    if (st != CYGNET_OK && err)
        *err = own;
    leave(client);
    return st;
}

cygnet_status cygnet_client_check_in(cygnet_client *client, cygnet_report *report,
                                     cygnet_error *err)
{
    return drive(client, RUN_CHECK_IN, 0, report, err);
}

cygnet_status cygnet_client_run_once(cygnet_client *client, cygnet_report *report,
                                     cygnet_error *err)
{
    return drive(client, RUN_ONCE, 1, report, err);
}

cygnet_status cygnet_client_run_until(cygnet_client *client, uint64_t max_rounds,
                                      cygnet_report *report, cygnet_error *err)
{
    return drive(client, RUN_UNTIL, max_rounds, report, err);
}

/* ---- From any thread ---------------------------------------------------------- */

void cygnet_client_cancel(cygnet_client *client)
{
    stop_set(&client->stop);
    wake_up(&client->wake);
}

void cygnet_client_notify(cygnet_client *client)
{
    stop_set(&client->look_again);
    wake_up(&client->wake);
}

/* ---- Identity ------------------------------------------------------------------ */

const char *cygnet_client_id(const cygnet_client *client)
{
    return participant_client_id(client->participant);
}

cygnet_status cygnet_client_reset_identity(cygnet_client *client, cygnet_error *err)
{
    cygnet_error own = {CYGNET_OK, 0, ""};
    cygnet_status st = enter(client, err);

    if (st != CYGNET_OK)
        return st;
    st = participant_reset_identity(client->participant, &own);
    if (st != CYGNET_OK)
        log_failure(client, "reset_identity", &own);
    if (st != CYGNET_OK && err)
        *err = own;
    leave(client);
    return st;
}
