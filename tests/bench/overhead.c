/* What the Swan engine costs where nothing else runs, against the best fixed choice.
 *
 * A machine that others share is slower by several percent now and then, for seconds. So
 * both train the same model, in the same memory, in this process, in short blocks of
 * equally many steps: Swan, fixed, fixed, Swan, and the other way round. What drifts in
 * the course of such four cancels out, what disturbs one of them is an outlier that a
 * median does not follow. CPU time is compared beside wall time, as waiting for a core
 * does not count there. The fixed choice against itself, its second block over its
 * first, says what this method can tell apart. Nothing is left out.
 *
 * The best fixed choice is found first, in blocks that count for nothing else: the
 * luckiest of several would be compared with its own luck. */
#include "tests/bench/controller_parts.h"

#include "examples/common/complain.h"
#include "tests/bench/measure.h"
#include "tests/bench/tail.h"
#include "tests/bench/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS_MAX = 1000, FIXED_MAX = 4, SIDE_MAX = FIXED_MAX + 1, SWAN = 0 };

/* Blocks of each fixed choice before one is chosen, and trainings in which Swan may
 * try choices before it is measured. */
enum { CHOOSING = 5, LEARNING = 20, MIN_STEPS = 4 };

/* With fewer an interval is not what it says. */
enum { MIN_PAIRS = 10 };

/* An executor that leads to whichever engine trains now. */
struct forward {
    struct nn_executor executor; /* first: the executor is this */
    struct nn_executor *inner;
};

struct side {
    char name[SCENARIO_NAME_BYTES];
    struct trainer_options options;
    struct trainer trainer;
};

/* One block: wall and CPU time of a step, and of the looking thread. */
struct block {
    double wall_ms;
    double cpu_ms;
    double looks_ms;
};

/* looks and cpu: ms of all blocks of Swan; same: its steps on as many threads as the
 * best fixed choice has */
struct totals {
    double looks_ms;
    double cpu_ms;
    uint64_t n_steps;
    uint64_t n_same;
    uint64_t n_explored;
    uint64_t n_switches;
};

/* Differences in percent, one of each four blocks. */
struct differences {
    double wall[PAIRS_MAX], cpu[PAIRS_MAX];
    double null_wall[PAIRS_MAX], null_cpu[PAIRS_MAX];
    size_t n;
};

struct overhead {
    const struct controller_options *options;
    struct forward forward;
    struct workload workload;
    struct side sides[SIDE_MAX];
    size_t n_sides;
    size_t best;
    uint32_t steps;
    double step_ms[SIDE_MAX];
    struct totals totals;
    struct differences differences;
    cygnet_error *err;
};

static void run_forward(struct nn_executor *executor, nn_block block, void *arg,
                        size_t n_blocks)
{
    struct nn_executor *inner = ((struct forward *)executor)->inner;

    inner->run(inner, block, arg, n_blocks);
}

/* ---- Engines ----------------------------------------------------------------- */

static cygnet_status add_side(struct overhead *x, uint32_t threads, bool is_placed)
{
    struct side *side = &x->sides[x->n_sides];
    bool is_swan = x->n_sides++ == SWAN;

    if (is_swan)
        (void)snprintf(side->name, sizeof(side->name), "swan");
    else
        (void)snprintf(side->name, sizeof(side->name), "fixed-%" PRIu32 "%s", threads,
                       is_placed ? "-placed" : "");
    trainer_options_init(&side->options);
    side->options.workload = x->options->workload;
    side->options.policy = is_swan ? "swan" : "fixed";
    side->options.threads = threads;
    side->options.is_placed = is_placed;
    side->options.is_normal = x->options->is_normal;
    side->options.shared = &x->workload;
    return trainer_open(&side->trainer, &side->options, x->err);
}

/* Swan first, then the fixed choices. */
static cygnet_status open_sides(struct overhead *x)
{
    uint32_t n_cores = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    cygnet_status st = add_side(x, 0, true);

    if (st == CYGNET_OK)
        st = add_side(x, 1, false);
    if (st == CYGNET_OK)
        st = add_side(x, 1, true);
    if (st == CYGNET_OK && n_cores > 1)
        st = add_side(x, n_cores, false);
    if (st == CYGNET_OK && n_cores > 1)
        st = add_side(x, n_cores, true);
    if (st != CYGNET_OK)
        return st;
    x->forward.inner = swan_executor(x->sides[SWAN].trainer.swan);
    x->forward.executor = (struct nn_executor){run_forward, x->forward.inner->n_workers};
    return workload_init(&x->workload, &x->options->workload, &x->forward.executor,
                         x->err);
}

static void close_sides(struct overhead *x)
{
    for (size_t i = 0; i < x->n_sides; i++)
        trainer_close(&x->sides[i].trainer);
    workload_clear(&x->workload);
}

/* ---- Blocks ------------------------------------------------------------------ */

/* The thread that is not among those before: it looks. 0: none. */
static int32_t new_thread(const int32_t *before, size_t n_before)
{
    int32_t now[MEASURE_THREADS];
    size_t n = measure_threads(now);

    for (size_t i = 0; i < n; i++) {
        bool is_old = false;

        for (size_t j = 0; j < n_before; j++)
            is_old |= now[i] == before[j];
        if (!is_old)
            return now[i];
    }
    return 0;
}

/* Both times are of the same steps. Pauses are no steps. */
static cygnet_status run_steps(struct trainer *t, size_t n)
{
    size_t until = t->record.n_steps + n;
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && t->record.n_steps < until)
        st = trainer_step(t, 0);
    return st;
}

/* The first step warms the caches of this engine's cores and does not count. */
static cygnet_status run_block(struct block *out, struct overhead *x, size_t which,
                               uint32_t steps)
{
    struct trainer *t = &x->sides[which].trainer;
    const struct record *r = &t->record;
    int32_t threads[MEASURE_THREADS], looker;
    size_t n_threads = measure_threads(threads);
    uint64_t looked;
    cygnet_status st;

    x->forward.inner = swan_executor(t->swan);
    st = trainer_begin(t);
    if (st == CYGNET_OK)
        st = run_steps(t, 1);
    looker = new_thread(threads, n_threads);
    looked = looker ? measure_thread_cpu_ns(looker) : 0;
    if (st == CYGNET_OK)
        st = run_steps(t, steps);
    if (st != CYGNET_OK)
        return st;
    out->looks_ms = looker ? 1e-6 * (double)(measure_thread_cpu_ns(looker) - looked) : 0;
    out->wall_ms = (r->steps[r->n_steps - 1].end_ms - r->steps[1].end_ms) / steps;
    out->cpu_ms = 1e3 * (r->steps[r->n_steps - 1].cpu_s - r->steps[1].cpu_s) / steps;
    return trainer_end(t);
}

/* ---- Choosing ---------------------------------------------------------------- */

static double median(double *values, size_t n)
{
    return tail_quantile(values, n, 0.5);
}

/* Threads are started, pages touched; how many steps a block has is told by the
 * fastest. */
static cygnet_status size_blocks(struct overhead *x)
{
    double least_ms = (double)INFINITY;
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < x->n_sides && st == CYGNET_OK; i++) {
        struct block block;

        st = run_block(&block, x, i, MIN_STEPS);
        if (st == CYGNET_OK)
            least_ms = fmin(least_ms, block.wall_ms);
    }
    x->steps = (uint32_t)fmin(1e6, fmax(MIN_STEPS, 1e3 * x->options->seconds / least_ms));
    return st;
}

static cygnet_status choose_best(struct overhead *x)
{
    double ms[SIDE_MAX][CHOOSING];
    cygnet_status st = CYGNET_OK;

    for (size_t round = 0; round < CHOOSING; round++) {
        for (size_t i = SWAN + 1; i < x->n_sides && st == CYGNET_OK; i++) {
            struct block block = {.wall_ms = 0};

            st = run_block(&block, x, i, x->steps);
            ms[i][round] = block.wall_ms;
        }
    }
    x->best = SWAN + 1;
    for (size_t i = SWAN + 1; i < x->n_sides && st == CYGNET_OK; i++) {
        x->step_ms[i] = median(ms[i], CHOOSING);
        if (x->step_ms[i] < x->step_ms[x->best])
            x->best = i;
    }
    return st;
}

/* Until it tries nothing any more, or has had time enough for that. */
static cygnet_status let_swan_learn(struct overhead *x)
{
    const struct record *record = &x->sides[SWAN].trainer.record;
    cygnet_status st = CYGNET_OK;

    for (int i = 0; i < LEARNING && st == CYGNET_OK; i++) {
        struct block block;

        st = run_block(&block, x, SWAN, x->steps);
        if (record->n_explored == 0)
            break;
    }
    return st;
}

/* ---- Measuring --------------------------------------------------------------- */

static void add_totals(struct overhead *x, const struct block *block)
{
    const struct record *record = &x->sides[SWAN].trainer.record;
    const struct trainer *best = &x->sides[x->best].trainer;
    uint32_t n_threads = best->options->threads;

    x->totals.looks_ms += block->looks_ms;
    x->totals.cpu_ms += block->cpu_ms * x->steps;
    x->totals.n_explored += record->n_explored;
    x->totals.n_switches += record->n_switches;
    for (size_t i = 2; i < record->n_steps; i++) {
        x->totals.n_steps++;
        x->totals.n_same += record->steps[i].n_threads == n_threads;
    }
}

static double percent(double a, double b)
{
    return 100.0 * (a / b - 1.0);
}

/* Swan, fixed, fixed, Swan; every other time the other way round. */
static cygnet_status run_four(struct overhead *x, uint32_t number)
{
    struct differences *d = &x->differences;
    struct block swan[2], fixed[2];
    size_t n_swan = 0, n_fixed = 0;
    cygnet_status st = CYGNET_OK;

    for (uint32_t i = 0; i < 4 && st == CYGNET_OK; i++) {
        bool is_swan = (i == 0 || i == 3) == (number % 2 == 0);
        struct block *block = is_swan ? &swan[n_swan++] : &fixed[n_fixed++];

        st = run_block(block, x, is_swan ? SWAN : x->best, x->steps);
        if (is_swan && st == CYGNET_OK)
            add_totals(x, block);
    }
    if (st != CYGNET_OK)
        return st;
    d->wall[d->n] =
        percent(swan[0].wall_ms + swan[1].wall_ms, fixed[0].wall_ms + fixed[1].wall_ms);
    d->cpu[d->n] =
        percent(swan[0].cpu_ms + swan[1].cpu_ms, fixed[0].cpu_ms + fixed[1].cpu_ms);
    d->null_wall[d->n] = percent(fixed[1].wall_ms, fixed[0].wall_ms);
    d->null_cpu[d->n++] = percent(fixed[1].cpu_ms, fixed[0].cpu_ms);
    return CYGNET_OK;
}

static cygnet_status measure(struct overhead *x)
{
    cygnet_status st = open_sides(x);

    if (st == CYGNET_OK)
        st = size_blocks(x);
    if (st == CYGNET_OK)
        st = choose_best(x);
    if (st == CYGNET_OK)
        st = let_swan_learn(x);
    for (uint32_t i = 0; i < x->options->pairs && st == CYGNET_OK; i++)
        st = run_four(x, i);
    return st;
}

/* ---- Saying ------------------------------------------------------------------ */

enum { OVERHEAD_WALL, OVERHEAD_CPU, NULL_WALL, NULL_CPU, N_MIDDLES };

static const char *const middle_names[N_MIDDLES] = {"overhead_wall", "overhead_cpu",
                                                    "null_wall", "null_cpu"};

static cygnet_status find_middles(struct tail_middle out[N_MIDDLES], struct overhead *x)
{
    const struct differences *d = &x->differences;
    const double *const values[N_MIDDLES] = {d->wall, d->cpu, d->null_wall, d->null_cpu};
    cygnet_status st = CYGNET_OK;

    for (int i = 0; i < N_MIDDLES && st == CYGNET_OK; i++)
        st = tail_median(&out[i], values[i], d->n, x->err);
    return st;
}

static void put_middle(struct json_builder *b, const char *name,
                       const struct tail_middle *m)
{
    char key[64];

    (void)snprintf(key, sizeof(key), "%.40s_pct", name);
    json_put_double(b, key, m->median);
    (void)snprintf(key, sizeof(key), "%.40s_ci95", name);
    json_open_array(b, key);
    json_put_double(b, NULL, m->low);
    json_put_double(b, NULL, m->high);
    json_close(b);
}

static double same_pct(const struct overhead *x)
{
    return 100.0 * (double)x->totals.n_same / (double)x->totals.n_steps;
}

static double looks_pct(const struct overhead *x)
{
    return 100.0 * x->totals.looks_ms / x->totals.cpu_ms;
}

static cygnet_status write_row(const struct overhead *x,
                               const struct tail_middle middles[N_MIDDLES])
{
    struct json_builder *b = controller_row(x->options, "overhead");

    json_put_u64(b, "pairs", x->options->pairs);
    json_put_string(b, "priority", x->options->is_normal ? "normal" : "idle");
    json_put_u64(b, "steps_per_block", x->steps);
    json_put_string(b, "best_fixed", x->sides[x->best].name);
    for (size_t i = SWAN + 1; i < x->n_sides; i++) {
        char key[64];

        (void)snprintf(key, sizeof(key), "step_ms_%s", x->sides[i].name);
        json_put_double(b, key, x->step_ms[i]);
    }
    for (int i = 0; i < N_MIDDLES; i++)
        put_middle(b, middle_names[i], &middles[i]);
    json_put_double(b, "looks_cpu_pct", looks_pct(x));
    json_put_double(b, "same_threads_pct", same_pct(x));
    json_put_u64(b, "explored_steps", x->totals.n_explored);
    json_put_u64(b, "switches", x->totals.n_switches);
    return controller_write(x->options, b, x->err);
}

/* What the interval says of a bar of 1 %. */
static const char *verdict(const struct tail_middle *m, uint32_t n_pairs)
{
    if (n_pairs < MIN_PAIRS)
        return "too few to tell";
    if (m->high <= 1.0)
        return "at most 1 %";
    return m->low > 1.0 ? "more than 1 %" : "1 % cannot be told apart here";
}

static void print(const struct overhead *x, const struct tail_middle middles[N_MIDDLES])
{
    static const char *const what[] = {"wall", "CPU"};

    for (size_t i = SWAN + 1; i < x->n_sides; i++)
        printf("overhead: %-16s %8.2f ms a step%s\n", x->sides[i].name, x->step_ms[i],
               i == x->best ? ", the best fixed choice" : "");
    for (int i = 0; i < 2; i++) {
        const struct tail_middle *m = &middles[i], *none = &middles[i + NULL_WALL];

        printf("overhead of swan, %-4s time: %6.2f %% [%.2f %.2f]: %s; the fixed choice "
               "against itself: %.2f %% [%.2f %.2f]\n",
               what[i], m->median, m->low, m->high, verdict(m, x->options->pairs),
               none->median, none->low, none->high);
    }
    printf("overhead: looking takes %.2f %% of the CPU time; %.1f %% of steps on as many "
           "threads as the best fixed choice, %" PRIu64 " tried others, %" PRIu64
           " switches; %" PRIu32 " times four blocks of %" PRIu32 " steps\n",
           looks_pct(x), same_pct(x), x->totals.n_explored, x->totals.n_switches,
           x->options->pairs, x->steps);
    (void)fflush(stdout);
}

static cygnet_status report(struct overhead *x)
{
    struct tail_middle middles[N_MIDDLES];
    cygnet_status st = find_middles(middles, x);

    if (st == CYGNET_OK && x->options->speaks)
        print(x, middles);
    return st == CYGNET_OK ? write_row(x, middles) : st;
}

cygnet_status controller_overhead(const struct controller_options *o, cygnet_error *err)
{
    static struct overhead x;
    cygnet_status st;

    x = (struct overhead){.options = o, .err = err};
    st = measure(&x);
    if (st == CYGNET_OK)
        st = report(&x);
    close_sides(&x);
    return st;
}
