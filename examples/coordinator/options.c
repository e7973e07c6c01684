/* The command line of cygnet-coordinator. */
#include "options.h"

#include "../common/complain.h"
#include "../common/options.h"
#include "aggregate.h"
#include "clients.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JSON_INTEGER ((UINT64_C(1) << 53) - 1)

const char OPTIONS_HELP[] =
    "usage: cygnet-coordinator --state-dir DIR --population NAME --model NAME\n"
    "                          --tls-cert FILE --tls-key FILE [options]\n"
    "  --listen HOST:PORT      numeric address; port 0 picks one (127.0.0.1:8443)\n"
    "  --port-file FILE        write the port once it is bound\n"
    "  --plain-http            no TLS; only on a loopback address\n"
    "  --classes N             outputs of the model (10)\n"
    "  --input CxHxW           shape of one example (the model's own)\n"
    "  --rounds R              rounds to run (10)\n"
    "  --participants K        updates that close a round (10)\n"
    "  --over-commitment F     ask ceil(K * F) clients (1.3)\n"
    "  --min-clients N         clients to know before round 1 (K)\n"
    "  --max-clients N         ids that are remembered (10000)\n"
    "  --min-fraction X        of K needed at the deadline (0.5)\n"
    "  --deadline S            of a round (600)\n"
    "  --lease S               of a participant; 0: none (30)\n"
    "  --grace S               for an asked client to check in (30)\n"
    "  --epochs E | --steps N  local training (1 epoch)\n"
    "  --batch B --lr X --momentum X --weight-decay X   (32, 0.05, 0, 0)\n"
    "  --codec NAME            of the updates (int8)\n"
    "  --seed S                repeatable selection and training; 0: random (0)\n"
    "  --eval SPEC             held-out split: digits | idx:DIR | cifar10:DIR\n"
    "  --initial-weights FILE  safetensors to start from\n"
    "  --server-lr X           FedAvg's step (1)\n"
    "  --max-examples-weight N an update weighs at most so many examples (1000000)\n"
    "  --target-accuracy X     finish when the held-out split reaches it\n"
    "  --eligibility LIST      charging=required,idle=preferred,unmetered=required,\n"
    "                          battery=PERCENT (all ignored)\n"
    "  --policy NAME           who chooses the cores that train, where the app leaves\n"
    "                          it to us: swan, greedy, fixed, efficient (unsaid)\n"
    "  --policy-threads N      with fixed (as many as the client allows)\n"
    "  --max-round-mj N        most energy of a training, in mJ (no limit)\n"
    "  --out-model FILE        write the final weights\n"
    "  --log text|json         of the lines on stdout (text)\n"
    "  --exit-when-finished    end once clients have heard of it\n"
    "  --linger S              at most so long after the end (10)\n"
    "  --request-timeout S     without progress a connection is closed (60)\n";

enum kind { TEXT, FLAG, U16_ADDRESS, U32, U64, REAL, SHAPE, ELIGIBILITY, LOG };

/* min, max  of numbers, inclusive */
struct option_row {
    const char *name;
    enum kind kind;
    size_t offset;
    double min;
    double max;
};

#define AT(field) offsetof(struct options, field)

static const struct option_row rows[] = {
    {"listen", U16_ADDRESS, 0, 0, 0},
    {"port-file", TEXT, AT(port_file), 0, 0},
    {"tls-cert", TEXT, AT(tls_cert), 0, 0},
    {"tls-key", TEXT, AT(tls_key), 0, 0},
    {"plain-http", FLAG, AT(plain_http), 0, 0},
    {"state-dir", TEXT, AT(state_dir), 0, 0},
    {"population", TEXT, AT(population), 0, 0},
    {"model", TEXT, AT(model), 0, 0},
    {"classes", U32, AT(classes), 2, 65536},
    {"input", SHAPE, 0, 0, 0},
    {"rounds", U32, AT(rounds), 1, 1000000},
    {"participants", U32, AT(participants), 1, 1000000},
    {"over-commitment", REAL, AT(over_commitment), 1, 10},
    {"min-clients", U32, AT(min_clients), 1, 1000000},
    {"max-clients", U32, AT(max_clients), 1, CLIENTS_MAX},
    {"min-fraction", REAL, AT(min_fraction), 0, 1},
    {"deadline", U32, AT(deadline_s), 1, 2592000},
    {"lease", U32, AT(lease_s), 0, 2592000},
    {"grace", U32, AT(grace_s), 1, 2592000},
    {"epochs", U32, AT(epochs), 1, 1000000},
    {"steps", U32, AT(steps), 1, 1000000},
    {"batch", U32, AT(batch), 1, 65536},
    {"lr", REAL, AT(lr), 0, 1000},
    {"momentum", REAL, AT(momentum), 0, 0.999999},
    {"weight-decay", REAL, AT(weight_decay), 0, 1},
    {"codec", TEXT, AT(codec), 0, 0},
    {"seed", U64, AT(seed), 0, 0},
    {"eval", TEXT, AT(eval), 0, 0},
    {"initial-weights", TEXT, AT(initial_weights), 0, 0},
    {"server-lr", REAL, AT(server_lr), 0, 1000},
    {"max-examples-weight", U32, AT(max_examples_weight), 1,
     (double)AGGREGATE_MAX_EXAMPLES},
    {"target-accuracy", REAL, AT(target_accuracy), 0, 1},
    {"eligibility", ELIGIBILITY, 0, 0, 0},
    {"policy", TEXT, AT(policy), 0, 0},
    {"policy-threads", U32, AT(policy_threads), 1, 64},
    {"max-round-mj", U64, AT(max_round_mj), 0, 0},
    {"out-model", TEXT, AT(out_model), 0, 0},
    {"log", LOG, 0, 0, 0},
    {"exit-when-finished", FLAG, AT(exit_when_finished), 0, 0},
    {"linger", U32, AT(linger_s), 0, 3600},
    {"request-timeout", U32, AT(request_timeout_s), 1, 3600},
    {"help", FLAG, AT(help), 0, 0},
};

static cygnet_status bad(const char *name, const char *value, const char *wanted,
                         cygnet_error *err)
{
    return complain(err, CYGNET_EINVAL, 0, "--%s: \"%.80s\" is not %s", name, value,
                    wanted);
}

static bool parse_u64(uint64_t *out, const char *text, char **end)
{
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, end, 10);
    return errno == 0;
}

static cygnet_status set_u32(void *field, const struct option_row *row, const char *name,
                             const char *text, cygnet_error *err)
{
    uint64_t value = 0;
    cygnet_status st =
        option_count(&value, name, text, (uint64_t)row->min, (uint64_t)row->max, err);

    if (st == CYGNET_OK)
        *(uint32_t *)field = (uint32_t)value;
    return st;
}

static cygnet_status set_address(struct options *o, const char *text, cygnet_error *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    char *end;
    size_t len = colon ? (size_t)(colon - text) : 0;

    if (len == 0 || len >= sizeof o->host || !parse_u64(&port, colon + 1, &end) || *end ||
        port > 65535)
        return bad("listen", text, "HOST:PORT", err);
    if (text[0] == '[' && len > 2 && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    memcpy(o->host, text, len);
    o->host[len] = '\0';
    o->port = (uint16_t)port;
    return CYGNET_OK;
}

static const char *requirement(const char *word, size_t len)
{
    static const char *const words[] = {"ignored", "preferred", "required"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i]) == len && memcmp(words[i], word, len) == 0)
            return words[i];
    return NULL;
}

static bool set_condition(struct options *o, const char *item, size_t len)
{
    static const struct {
        const char *key;
        size_t offset;
    } keys[] = {{"charging=", AT(charging)},
                {"idle=", AT(idle)},
                {"unmetered=", AT(unmetered)}};
    uint64_t percent;
    char *end;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        size_t n = strlen(keys[i].key);
        if (len > n && memcmp(item, keys[i].key, n) == 0) {
            const char *word = requirement(item + n, len - n);
            if (word)
                memcpy((char *)o + keys[i].offset, &word, sizeof word);
            return word != NULL;
        }
    }
    if (len <= 8 || memcmp(item, "battery=", 8) != 0 ||
        !parse_u64(&percent, item + 8, &end) || end != item + len || percent > 100)
        return false;
    o->min_battery_percent = (uint32_t)percent;
    return true;
}

static cygnet_status set_eligibility(struct options *o, const char *text,
                                     cygnet_error *err)
{
    for (const char *item = text;;) {
        size_t len = strcspn(item, ",");
        if (!set_condition(o, item, len))
            return bad("eligibility", text,
                       "a list of {charging,idle,unmetered}={required,preferred,ignored} "
                       "and battery=PERCENT",
                       err);
        if (item[len] == '\0')
            return CYGNET_OK;
        item += len + 1;
    }
}

static cygnet_status set(struct options *o, const struct option_row *row,
                         const char *text, cygnet_error *err)
{
    void *field = (char *)o + row->offset;
    char name[32];

    snprintf(name, sizeof name, "--%s", row->name);
    switch (row->kind) {
    case TEXT:
        memcpy(field, &text, sizeof text);
        return CYGNET_OK;
    case FLAG:
        *(bool *)field = true;
        return CYGNET_OK;
    case U32:
        return set_u32(field, row, name, text, err);
    case U64:
        return option_count(field, name, text, 0, UINT64_MAX, err);
    case REAL:
        return option_number(field, name, text, row->min, row->max, err);
    case U16_ADDRESS:
        return set_address(o, text, err);
    case SHAPE:
        return option_shape(o->input, &o->n_input_dims, name, text, err);
    case ELIGIBILITY:
        return set_eligibility(o, text, err);
    case LOG:
        if (strcmp(text, "text") != 0 && strcmp(text, "json") != 0)
            return bad("log", text, "text or json", err);
        o->log_json = strcmp(text, "json") == 0;
        return CYGNET_OK;
    }
    return CYGNET_EINVAL;
}

static const struct option_row *find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

/* --name VALUE or --name=VALUE; moves *i past what it used. */
static cygnet_status take(struct options *o, int *i, int argc, char **argv,
                          cygnet_error *err)
{
    const char *word = argv[*i];
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const struct option_row *row;
    const char *value = "";

    if (strncmp(word, "--", 2) != 0 || !(row = find(name, len)))
        return complain(err, CYGNET_EINVAL, 0, "unknown option \"%.80s\" (see --help)",
                        word);
    if (row->kind == FLAG && name[len] == '=')
        return complain(err, CYGNET_EINVAL, 0, "--%s takes no value", row->name);
    if (name[len] == '=')
        value = name + len + 1;
    else if (row->kind != FLAG && ++*i < argc)
        value = argv[*i];
    if (row->kind != FLAG && *value == '\0')
        return complain(err, CYGNET_EINVAL, 0, "--%s needs a value", row->name);
    return set(o, row, value, err);
}

static void set_defaults(struct options *o)
{
    *o = (struct options){.host = "127.0.0.1",
                          .port = 8443,
                          .classes = 10,
                          .rounds = 10,
                          .participants = 10,
                          .over_commitment = 1.3,
                          .max_clients = 10000,
                          .min_fraction = 0.5,
                          .deadline_s = 600,
                          .lease_s = 30,
                          .grace_s = 30,
                          .batch = 32,
                          .lr = 0.05,
                          .codec = "int8",
                          .server_lr = 1.0,
                          .max_examples_weight = 1000000,
                          .target_accuracy = 2.0,
                          .charging = "ignored",
                          .idle = "ignored",
                          .unmetered = "ignored",
                          .linger_s = 10,
                          .request_timeout_s = 60};
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static bool is_population(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                            "0123456789._-/");
    return n >= 1 && n <= 32 && text[n] == '\0';
}

static cygnet_status check_door(const struct options *o, cygnet_error *err)
{
    if (o->plain_http && (o->tls_cert || o->tls_key))
        return complain(err, CYGNET_EINVAL, 0,
                        "--plain-http and --tls-* exclude each other");
    if (o->plain_http && !is_loopback(o->host))
        return complain(err, CYGNET_EINVAL, 0,
                        "--plain-http: %s is not a loopback address", o->host);
    if (!o->plain_http && (!o->tls_cert || !o->tls_key))
        return complain(err, CYGNET_EINVAL, 0, "--tls-cert and --tls-key are required");
    return CYGNET_OK;
}

static cygnet_status check_names(const struct options *o, cygnet_error *err)
{
    if (!o->state_dir || !o->population || !o->model)
        return complain(err, CYGNET_EINVAL, 0, "--%s is required (see --help)",
                        !o->state_dir    ? "state-dir"
                        : !o->population ? "population"
                                         : "model");
    if (!is_population(o->population))
        return bad("population", o->population,
                   "1 to 32 letters, digits, '.', '_', '-', '/'", err);
    if (strlen(o->model) > 127)
        return complain(err, CYGNET_EINVAL, 0, "--model is too long");
    return CYGNET_OK;
}

static cygnet_status check_execution(const struct options *o, cygnet_error *err)
{
    cygnet_policy policy = CYGNET_POLICY_TASK;
    cygnet_status st = CYGNET_OK;

    if (o->policy)
        st = option_policy(&policy, "--policy", o->policy, err);
    if (st != CYGNET_OK)
        return st;
    if (o->policy_threads && policy != CYGNET_POLICY_FIXED)
        return complain(err, CYGNET_EINVAL, 0,
                        "--policy-threads goes with --policy fixed only");
    if (o->max_round_mj > MAX_JSON_INTEGER)
        return complain(err, CYGNET_EINVAL, 0, "--max-round-mj is at most %llu",
                        (unsigned long long)MAX_JSON_INTEGER);
    return CYGNET_OK;
}

static cygnet_status check(struct options *o, cygnet_error *err)
{
    cygnet_status st = check_names(o, err);

    if (st != CYGNET_OK)
        return st;
    if (o->epochs && o->steps)
        return complain(err, CYGNET_EINVAL, 0, "--epochs and --steps exclude each other");
    if (!o->epochs && !o->steps)
        o->epochs = 1;
    if (!o->min_clients)
        o->min_clients = o->participants;
    if (o->participants > o->max_clients || o->min_clients > o->max_clients)
        return complain(err, CYGNET_EINVAL, 0,
                        "--participants and --min-clients are at most --max-clients (%u)",
                        (unsigned)o->max_clients);
    st = option_codec("--codec", o->codec, err);
    if (st == CYGNET_OK)
        st = check_execution(o, err);
    return st == CYGNET_OK ? check_door(o, err) : st;
}

cygnet_status options_parse(struct options *o, int argc, char **argv, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    set_defaults(o);
    for (int i = 1; st == CYGNET_OK && i < argc; i++)
        st = take(o, &i, argc, argv, err);
    if (st != CYGNET_OK || o->help)
        return st;
    return check(o, err);
}
