/* The command line of cygnet-client. */
#include "client_options.h"
#include "command_line.h"
#include "complain.h"
#include "options.h"

#include <string.h>
#include <strings.h>

const char CLIENT_HELP[] =
    "usage: cygnet-client --server URL [--population NAME] [options]\n"
    "\n"
    "Takes part in federated training with pictures from this machine. Without\n"
    "--rounds or --until-done it asks for work once and does at most one round.\n"
    "\n"
    "  --server URL         of the coordinator, https://host[:port], or of a FedScale\n"
    "                       job, fedscale://host:port, fedscales:// with TLS in front;\n"
    "                       such a job needs --model\n"
    "  --population NAME    the group of devices to join (a job's: fedscale)\n"
    "  --state-dir DIR      survives between runs; one client at a time\n"
    "                       ($XDG_STATE_HOME/cygnet/NAME)\n"
    "  --data SPEC          digits, idx:DIR or cifar10:DIR (digits)\n"
    "  --classes N          labels of the data are below N (10)\n"
    "  --input CxHxW        resize to this; the task must ask for as many numbers\n"
    "                       (what the task asks for)\n"
    "  --shard I/N          own part I (from 0) of N of the data, be it for\n"
    "                       training or held out (0/1)\n"
    "  --partition HOW      dirichlet:ALPHA, shards:PER_CLIENT or iid (iid)\n"
    "  --model ARCHITECTURE  train this where the coordinator sends weights only; with\n"
    "                       --classes, --input (the model's own), and\n"
    "  --steps N | --epochs N  a round's training (20 steps)\n"
    "  --batch N            examples of a step (30)\n"
    "  --momentum M         of SGD (0.9)\n"
    "  --weight-decay D     of SGD (0.0005)\n"
    "  --deadline S         seconds that a round may take (3600)\n"
    "  --seed S             of the partition, and above 0 of what the client draws (0)\n"
    "  --ca FILE            trusted roots, PEM (the system's)\n"
    "  --token TOKEN        bearer token; others on this machine may see it, so\n"
    "  --token-file FILE    rather its first line; read again when refused\n"
    "  --assume LIST        conditions instead of the device's own: charging, idle,\n"
    "                       unmetered, each also as no-..., and battery=PERCENT;\n"
    "                       those not listed are unknown\n"
    "  --assume-file FILE   the same from a file's first line, read again each time\n"
    "                       that the device is looked at\n"
    "  --rounds R           stop after R accepted updates\n"
    "  --until-done         stop when the population's training is over\n"
    "  --threads N          most threads to train with (as many as there are cores)\n"
    "  --policy NAME        who chooses the cores: swan (the least energy in time, out\n"
    "                       of the user's way), greedy (all fast ones), fixed (the\n"
    "                       N most capable), efficient (the least energy) (as the\n"
    "                       task says, or else swan)\n"
    "  --full-priority      training competes with everybody else for the cores\n"
    "  --energy plugged|loan  loan: train on the battery too, as far as a loan goes\n"
    "                       that charging pays back (plugged)\n"
    "  --power-model FILE   watts of the cores, JSON: {\"core_w\": {\"big\": 1.4},\n"
    "                       \"idle_w\": 0.3, \"spread\": 0.2}, for devices without a "
    "meter\n"
    "  --max-round-mj N     most energy that training of one round takes, in mJ\n"
    "  --battery-mwh N      the battery's capacity, where the system does not tell it\n"
    "  --allow-loopback-http  accept http:// towards this machine, for tests\n"
    "  --log text|json      form of the event lines on standard output (text)\n"
    "  --verbose            debug lines on standard error\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 done (an update was accepted, weights were evaluated, or training\n"
    "is over), 1 an error, 2 a bad command line, 3 nothing done (not eligible, no work, "
    "too late, given\n"
    "up), 4 stopped by a signal. An error is one line on standard error.\n";

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct client_options *o = options;

    return option_shape(o->input, &o->n_input_dims, name, text, err);
}

static cygnet_status read_shard(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct client_options *o = options;

    return option_shard(&o->shard, &o->n_shards, name, text, err);
}

static cygnet_status read_partition(void *options, const char *name, const char *text,
                                    cygnet_error *err)
{
    struct client_options *o = options;

    (void)name;
    return partition_parse(&o->partition, text, err);
}

static cygnet_status read_policy(void *options, const char *name, const char *text,
                                 cygnet_error *err)
{
    struct client_options *o = options;

    return option_policy(&o->policy, name, text, err);
}

static cygnet_status read_energy(void *options, const char *name, const char *text,
                                 cygnet_error *err)
{
    struct client_options *o = options;
    bool loan = strcmp(text, "loan") == 0;

    o->energy = loan ? CYGNET_ENERGY_LOAN : CYGNET_ENERGY_PLUGGED;
    if (!loan && strcmp(text, "plugged") != 0)
        return complain(err, CYGNET_EINVAL, 0, "%s: \"%.40s\" is not plugged or loan",
                        name, text);
    return CYGNET_OK;
}

static cygnet_status read_log(void *options, const char *name, const char *text,
                              cygnet_error *err)
{
    struct client_options *o = options;

    o->log_json = strcmp(text, "json") == 0;
    if (!o->log_json && strcmp(text, "text") != 0)
        return complain(err, CYGNET_EINVAL, 0, "%s: \"%.40s\" is not text or json", name,
                        text);
    return CYGNET_OK;
}

static int word_is(const char *item, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(item, word, len) == 0;
}

/* One word of --assume; false when it is not one. */
static bool assume(cygnet_device_state *state, const char *item, size_t len)
{
    bool no = len > 3 && memcmp(item, "no-", 3) == 0;
    cygnet_tristate value = no ? CYGNET_FALSE : CYGNET_TRUE;
    char number[8] = "";
    uint64_t percent;

    item += no ? 3 : 0;
    len -= no ? 3 : 0;
    if (word_is(item, len, "charging")) {
        state->charging = value;
    } else if (word_is(item, len, "idle")) {
        state->idle = value;
    } else if (word_is(item, len, "unmetered")) {
        state->unmetered = value;
    } else if (!no && len > 8 && len < 12 && memcmp(item, "battery=", 8) == 0) {
        memcpy(number, item + 8, len - 8);
        if (option_count(&percent, "", number, 0, 100, NULL) != CYGNET_OK)
            return false;
        state->battery_percent = (int32_t)percent;
    } else {
        return false;
    }
    return true;
}

cygnet_status client_assume(cygnet_device_state *state, const char *name,
                            const char *text, cygnet_error *err)
{
    for (const char *item = text;; item++) {
        size_t len = strcspn(item, ",");

        if (!assume(state, item, len))
            return complain(err, CYGNET_EINVAL, 0,
                            "%s: \"%.80s\" is not a list of [no-]charging, [no-]idle, "
                            "[no-]unmetered, battery=PERCENT",
                            name, text);
        item += len;
        if (!*item)
            break;
    }
    return CYGNET_OK;
}

static cygnet_status read_assume(void *options, const char *name, const char *text,
                                 cygnet_error *err)
{
    struct client_options *o = options;

    o->assumed = true;
    return client_assume(&o->assume, name, text, err);
}

#define AT(field) offsetof(struct client_options, field)

static const struct option_row rows[] = {
    {"server", OPTION_TEXT, AT(server), 0, 0, NULL},
    {"population", OPTION_TEXT, AT(population), 0, 0, NULL},
    {"state-dir", OPTION_TEXT, AT(state_dir), 0, 0, NULL},
    {"data", OPTION_TEXT, AT(data), 0, 0, NULL},
    {"classes", OPTION_U32, AT(classes), 2, DATASET_MAX_CLASSES, NULL},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"shard", OPTION_READ, 0, 0, 0, read_shard},
    {"partition", OPTION_READ, 0, 0, 0, read_partition},
    {"seed", OPTION_U64, AT(seed), 0, 0, NULL},
    {"model", OPTION_TEXT, AT(model), 0, 0, NULL},
    {"steps", OPTION_U32, AT(steps), 1, 1000000, NULL},
    {"epochs", OPTION_U32, AT(epochs), 1, 1000000, NULL},
    {"batch", OPTION_U32, AT(batch), 1, 65536, NULL},
    {"momentum", OPTION_REAL, AT(momentum), 0, 0.9999999, NULL},
    {"weight-decay", OPTION_REAL, AT(weight_decay), 0, 1, NULL},
    {"deadline", OPTION_U32, AT(deadline_s), 1, 2592000, NULL},
    {"ca", OPTION_TEXT, AT(ca_file), 0, 0, NULL},
    {"token", OPTION_TEXT, AT(token), 0, 0, NULL},
    {"token-file", OPTION_TEXT, AT(token_file), 0, 0, NULL},
    {"assume", OPTION_READ, 0, 0, 0, read_assume},
    {"assume-file", OPTION_TEXT, AT(assume_file), 0, 0, NULL},
    {"rounds", OPTION_U32, AT(rounds), 1, 1000000, NULL},
    {"until-done", OPTION_FLAG, AT(until_done), 0, 0, NULL},
    {"threads", OPTION_U32, AT(threads), 1, 64, NULL},
    {"policy", OPTION_READ, 0, 0, 0, read_policy},
    {"energy", OPTION_READ, 0, 0, 0, read_energy},
    {"power-model", OPTION_TEXT, AT(power_model), 0, 0, NULL},
    {"max-round-mj", OPTION_U64, AT(max_round_mj), 0, 0, NULL},
    {"battery-mwh", OPTION_U32, AT(battery_mwh), 1, 1000000, NULL},
    {"full-priority", OPTION_FLAG, AT(full_priority), 0, 0, NULL},
    {"allow-loopback-http", OPTION_FLAG, AT(loopback_http), 0, 0, NULL},
    {"log", OPTION_READ, 0, 0, 0, read_log},
    {"verbose", OPTION_FLAG, AT(verbose), 0, 0, NULL},
    {"help", OPTION_FLAG, AT(help), 0, 0, NULL},
    {"version", OPTION_FLAG, AT(version), 0, 0, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

static cygnet_status check_job(const struct client_options *o, cygnet_error *err)
{
    bool some = o->steps > 0 || o->epochs > 0 || o->batch > 0 || o->momentum >= 0.0 ||
                o->weight_decay >= 0.0 || o->deadline_s > 0;

    if (!o->model && some)
        return complain(err, CYGNET_EINVAL, 0,
                        "--steps, --epochs, --batch, --momentum, --weight-decay and "
                        "--deadline need --model");
    if (o->steps > 0 && o->epochs > 0)
        return complain(err, CYGNET_EINVAL, 0, "--steps and --epochs exclude each other");
    return CYGNET_OK;
}

/* Such a job has no populations; the name is but that of the state directory. */
static bool is_fedscale(const char *server)
{
    return server && strncasecmp(server, "fedscale", strlen("fedscale")) == 0;
}

static cygnet_status check(const struct client_options *o, cygnet_error *err)
{
    if (!o->server || !o->population)
        return complain(err, CYGNET_EINVAL, 0, "--%s is required",
                        o->server ? "population" : "server");
    if (o->rounds > 0 && o->until_done)
        return complain(err, CYGNET_EINVAL, 0,
                        "--rounds and --until-done exclude each other");
    if (o->token && o->token_file)
        return complain(err, CYGNET_EINVAL, 0,
                        "--token and --token-file exclude each other");
    if (o->assumed && o->assume_file)
        return complain(err, CYGNET_EINVAL, 0,
                        "--assume and --assume-file exclude each other");
    return check_job(o, err);
}

cygnet_status client_options_parse(struct client_options *out, int argc, char **argv,
                                   cygnet_error *err)
{
    cygnet_status st;

    *out = (struct client_options){
        .data = "digits",
        .classes = 10,
        .n_shards = 1,
        .momentum = -1.0,
        .weight_decay = -1.0,
        .partition = {.kind = PARTITION_IID},
        .policy = CYGNET_POLICY_TASK,
        .assume = {.battery_percent = -1, .thermal = -1},
    };
    st = command_line_parse(out, rows, argc, argv, err);
    if (st != CYGNET_OK || out->help || out->version)
        return st;
    if (!out->population && is_fedscale(out->server))
        out->population = "fedscale";
    return check(out, err);
}
