/* The command line of cygnet-fleet live. */
#include "fleet_options.h"
#include "command_line.h"
#include "complain.h"
#include "options.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

const char FLEET_LIVE_HELP[] =
    "usage: cygnet-fleet live [options]\n"
    "\n"
    "Starts a coordinator and N clients on this machine, each a process of its own,\n"
    "joined by HTTPS; splits real pictures among the clients, unevenly as on real\n"
    "devices; trains one model with federated averaging; shows each round.\n"
    "\n"
    "  --data SPEC          digits, idx:DIR or cifar10:DIR (digits)\n"
    "  --classes N          labels of the data are below N (10)\n"
    "  --model NAME         of the zoo, such as mlp, lenet5, resnet18 (lenet5)\n"
    "  --input CxHxW        pictures are resized to this (what the model wants)\n"
    "  --clients N          client processes (10)\n"
    "  --participants K     updates that make a round (all clients)\n"
    "  --rounds R           rounds (10)\n"
    "  --target-accuracy X  stop when the held-out split reaches X\n"
    "  --epochs E           passes over the own data in a round (3)\n"
    "  --batch B            examples a step (16)\n"
    "  --lr X               learning rate (0.02)\n"
    "  --momentum X         of local SGD (0.9)\n"
    "  --alpha A            Dirichlet skew: 0.1 strong, 100 nearly even (0.5)\n"
    "  --partition HOW      instead: dirichlet:A, shards:PER_CLIENT or iid\n"
    "  --codec NAME         of the updates: none, int8, weights (int8)\n"
    "  --seed S             same seed, same model, bit for bit (drawn and shown)\n"
    "  --over-commitment F  ask ceil(K * F) clients for K updates (1)\n"
    "  --deadline S         of a round (600)\n"
    "  --lease S            a client silent for so long has left the round (15)\n"
    "  --threads N          of each client (1)\n"
    "  --policy NAME        tasks ask for: swan, greedy, fixed or efficient (unsaid)\n"
    "  --max-round-mj N     tasks allow so much energy for a training (no limit)\n"
    "  --out DIR            keep summary.json, model.safetensors, clients/*.log and\n"
    "                       coordinator.log\n"
    "  --bin-dir DIR        where cygnet-client and cygnet-coordinator are\n"
    "                       (beside this program)\n"
    "  --coordinator URL    start none, but join a FedScale job, fedscale://host:port "
    "or\n"
    "                       fedscales://host:port. Its aggregator then says how many\n"
    "                       rounds there are, who takes part, and the learning rate\n"
    "  --steps N            there: steps of a round, instead of --epochs\n"
    "  --ca FILE            there: trusted roots, PEM (the system's)\n"
    "  --help\n"
    "\n"
    "On a terminal the running round is redrawn; otherwise, or with TERM=dumb, each\n"
    "round is one plain line. The result repeats for a seed while nothing fails and\n"
    "F is 1. Exit status: 0 done, 1 an error, 2 a bad command line, 4 stopped.\n";

static cygnet_status read_input(void *options, const char *name, const char *text,
                                cygnet_error *err)
{
    struct fleet_options *o = options;

    return option_shape(o->input, &o->n_input_dims, name, text, err);
}

static cygnet_status read_policy(void *options, const char *name, const char *text,
                                 cygnet_error *err)
{
    struct fleet_options *o = options;
    cygnet_policy policy;

    o->policy = text;
    return option_policy(&policy, name, text, err);
}

#define AT(field) offsetof(struct fleet_options, field)

static const struct option_row rows[] = {
    {"data", OPTION_TEXT, AT(data), 0, 0, NULL},
    {"classes", OPTION_U32, AT(classes), 2, DATASET_MAX_CLASSES, NULL},
    {"input", OPTION_READ, 0, 0, 0, read_input},
    {"model", OPTION_TEXT, AT(model), 0, 0, NULL},
    {"clients", OPTION_U32, AT(clients), 1, 1000, NULL},
    {"participants", OPTION_U32, AT(participants), 1, 1000, NULL},
    {"rounds", OPTION_U32, AT(rounds), 1, 10000, NULL},
    {"epochs", OPTION_U32, AT(epochs), 1, 1000, NULL},
    {"batch", OPTION_U32, AT(batch), 1, 65536, NULL},
    {"lr", OPTION_REAL, AT(lr), 0, 1000, NULL},
    {"momentum", OPTION_REAL, AT(momentum), 0, 0.999999, NULL},
    {"alpha", OPTION_REAL, AT(alpha), 1e-3, 1e6, NULL},
    {"partition", OPTION_TEXT, AT(partition), 0, 0, NULL},
    {"codec", OPTION_TEXT, AT(codec), 0, 0, NULL},
    {"seed", OPTION_U64, AT(seed), 0, 0, NULL},
    {"target-accuracy", OPTION_REAL, AT(target_accuracy), 0, 1, NULL},
    {"over-commitment", OPTION_REAL, AT(over_commitment), 1, 10, NULL},
    {"deadline", OPTION_U32, AT(deadline_s), 1, 2592000, NULL},
    {"lease", OPTION_U32, AT(lease_s), 1, 2592000, NULL},
    {"threads", OPTION_U32, AT(threads), 1, 64, NULL},
    {"policy", OPTION_READ, 0, 0, 0, read_policy},
    {"max-round-mj", OPTION_U64, AT(max_round_mj), 0, 0, NULL},
    {"out", OPTION_TEXT, AT(out), 0, 0, NULL},
    {"bin-dir", OPTION_TEXT, AT(bin_dir), 0, 0, NULL},
    {"coordinator", OPTION_TEXT, AT(coordinator), 0, 0, NULL},
    {"steps", OPTION_U32, AT(steps), 1, 1000000, NULL},
    {"ca", OPTION_TEXT, AT(ca), 0, 0, NULL},
    {"help", OPTION_FLAG, AT(help), 0, 0, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

/* 32 bits: short enough to type again. */
static cygnet_status draw_seed(uint64_t *out, cygnet_error *err)
{
    uint32_t value;

    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        return complain(err, CYGNET_ESTORAGE, 0, "no random seed from the system");
    *out = value ? value : 1;
    return CYGNET_OK;
}

/* What another's job has to say is not to be said here. */
static cygnet_status check_coordinator(const struct fleet_options *o, cygnet_error *err)
{
    if (!o->coordinator && (o->steps > 0 || o->ca))
        return complain(err, CYGNET_EINVAL, 0, "--steps and --ca need --coordinator");
    if (!o->coordinator)
        return CYGNET_OK;
    if (strncmp(o->coordinator, "fedscale://", strlen("fedscale://")) != 0 &&
        strncmp(o->coordinator, "fedscales://", strlen("fedscales://")) != 0)
        return complain(err, CYGNET_EINVAL, 0,
                        "--coordinator: \"%.80s\" is not fedscale:// or fedscales://",
                        o->coordinator);
    if (o->rounds > 0 || o->participants > 0 || o->lr >= 0.0 || o->codec ||
        o->target_accuracy <= 1.0 || o->over_commitment > 0.0 || o->lease_s > 0)
        return complain(err, CYGNET_EINVAL, 0,
                        "--coordinator: it says --rounds, --participants, --lr, --codec, "
                        "--target-accuracy, --over-commitment and --lease itself");
    return CYGNET_OK;
}

static void set_defaults(struct fleet_options *o)
{
    if (o->rounds == 0)
        o->rounds = 10;
    if (o->lr < 0.0)
        o->lr = 0.02;
    if (!o->codec)
        o->codec = o->coordinator ? "none" : "int8";
    if (o->over_commitment <= 0.0)
        o->over_commitment = 1.0;
    if (o->lease_s == 0)
        o->lease_s = 15;
}

static cygnet_status check(struct fleet_options *o, cygnet_error *err)
{
    cygnet_status st = check_coordinator(o, err);

    if (st != CYGNET_OK)
        return st;
    set_defaults(o);
    if (o->participants == 0)
        o->participants = o->clients;
    if (o->participants > o->clients)
        return complain(err, CYGNET_EINVAL, 0,
                        "--participants: %u are more than the %u clients",
                        o->participants, o->clients);
    if (o->partition && o->alpha > 0.0)
        return complain(err, CYGNET_EINVAL, 0,
                        "--alpha and --partition exclude each other");
    if (o->partition && strlen(o->partition) >= sizeof(o->partition_text))
        return complain(err, CYGNET_EINVAL, 0, "--partition is too long");
    if (o->partition)
        snprintf(o->partition_text, sizeof(o->partition_text), "%s", o->partition);
    else
        snprintf(o->partition_text, sizeof(o->partition_text), "dirichlet:%g",
                 o->alpha > 0.0 ? o->alpha : 0.5);
    st = option_codec("--codec", o->codec, err);
    if (st == CYGNET_OK)
        st = partition_parse(&o->partition_spec, o->partition_text, err);
    if (st == CYGNET_OK && o->seed == 0)
        st = draw_seed(&o->seed, err);
    return st;
}

cygnet_status fleet_options_parse(struct fleet_options *out, int argc, char **argv,
                                  cygnet_error *err)
{
    cygnet_status st;

    *out = (struct fleet_options){
        .data = "digits",
        .classes = 10,
        .model = "lenet5",
        .clients = 10,
        .epochs = 3,
        .batch = 16,
        .lr = -1.0,
        .momentum = 0.9,
        .target_accuracy = 2.0,
        .deadline_s = 600,
        .threads = 1,
    };
    st = command_line_parse(out, rows, argc, argv, err);
    if (st != CYGNET_OK || out->help)
        return st;
    return check(out, err);
}
