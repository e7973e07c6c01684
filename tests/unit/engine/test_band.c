/* A hundred steps end where PyTorch's do: within the spread of its own seeds, with our
 * first weights, order of batches and steps (tests/golden/nn/bands.golden, written by
 * tools/make_band_golden.py; docs/numerics.md has the rule). What is known to be wrong
 * has to end elsewhere. */
#include "golden.h"
#include "numbers.h"

#include "base/rng.h"
#include "engine/nn/zoo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_CASES = 3,
    N_WITH_STATISTICS = 1,
    N_RUNS = 4,
    MAX_RUNS = 256,
    N_FIELDS = 4,
    N_SETTINGS = 10
};
enum { TRAIN_LOSS, HELD_OUT_LOSS, HELD_OUT_ERRORS, N_MEASURES };

static const char *const measure_names[] = {"loss in training", "held-out loss",
                                            "held-out errors"};
static const double unit = 0x1p-30; /* of the settings of a golden case */
static const double n_deviations = 4;

/* What a run ended with: logarithms of losses, and of one more than the errors. */
struct ending {
    double of[N_MEASURES];
};

struct task {
    const struct kernels *kernels;
    const char *spec;
    struct shape input;
    size_t n_theirs, n_steps, n_last, n_train, n_held_out, batch, n_classes;
    double contrast;
    cygnet_optimizer rule;
    float *x;
    int64_t *y;
    struct ending theirs[MAX_RUNS], ours[N_RUNS];
};

/* ---- The golden file ------------------------------------------------------- */

static void read_settings(struct task *t, const struct golden_case *c)
{
    const size_t *p = c->params;

    assert_true(c->n_params == N_SETTINGS + 4);
    t->spec = c->spec;
    t->n_theirs = p[0], t->n_steps = p[1], t->n_last = p[2];
    t->n_train = p[3], t->n_held_out = p[4], t->batch = p[5], t->n_classes = p[6];
    assert_in_range(t->n_theirs, 2, MAX_RUNS);
    t->input = (struct shape){3, {p[7], p[8], p[9]}};
    t->contrast = (double)p[10] * unit;
    cygnet_optimizer_init(&t->rule, CYGNET_OPTIMIZER_SGD);
    t->rule.lr = (double)p[11] * unit;
    t->rule.momentum = (double)p[12] * unit;
    t->rule.weight_decay = (double)p[13] * unit;
}

static void read_runs(struct task *t, struct golden *g)
{
    for (size_t r = 0; r < t->n_theirs; r++) {
        struct ending *e = &t->theirs[r];

        assert_string_equal(g->word, "run");
        e->of[TRAIN_LOSS] = log(golden_number(g));
        e->of[HELD_OUT_LOSS] = log(golden_number(g));
        e->of[HELD_OUT_ERRORS] = log1p(golden_number(g));
        golden_next(g);
    }
}

/* ---- The task, as in tools/make_band_golden.py ------------------------------ */

/* Index of the field of the class's pattern that element i of an example shows. */
static size_t field_of(const struct task *t, size_t class, size_t i)
{
    size_t h = t->input.dim[1], w = t->input.dim[2];
    size_t channel = i / (h * w), row = i / w % h, column = i % w;

    return ((class * t->input.dim[0] + channel) * N_FIELDS + row * N_FIELDS / h) *
               N_FIELDS +
           column * N_FIELDS / w;
}

static void make_examples(struct task *t)
{
    size_t n = t->n_train + t->n_held_out, elements = shape_elements(&t->input);
    uint64_t patterns = hash_start(FIXTURE_SEED, "patterns");
    uint64_t noise = hash_start(FIXTURE_SEED, "noise");

    t->x = allocate(n * elements, sizeof(*t->x));
    t->y = allocate(n, sizeof(*t->y));
    hash_fill_labels(t->y, FIXTURE_SEED, n, (uint32_t)t->n_classes);
    for (size_t i = 0; i < n * elements; i++) {
        size_t class = (size_t)t->y[i / elements];
        double pattern = hash_value(patterns, field_of(t, class, i % elements));

        t->x[i] = (float)(t->contrast * pattern + hash_value(noise, i));
    }
}

static void open_task(struct task *t, struct golden *g, const struct golden_case *c)
{
    memset(t, 0, sizeof(*t));
    t->kernels = &g->kernels;
    read_settings(t, c);
    read_runs(t, g);
    make_examples(t);
}

static void close_task(struct task *t)
{
    free(t->x);
    free(t->y);
}

/* ---- A run ------------------------------------------------------------------ */

static cygnet_model *make_model(const struct task *t, uint64_t seed)
{
    cygnet_model_options options;
    cygnet_model *model;
    struct graph graph;

    cygnet_model_options_init(&options);
    options.max_batch = (uint32_t)t->batch;
    options.seed = seed;
    graph_init(&graph, NULL);
    assert_int_equal(zoo_build(&graph, t->spec, &t->input, (uint32_t)t->n_classes, NULL),
                     CYGNET_OK);
    assert_int_equal(model_assemble(&model, &graph, t->kernels, &nn_serial_executor,
                                    &options, NULL),
                     CYGNET_OK);
    return model;
}

/* The steps; the mean of the last losses. Each epoch has an order of its own. */
static double train(const struct task *t, cygnet_model *model, uint64_t seed)
{
    size_t elements = shape_elements(&t->input), per_epoch = t->n_train / t->batch;
    float *x = allocate(t->batch * elements, sizeof(*x));
    int64_t *y = allocate(t->batch, sizeof(*y));
    uint64_t *order = allocate(t->n_train, sizeof(*order));
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    struct rng rng;
    double sum = 0;

    rng_init(&rng, seed, "order", 0);
    for (size_t i = 0; i < t->n_train; i++)
        order[i] = i;
    for (size_t step = 0; step < t->n_steps; step++) {
        size_t at = step % per_epoch * t->batch;

        if (at == 0)
            rng_shuffle(&rng, order, t->n_train);
        for (size_t i = 0; i < t->batch; i++) {
            y[i] = t->y[order[at + i]];
            memcpy(x + i * elements, t->x + order[at + i] * elements,
                   elements * sizeof(*x));
        }
        assert_int_equal(cygnet_model_step(model, &metrics, x, y, (uint32_t)t->batch,
                                           &t->rule, NULL),
                         CYGNET_OK);
        sum += step + t->n_last >= t->n_steps ? metrics.loss : 0;
    }
    free(x);
    free(y);
    free(order);
    return sum / (double)t->n_last;
}

/* What the test does to a model between its last step and its evaluation. */
typedef void (*spoil_fn)(cygnet_model *model);

static void run_all(struct task *t, spoil_fn spoil)
{
    const float *x = t->x + t->n_train * shape_elements(&t->input);

    for (uint64_t seed = 0; seed < N_RUNS; seed++) {
        cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
        cygnet_model *model = make_model(t, seed);
        struct ending *e = &t->ours[seed];

        e->of[TRAIN_LOSS] = log(train(t, model, seed));
        if (spoil)
            spoil(model);
        assert_int_equal(cygnet_model_evaluate(model, &metrics, x, t->y + t->n_train,
                                               t->n_held_out, NULL),
                         CYGNET_OK);
        e->of[HELD_OUT_LOSS] = log(metrics.loss);
        e->of[HELD_OUT_ERRORS] = log1p((double)(metrics.n - metrics.correct));
        cygnet_model_destroy(model);
    }
}

/* ---- The band --------------------------------------------------------------- */

static double mean_of(const struct ending *e, size_t n, int measure)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += e[i].of[measure];
    return sum / (double)n;
}

static double deviation_of(const struct ending *e, size_t n, int measure)
{
    double mean = mean_of(e, n, measure), squares = 0;

    for (size_t i = 0; i < n; i++)
        squares += (e[i].of[measure] - mean) * (e[i].of[measure] - mean);
    return sqrt(squares / (double)(n - 1));
}

/* True if each run is within the deviations of one of theirs, and the mean of ours
 * within those of the difference of two means. False for NaN. */
static bool is_in_band(const struct task *t, int measure)
{
    double centre = mean_of(t->theirs, t->n_theirs, measure);
    double width = n_deviations * deviation_of(t->theirs, t->n_theirs, measure);
    double of_means = width * sqrt(1.0 / N_RUNS + 1 / (double)t->n_theirs);

    for (size_t i = 0; i < N_RUNS; i++) {
        if (!(fabs(t->ours[i].of[measure] - centre) <= width))
            return false;
    }
    return fabs(mean_of(t->ours, N_RUNS, measure) - centre) <= of_means;
}

/* How far from theirs the mean of ours is, in their deviations. */
static double distance(const struct task *t, int measure)
{
    double off =
        mean_of(t->ours, N_RUNS, measure) - mean_of(t->theirs, t->n_theirs, measure);

    return off / deviation_of(t->theirs, t->n_theirs, measure);
}

static void check_inside(struct golden *g, const struct golden_case *c)
{
    static struct task t;

    open_task(&t, g, c);
    run_all(&t, NULL);
    for (int m = 0; m < N_MEASURES; m++) {
        if (!is_in_band(&t, m))
            fail_msg("%s: %s leaves the band, on average by %+.1f deviations", t.spec,
                     measure_names[m], distance(&t, m));
    }
    close_task(&t);
}

static void check_outside(const struct task *t, int measure)
{
    if (is_in_band(t, measure))
        fail_msg("%s: the band of the %s is too wide", t->spec, measure_names[measure]);
}

static void check_without_momentum(struct golden *g, const struct golden_case *c)
{
    static struct task t;

    open_task(&t, g, c);
    t.rule.momentum = 0;
    run_all(&t, NULL);
    check_outside(&t, TRAIN_LOSS);
    check_outside(&t, HELD_OUT_LOSS);
    close_task(&t);
}

/* As if no step had touched them. */
static void forget_statistics(cygnet_model *model)
{
    cygnet_tensors *weights;

    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    for (size_t i = 0; i < cygnet_tensors_count(weights); i++) {
        const cygnet_tensor *w = cygnet_tensors_at(weights, i);
        bool is_mean = strstr(w->name, ".running_mean") != NULL;
        real *values = w->data;

        if (!is_mean && !strstr(w->name, ".running_var"))
            continue;
        for (size_t e = 0; e < (size_t)w->size_bytes / sizeof(real); e++)
            values[e] = is_mean ? 0 : 1;
    }
    assert_int_equal(cygnet_model_set_weights(model, weights, NULL), CYGNET_OK);
    cygnet_tensors_destroy(weights);
}

static bool has_statistics(const struct task *t)
{
    cygnet_model *model = make_model(t, 0);
    bool has = false;

    for (size_t i = 0; i < model->graph.n_tensors; i++)
        has |= strstr(model->graph.tensors[i].name, ".running_var") != NULL;
    cygnet_model_destroy(model);
    return has;
}

/* Of models that have any. */
static size_t n_without_statistics;

static void check_without_statistics(struct golden *g, const struct golden_case *c)
{
    static struct task t;

    open_task(&t, g, c);
    if (has_statistics(&t)) {
        run_all(&t, forget_statistics);
        check_outside(&t, HELD_OUT_LOSS);
        n_without_statistics++;
    }
    close_task(&t);
}

static void test_a_hundred_steps_end_in_pytorchs_band(void **state)
{
    golden_check_file("bands.golden", *state, N_CASES, check_inside);
}

static void test_without_momentum_they_end_outside(void **state)
{
    golden_check_file("bands.golden", *state, N_CASES, check_without_momentum);
}

static void test_without_running_statistics_they_end_outside(void **state)
{
    n_without_statistics = 0;
    golden_check_file("bands.golden", *state, N_CASES, check_without_statistics);
    assert_true(n_without_statistics == N_WITH_STATISTICS);
}

int main(void)
{
    /* The fastest kernels here; other tests hold all of them against the reference. */
    void *fastest = (void *)(uintptr_t)kernels_at(kernels_count() - 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_a_hundred_steps_end_in_pytorchs_band, fastest),
        cmocka_unit_test_prestate(test_without_momentum_they_end_outside, fastest),
        cmocka_unit_test_prestate(test_without_running_statistics_they_end_outside,
                                  fastest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
