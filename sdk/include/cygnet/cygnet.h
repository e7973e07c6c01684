/* Cygnet: a federated-learning client that an app embeds.
 *
 * The shortest complete program is examples/minimal. In outline:
 *
 *     cygnet_options options;
 *     cygnet_options_init(&options);           every default
 *     options.server_url = "https://...";      where, who, and the one hook
 *     options.population = "keyboard";         that has no default: the data
 *     options.state_dir = "/data/app/cygnet";
 *     options.host = &host;
 *     cygnet_client_create(&client, &options, &err);
 *     cygnet_client_run_once(client, &report, &err);
 *     cygnet_client_destroy(client);
 *
 * Threads: a client is driven by one thread at a time; cygnet_client_cancel and
 * cygnet_client_notify may be called from any thread at any time between create
 * and destroy. Clients are independent; there is no global state. Hooks run on
 * the thread that drives the client unless their comment says otherwise.
 *
 * Structs that the caller allocates begin with struct_size, set by their _init
 * function; new fields are only added at the end. Strings are UTF-8, borrowed
 * for the call, and copied when kept. Enums are append-only: treat an unknown
 * value as "something else".
 *
 * Stability: stable.
 */
#ifndef CYGNET_CYGNET_H
#define CYGNET_CYGNET_H

#include <cygnet/alloc.h>
#include <cygnet/policy.h>
#include <cygnet/status.h>
#include <cygnet/tensors.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYGNET_VERSION_MAJOR 0
#define CYGNET_VERSION_MINOR 1
#define CYGNET_VERSION_PATCH 0

/* The version of the library that is running, for instance "0.1.0". */
CYGNET_API const char *cygnet_version(void);

/* ---- Device state ------------------------------------------------------- */

/* A condition of the device. Unknown is a value of its own: each requirement
 * says whether unknown passes (docs/eligibility.md). */
typedef enum cygnet_tristate {
    CYGNET_UNKNOWN = 0,
    CYGNET_FALSE = 1,
    CYGNET_TRUE = 2
} cygnet_tristate;

/* What the host knows of the device now. cygnet hands it over with every field
 * unknown and struct_size set; the hook fills what it can.
 *
 * battery_percent  0..100, or -1 for unknown or no battery
 * thermal          0 cool, 1 warm: train with less; 2 hot: with much less; 3 too hot:
 *                  not at all; -1 unknown. As Android's thermal status LIGHT,
 *                  MODERATE, SEVERE, or iOS' fair, serious, critical */
typedef struct cygnet_device_state {
    uint32_t struct_size;
    cygnet_tristate charging;  /* on external power */
    cygnet_tristate idle;      /* nobody is using the device */
    cygnet_tristate unmetered; /* the network does not cost the user money */
    int32_t battery_percent;
    int32_t thermal;
} cygnet_device_state;

/* How strictly a condition is asked for. The client's option and the task's
 * wish combine to the stricter one. */
typedef enum cygnet_requirement {
    CYGNET_IGNORED = 0,
    CYGNET_PREFERRED = 1, /* reported to the server, does not stop a round */
    CYGNET_REQUIRED = 2   /* must be known to be true, before and while training */
} cygnet_requirement;

/* ---- Data --------------------------------------------------------------- */

/* One named column of a batch, filled by the host in memory the library owns.
 *
 * name       "x" or "y" for the models of this release
 * dtype      element type the library wants (x: CYGNET_F32, y: CYGNET_I64)
 * row_shape  shape of one row; n_dims 0 is a scalar per row
 * data       n_rows tightly packed rows, to be written by the host */
typedef struct cygnet_column {
    const char *name;
    cygnet_dtype dtype;
    uint32_t n_dims;
    uint64_t row_shape[CYGNET_TENSOR_MAX_DIMS];
    void *data;
} cygnet_column;

typedef struct cygnet_batch {
    uint32_t struct_size;
    uint64_t n_rows;
    uint32_t n_columns;
    const cygnet_column *columns;
} cygnet_batch;

#define CYGNET_SNAPSHOT_ID_BYTES 64

/* What cygnet_host.data_open answers.
 *
 * n_examples   rows that data_read may be asked for
 * snapshot_id  names this exact version of the data, NUL-terminated; kept with
 *              the round's record. Nothing is decided by it yet: training that
 *              a restart broke off is begun afresh. Empty: cannot be named. */
typedef struct cygnet_dataset_info {
    uint32_t struct_size;
    uint64_t n_examples;
    char snapshot_id[CYGNET_SNAPSHOT_ID_BYTES];
} cygnet_dataset_info;

/* ---- Events ------------------------------------------------------------- */

/* What has happened last (docs/round.md has the table and the picture). */
typedef enum cygnet_phase {
    CYGNET_PHASE_IDLE = 0,        /* no round */
    CYGNET_PHASE_ELIGIBLE = 1,    /* the device qualifies */
    CYGNET_PHASE_CHECKED_IN = 2,  /* the coordinator was asked and has answered */
    CYGNET_PHASE_ASSIGNED = 3,    /* a task was accepted */
    CYGNET_PHASE_FETCHED = 4,     /* the global weights are here and verified */
    CYGNET_PHASE_TRAINING = 5,    /* `step` of `n_steps` are done */
    CYGNET_PHASE_TRAINED = 6,     /* local training has ended */
    CYGNET_PHASE_ENCODED = 7,     /* the update is on disk */
    CYGNET_PHASE_UPLOADING = 8,   /* `bytes_up` have left */
    CYGNET_PHASE_REPORTED = 9,    /* the coordinator knows the outcome */
    CYGNET_PHASE_INTERRUPTED = 10 /* the device stopped qualifying, or cancel */
} cygnet_phase;

/* How a run ended. None of these is an error. */
typedef enum cygnet_outcome {
    CYGNET_OUTCOME_NONE = 0,
    CYGNET_OUTCOME_COMPLETED = 1,    /* the coordinator accepted the update */
    CYGNET_OUTCOME_NOT_ELIGIBLE = 2, /* a required condition does not hold */
    CYGNET_OUTCOME_DECLINED = 3,     /* the server has nothing for us now */
    CYGNET_OUTCOME_TOO_LATE = 4,     /* the round closed without this update */
    CYGNET_OUTCOME_ABORTED = 5,      /* given up on purpose; the message says why */
    CYGNET_OUTCOME_INTERRUPTED = 6,  /* cancelled, or stopped qualifying */
    CYGNET_OUTCOME_FAILED = 7,       /* an error; see status and message */
    CYGNET_OUTCOME_FINISHED = 8,     /* the population's training is over */
    CYGNET_OUTCOME_EVALUATED = 9     /* the weights were evaluated, and told how good */
} cygnet_outcome;

/* The state of the round, for events and as the report of a run. Enough to draw
 * a progress bar. Counters are of this round.
 *
 * next_check_in_ms  wall time before which the coordinator does not want to
 *                   hear from us again; 0: at once
 * loss_first/last   mean loss over the first and the last epoch; NaN: unknown. Of an
 *                   evaluation both are its mean loss */
typedef struct cygnet_report {
    uint32_t struct_size;
    cygnet_phase phase;
    cygnet_outcome outcome;
    cygnet_status status;
    uint64_t round;
    uint64_t step;
    uint64_t n_steps;
    uint64_t examples;
    uint64_t bytes_up;
    uint64_t bytes_down;
    int64_t train_ms;
    int64_t next_check_in_ms;
    double loss_first;
    double loss_last;
    double accuracy;
    char message[CYGNET_ERROR_MESSAGE_BYTES];
} cygnet_report;

typedef enum cygnet_log_level {
    CYGNET_LOG_ERROR = 0,
    CYGNET_LOG_WARN = 1,
    CYGNET_LOG_INFO = 2,
    CYGNET_LOG_DEBUG = 3
} cygnet_log_level;

/* ---- Energy -------------------------------------------------------------- */

/* What a meter of the app's own shows. cygnet hands it over with nothing known (-1,
 * 0) and struct_size set; the hook fills what it can. Energy is taken before power.
 *
 * total_uj       energy since some moment, in uJ; only ever grows; -1: not known
 * power_uw       power at present, in uW; -1: not known
 * resolution_uj  step of total_uj; 0: exact
 * period_ms      how often the figure changes; 0, or beyond an hour: not known, found by
 *                watching */
typedef struct cygnet_energy_figure {
    uint32_t struct_size;
    int64_t total_uj;
    int64_t power_uw;
    int64_t resolution_uj;
    int64_t period_ms;
} cygnet_energy_figure;

/* ---- Host hooks --------------------------------------------------------- */

struct cygnet_stop; /* <cygnet/sys/stop.h> */

/* The doors to the app. Every hook but the three data hooks may be NULL, and
 * then Cygnet's Linux default is used. Unless its comment says otherwise, a hook is
 * called on the thread that drives the client, never two at once for one client;
 * none is called after cygnet_client_destroy has returned. `user` is passed back
 * untouched.
 *
 * A hook that returns int answers 0 for success; another value ends the round
 * with CYGNET_EHOST and appears in cygnet_error.detail, unless its comment says
 * otherwise. A hook must not call
 * back into the client, except cygnet_client_cancel and _notify. */
typedef struct cygnet_host {
    uint32_t struct_size;

    /* Opens the examples that a task asks for.
     * collection, selector  the task's words, never NULL, maybe empty
     * info                  struct_size is set; the hook fills the rest
     * cursor                receives the host's own handle, passed to read, close */
    int (*data_open)(void **cursor, cygnet_dataset_info *info, const char *collection,
                     const char *selector, void *user);

    /* Fills batch->columns with the rows `indices[0..n_rows)`, in that order.
     * Indices are below n_examples; the library has shuffled them. */
    int (*data_read)(void *cursor, const uint64_t *indices, const cygnet_batch *batch,
                     void *user);

    /* Called once for each successful data_open. */
    void (*data_close)(void *cursor, void *user);

    /* Fills what is known of the device. Polled at most once a second while
     * training, and after cygnet_client_notify.
     * Default: power_supply and PSI on Linux; what cannot be told is unknown. */
    int (*device_state)(cygnet_device_state *state, void *user);

    /* Writes the bearer token (NUL-terminated, at most size - 1 bytes).
     * `refresh` is 1 when the server has just refused the last one.
     * Default: no token. */
    int (*auth_token)(char *token, size_t size, int refresh, void *user);

    /* Milliseconds since 1970 UTC; may jump. Default: CLOCK_REALTIME. */
    int64_t (*wall_ms)(void *user);

    /* Milliseconds that never go back and count suspends.
     * Default: CLOCK_BOOTTIME. */
    int64_t (*mono_ms)(void *user);

    /* Lets time pass on both clocks: at most `ms` (above 0), less when it likes.
     * Ends within 200 ms after cygnet_stopped(stop) of <cygnet/sys/stop.h> is 1, and
     * after the host has called cygnet_client_notify. For a host whose clocks are
     * its own, such as a simulation. Default: sleeps until woken. */
    void (*wait_ms)(int64_t ms, const struct cygnet_stop *stop, void *user);

    /* Something happened to the round. `event` is valid during the call.
     * Default: nothing. */
    void (*event)(const cygnet_report *event, void *user);

    /* One line of log, without a newline, free of example data.
     * Default: nothing. */
    void (*log)(cygnet_log_level level, const char *message, void *user);

    void *user;

    /* Called once on each thread that Cygnet trains on, as the first thing it does,
     * for a host that has to prepare threads: a class of service, hints of
     * performance, a virtual machine's attachment. Not on the thread that drives the
     * client, but while that one is in a run. `worker` counts from 0.
     * Default: nothing. */
    void (*thread_started)(uint32_t worker, void *user);

    /* The app's own meter of the device's energy: asked a few times a second and
     * after each step while training, now and then otherwise; it should answer within
     * a millisecond. Called while the client is created and in runs: on the thread
     * that does so or, while training, on one of Cygnet's own, then maybe while
     * another hook runs; never twice at once for one client. That thread trains
     * nothing, and thread_started is not called on it. Any answer but 0: no figure at
     * present, which ends nothing. A meter that is a battery's gauge shows nothing of
     * the device while that is on external power, and answers so then.
     * Default: what the system has (docs/energy.md). */
    int (*energy)(cygnet_energy_figure *figure, void *user);
} cygnet_host;

/* Sets struct_size and every hook to NULL. */
CYGNET_API void cygnet_host_init(cygnet_host *host);

/* ---- The client --------------------------------------------------------- */

typedef struct cygnet_client cygnet_client;

struct cygnet_http;
struct cygnet_coordinator;

/* What a coordinator that hands out weights and little else leaves to be agreed on
 * beforehand. cygnet_job_init sets the defaults, FedScale's own where it has any.
 *
 * architecture   zoo name with arguments (docs/models.md); required
 * n_classes      default 10
 * input          one example; n_input_dims 0 (default): the architecture's own
 * epochs         passes over the data; used when steps is 0 (default 1)
 * steps          optimiser steps; 0: by epochs (default 20)
 * batch          examples of a step; 1 to 65536 (default 30)
 * momentum, weight_decay   of SGD (default 0.9 and 5e-4)
 * deadline_s     how long a round may take once it is given (default 3600)
 * max_examples   train on at most so many; 0 (default): all
 * collection     of the examples to train on, for data_open (default "")
 * evaluate_collection  of those to evaluate with (default "test")
 * seed           of shuffling (default 0) */
typedef struct cygnet_job {
    uint32_t struct_size;
    const char *architecture;
    uint32_t n_classes;
    uint32_t n_input_dims;
    uint32_t input[4];
    uint32_t epochs;
    uint32_t steps;
    uint32_t batch;
    float momentum;
    float weight_decay;
    uint32_t deadline_s;
    uint64_t max_examples;
    const char *collection;
    const char *evaluate_collection;
    uint64_t seed;
} cygnet_job;

/* Sets struct_size and every default; architecture is NULL. */
CYGNET_API void cygnet_job_init(cygnet_job *job);

/* How to build a client. cygnet_options_init sets every default.
 *
 * server_url     "https://host[:port][/prefix]", or a FedScale job (docs/fedscale.md):
 *                "fedscale://host:port"; required, but with `coordinator`
 * population     the name under which the coordinator groups devices; required;
 *                at most 128 bytes of letters, digits, '.', '_', '-', '/', with
 *                no part between slashes empty, "." or ".."
 * state_dir      must survive; created if absent, mode 0700; one client at a time
 *                (default on Linux: $XDG_STATE_HOME/cygnet/<population>, with '+'
 *                for '/')
 * cache_dir      may be emptied at any time (default: state_dir/cache)
 * ca_file        PEM bundle of trusted roots; NULL: the system's
 * allow_loopback_http  accept http:// towards 127.0.0.0/8, [::1] and localhost
 *                only, for tests; never in production
 * charging, idle, unmetered, min_battery_percent   see docs/eligibility.md
 *                (defaults: required, preferred, required, 0)
 * n_threads      most threads to train with, at most 64 and as many as there are
 *                cores; 0 (default): as many as there are cores. Memory for training
 *                is planned for that many
 * max_model_bytes      refuse larger models (default 256 MiB)
 * max_cache_bytes      bound of the cache directory (default 512 MiB)
 * max_train_bytes      memory that training may plan (default: no limit)
 * seed           fixes what the client draws at random (retry windows, client
 *                id); 0: from the system. For simulations and tests.
 * host           hooks; the struct is copied, what `user` points to is borrowed
 *                until the client is destroyed; required
 * http           an own HTTP stack (<cygnet/sys/http.h>); borrowed; NULL: libcurl
 * coordinator    an own dialect (<cygnet/sys/coordinator.h>); borrowed; NULL:
 *                the native one at server_url
 * allocator      NULL: malloc
 * policy         who chooses the cores that train; with CYGNET_POLICY_FIXED it is the
 *                n_threads most capable ones. Default: CYGNET_POLICY_TASK, each task
 *                may say and CYGNET_POLICY_SWAN is for those that do not; any other
 *                goes before what tasks say
 * full_priority  1: training threads compete with everybody else's; 0 (default): they
 *                give way (SCHED_IDLE)
 * energy_mode    CYGNET_ENERGY_LOAN: where `charging` is required, a device on its
 *                battery qualifies too, as long as it owes nothing and its loan lends:
 *                at most 5 % of the battery's capacity from one charge to the next,
 *                booked before it is drawn, and only of known energy (docs/energy.md).
 *                Default: CYGNET_ENERGY_PLUGGED
 * power_model    watts of the device, JSON, at most 64 KiB: {"core_w": {"big": 1.4,
 *                "LITTLE": 0.4}, "idle_w": 0.3, "spread": 0.2}, each member optional.
 *                core_w: of a busy core of each cluster (named as cygnet-swan soc
 *                does) at its highest frequency; idle_w: of the device with nothing
 *                running; spread: relative uncertainty. NULL (default): no model
 * max_round_mj   most energy that training of one round may take, in mJ, as far as it
 *                is known; a task may only allow less; 0 (default): no limit
 * battery_mwh    the battery's capacity, for CYGNET_ENERGY_LOAN where the system does
 *                not tell it (its level is device_state's then); at most 1000000;
 *                0 (default): what the system tells
 * gauge_unit_ua  what one of the battery gauge's current_now is, in uA: 1000 on phones
 *                that count in mA; at most 1000000; 0 (default): 1
 * job            what the tasks of a coordinator that sends weights only are made of;
 *                copied; NULL (default): the coordinator says it all */
typedef struct cygnet_options {
    uint32_t struct_size;
    const char *server_url;
    const char *population;
    const char *state_dir;
    const char *cache_dir;
    const char *ca_file;
    int32_t allow_loopback_http;
    cygnet_requirement charging;
    cygnet_requirement idle;
    cygnet_requirement unmetered;
    int32_t min_battery_percent;
    uint32_t n_threads;
    uint64_t max_model_bytes;
    uint64_t max_cache_bytes;
    uint64_t max_train_bytes;
    uint64_t seed;
    const cygnet_host *host;
    struct cygnet_http *http;
    struct cygnet_coordinator *coordinator;
    const cygnet_allocator *allocator;
    cygnet_policy policy;
    int32_t full_priority;
    cygnet_energy_mode energy_mode;
    const char *power_model;
    uint64_t max_round_mj;
    uint32_t battery_mwh;
    uint32_t gauge_unit_ua;
    const cygnet_job *job;
} cygnet_options;

/* Sets struct_size and every default. */
CYGNET_API void cygnet_options_init(cygnet_options *options);

/* Builds a client, takes the lock on its state directory and loads what an
 * earlier process left there. Does no network I/O and starts no thread.
 * out  receives the client; destroy with cygnet_client_destroy
 * Errors: EINVAL (which option and why), EBUSY (another client holds
 * state_dir), ESTORAGE, ENOSPC, EFORMAT (the state is damaged; nothing is
 * overwritten), ENOMEM. On failure *out is NULL. */
CYGNET_API cygnet_status cygnet_client_create(cygnet_client **out,
                                              const cygnet_options *options,
                                              cygnet_error *err);

/* Asks the coordinator for work without doing it: a later run_once takes the
 * task from there. Checks eligibility and the server's retry window first.
 * report  filled on success and on failure; struct_size set by
 *         cygnet_report_init; may be NULL
 * Errors: as cygnet_client_run_once. */
CYGNET_API cygnet_status cygnet_client_check_in(cygnet_client *client,
                                                cygnet_report *report, cygnet_error *err);

/* Takes part in at most one round: finishes what an earlier process left, or
 * checks in, fetches, trains, uploads and reports. Returns CYGNET_OK with an
 * outcome when the server said no, the device does not qualify, or the round
 * went on without us. Blocks; another thread may cancel.
 * Errors: ECANCELLED, ENETWORK, ETLS, ESERVER, EREFUSED, EPROTOCOL, EAUTH,
 * EHASH, EFORMAT, ESHAPE, EUNSUPPORTED, EDATA, ENUMERIC, EHOST, ESTORAGE,
 * ENOSPC, ELIMIT, ENOMEM, ETIMEOUT, ESTATE (another call drives the client, or
 * a hook called back), EINVAL (report). After an error the client may be used
 * again; report->next_check_in_ms says when that makes sense. */
CYGNET_API cygnet_status cygnet_client_run_once(cygnet_client *client,
                                                cygnet_report *report, cygnet_error *err);

/* Runs round after round, waiting between them as the server and the back-off
 * ask, until `max_rounds` updates were accepted (0: no limit), the population
 * is finished, or cancel. Transient errors (ENETWORK, ESERVER, ETIMEOUT) are
 * waited out with exponential back-off and full jitter; permanent ones return.
 * report  of the last round */
CYGNET_API cygnet_status cygnet_client_run_until(cygnet_client *client,
                                                 uint64_t max_rounds,
                                                 cygnet_report *report,
                                                 cygnet_error *err);

/* Makes the run in progress (or else the next one) return ECANCELLED within
 * 200 ms, wherever it is. Idempotent. Any thread; async-signal-safe. */
CYGNET_API void cygnet_client_cancel(cygnet_client *client);

/* "The device's state has changed, look again." A round in progress asks
 * device_state within 200 ms, wherever it is, and is interrupted if the device no
 * longer qualifies; a run that waits for the device looks at once. Any thread;
 * async-signal-safe. */
CYGNET_API void cygnet_client_notify(cygnet_client *client);

/* The random identity the coordinator knows this client by, as lower-case hex.
 * Borrowed until reset or destroy. */
CYGNET_API const char *cygnet_client_id(const cygnet_client *client);

/* Draws a new identity and forgets the old one. Errors: ESTORAGE, ENOSPC. */
CYGNET_API cygnet_status cygnet_client_reset_identity(cygnet_client *client,
                                                      cygnet_error *err);

/* Releases the state directory and all memory. Accepts NULL. No other call may
 * be running. */
CYGNET_API void cygnet_client_destroy(cygnet_client *client);

/* Sets struct_size and every field to "nothing yet". */
CYGNET_API void cygnet_report_init(cygnet_report *report);

/* The name for logs, for instance "checked_in"; "unknown" for a value that this
 * version does not know. Static text. */
CYGNET_API const char *cygnet_phase_name(cygnet_phase phase);
CYGNET_API const char *cygnet_outcome_name(cygnet_outcome outcome);

#ifdef __cplusplus
}
#endif
#endif
