/* cygnet-bench: what a training step costs, beside what the machine can do, and what
 * training costs whoever uses the machine. See docs/performance.md and
 * docs/swan-measured.md. */
#include "tests/bench/bench.h"

#include "examples/common/complain.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { MAX_ROW_BYTES = 65536 };

static const char USAGE[] =
    "usage: cygnet-bench step|peak|grad|explore|interference|controller|asymmetry\n"
    "                    [options]\n"
    "\n"
    "step: milliseconds, memory and arithmetic of a training step\n"
    "  --model NAME     of the zoo, with arguments; may be given several times\n"
    "  --input CxHxW    of one example (what the model was published with)\n"
    "  --batch B        examples of a step (16)\n"
    "  --threads T      may be given several times (1)\n"
    "  --steps N        measured after three that are not (100)\n"
    "  --classes K      (10; keywords 12; models for photographs 1000)\n"
    "  --seed S         of weights and data (0)\n"
    "  --lr L           with momentum 0.9 and weight decay 0.0005 (0.01)\n"
    "\n"
    "peak: arithmetic and memory bandwidth of each core, then of all together\n"
    "  --megabytes M    of each of the three arrays of the triad (64)\n"
    "\n"
    "grad: loss, logits and gradients for given weights and a given batch\n"
    "  --model NAME     of the zoo, with arguments\n"
    "  --classes K\n"
    "  --weights FILE   safetensors under PyTorch's names, buffers included\n"
    "  --batch FILE     safetensors: x float32 (N, C, H, W), y int64 (N)\n"
    "  --out FILE       receives loss, logits, and each gradient under its name\n"
    "  --train-steps N  then N steps of SGD on that batch; the weights after them\n"
    "                   are in FILE as after.NAME (0)\n"
    "  --lr L --momentum U --weight-decay D   of those steps (0.01, 0, 0)\n"
    "  --threads T      (1)\n"
    "  Batch norm is in training mode; nothing is dropped out.\n"
    "\n"
    "explore: what a device that knows nothing finds in its first rounds, and what it\n"
    "loses by that, on modelled phones; a table, and JSON with --json FILE\n"
    "  --devices DIR    where their files are (tests/fixtures/devices)\n"
    "  --seeds N        devices a row (200)\n"
    "  --rounds N --steps N   of each (5, 60)\n"
    "  --deadline X     the least energy in X times the fastest round (the fastest)\n"
    "  regret: of the choice after the first round; lost: of that round; missing: the\n"
    "  worst stand-in of a choice on the true frontier\n"
    "\n"
    "interference: frames of a foreground alone and beside training, in turn\n"
    "  --pairs N        windows beside each scenario, and as many alone (10)\n"
    "  --seconds S      of a window (5), after --lead S that do not count (1)\n"
    "  --foreground L   of pinned,free,bursts (all)\n"
    "  --burst S        how long a burst is, and a pause (4); --onset S: at the\n"
    "                   beginning of each, kept apart (2)\n"
    "  --set L          of alone,pytorch,pytorch-idle,greedy,greedy-idle,swan,fixed-T,\n"
    "                   fixed-T-placed,fixed-T-core-C (all, T 1 and as many as cores)\n"
    "  --pytorch PYTHON that has torch (python3)\n"
    "  --plot FILE      SVG of a window in bursts beside swan\n"
    "\n"
    "controller: what reacting costs, and how fast it is\n"
    "  --set L          of overhead,vacate,blocks,react (all)\n"
    "  --pairs N --seconds S   of overhead: N times four blocks of S (60, 0.5);\n"
    "                   --normal: not at SCHED_IDLE, for a machine with others on it\n"
    "  --revocations N  of vacate (200); --steps N: of blocks (5)\n"
    "  --loads N --load-seconds S   of react (10, 1.5); a load waits --patience S for\n"
    "                   quiet, else it is left out (20); until N count, at most\n"
    "                   --attempts M (40)\n"
    "  --core C         that is revoked, or busy (0)\n"
    "\n"
    "asymmetry: core 1 made slower, by a load and by a quota\n"
    "  --duty D         how much of it is taken away (0.6)\n"
    "  --steps N        of each training (60) of --trainings N (5); as many by hand, in\n"
    "                   --rounds N (20)\n"
    "\n"
    "The last three: --model (mobilenet_v2), --input (3x32x32), --batch (16).\n"
    "They print tables; step and peak print JSON. --json FILE receives one object a\n"
    "line; - is standard output, in place of tables.\n"
    "Exit status: 0 done, 1 an error, 2 a bad command line.\n";

int bench_complain(int status, const cygnet_error *err)
{
    fprintf(stderr, "cygnet-bench: %s\n", err->message);
    return status;
}

FILE *bench_open(const char *path, cygnet_error *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

    if (!file)
        complain(err, status_of_errno(errno), errno, "%s: %s", path, strerror(errno));
    return file;
}

cygnet_status bench_close(FILE *file, cygnet_error *err)
{
    bool failed = fflush(file) != 0 || ferror(file);

    if (file != stdout && fclose(file) != 0)
        failed = true;
    if (failed)
        return complain(err, CYGNET_ESTORAGE, errno, "the results could not be written");
    return CYGNET_OK;
}

cygnet_status bench_write(FILE *file, struct json_builder *row, cygnet_error *err)
{
    struct bytes text;
    cygnet_status st;

    bytes_init(&text, MAX_ROW_BYTES, NULL);
    st = json_build_finish(row, &text, err);

    if (st == CYGNET_OK)
        fprintf(file, "%.*s\n", (int)text.len, (const char *)text.data);
    bytes_clear(&text);
    if (st == CYGNET_OK && fflush(file) != 0)
        st = complain(err, CYGNET_ESTORAGE, errno, "the results could not be written");
    return st;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} COMMANDS[] = {
    {"step", bench_step},
    {"peak", bench_peak},
    {"grad", bench_grad},
    {"explore", bench_explore},
    {"interference", bench_interference},
    {"controller", bench_controller},
    {"asymmetry", bench_asymmetry},
    {"foreground", bench_foreground},
    {"load", bench_load},
    {"trainer", bench_trainer},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc >= 2 && i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
        if (strcmp(argv[1], COMMANDS[i].name) == 0)
            return COMMANDS[i].run(argc - 1, argv + 1);
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(USAGE, stdout) < 0 ? BENCH_FAILED : BENCH_DONE;
    fputs("cygnet-bench: want step, peak, grad, explore, interference, controller or "
          "asymmetry (see --help)\n",
          stderr);
    return BENCH_USAGE;
}
