/* The kernels of moves, factors and recurrent steps of every class of CPU that runs
 * here, and their exp and tanh, against plain formulas in double. Models of them give
 * the same bits whatever runs them. */
#include "tests/unit/pool/pool_fixture.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { ROWS = 5, WIDE = 3 * PANEL, MAX_PIECES = 6 };

typedef void (*class_test)(const struct kernels *k);

static void each_class(class_test test)
{
    struct kernels k;

    for (size_t i = 0; kernels_class(&k, i); i++)
        test(&k);
}

static void fill(real *out, const char *name, size_t n, double scale)
{
    hash_fill(out, FIXTURE_SEED, name, n, scale);
}

/* ---- Moves --------------------------------------------------------------- */

/* n pieces, each lane from one of them or (the last share) from none. */
static void draw_lanes(int8_t lanes[MAX_PIECES][PANEL], size_t n, uint64_t seed)
{
    memset(lanes, -1, MAX_PIECES * PANEL);
    for (size_t l = 0; l < PANEL; l++) {
        size_t piece = (size_t)hash_label(seed, l, (uint32_t)n + 1);

        if (piece < n)
            lanes[piece][l] = (int8_t)hash_label(seed, PANEL + l, PANEL);
    }
}

static double moved_value(int8_t lanes[MAX_PIECES][PANEL], size_t n, const real *x,
                          size_t row, size_t l, const struct reading *r)
{
    double v = 0;

    for (size_t i = 0; i < n; i++) {
        if (lanes[i][l] >= 0)
            v = (double)x[row * WIDE + i % 3 * PANEL + (size_t)lanes[i][l]];
    }
    if (r->scale)
        v = (double)(real)(v * (double)r->scale[l] + (double)r->shift[l]);
    return r->act == ACT_RELU && v < 0 ? 0 : v;
}

static void check_move(const struct kernels *k, size_t n, const struct reading *reading,
                       uint64_t seed)
{
    int8_t lanes[MAX_PIECES][PANEL];
    real x[ROWS * WIDE], y[ROWS * WIDE];
    struct moved from[MAX_PIECES];

    fill(x, "x", ROWS * WIDE, 1);
    draw_lanes(lanes, n, seed);
    for (size_t i = 0; i < n; i++)
        from[i] = (struct moved){x + i % 3 * PANEL, WIDE, lanes[i]};
    for (size_t i = 0; i < ROWS * WIDE; i++)
        y[i] = 7;
    k->move(y, WIDE, from, n, reading, ROWS);
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t l = 0; l < WIDE; l++) {
            double want = l < PANEL ? moved_value(lanes, n, x, r, l, reading) : 7;

            /* a product and a sum may be rounded once or twice */
            if (!(fabs((double)y[r * WIDE + l] - want) <= (reading->scale ? 2e-7 : 0)))
                fail_msg("%s: %zu pieces, row %zu lane %zu: %g, want %g", k->name, n, r,
                         l, (double)y[r * WIDE + l], want);
        }
    }
}

static void check_moves(const struct kernels *k)
{
    real scale[PANEL], shift[PANEL];

    fill(scale, "scale", PANEL, 1);
    fill(shift, "shift", PANEL, 0.5);
    for (size_t n = 0; n <= MAX_PIECES; n++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            check_move(k, n, &(struct reading){NULL, NULL, ACT_NONE}, seed);
            check_move(k, n, &(struct reading){NULL, NULL, ACT_RELU}, seed);
            check_move(k, n, &(struct reading){scale, shift, ACT_NONE}, seed);
            check_move(k, n, &(struct reading){scale, shift, ACT_RELU}, seed);
        }
    }
}

static void test_lanes_go_where_they_are_told(void **state)
{
    (void)state;
    each_class(check_moves);
}

/* ---- Factors ------------------------------------------------------------- */

static void check_near(const struct kernels *k, const char *what, double got, double want,
                       double error)
{
    if (!(fabs(got - want) <= error))
        fail_msg("%s: %s is %.9g, want %.9g", k->name, what, got, want);
}

static void check_scale(const struct kernels *k)
{
    enum { N = 300, C = 2 * PANEL };
    static real x[N * C], y[N * C], dy[N * C], dx[N * C];
    real s[C], ds[C];
    const struct reading relu = {NULL, NULL, ACT_RELU};
    const struct rows rows = {N, C, C};

    fill(x, "x", N * C, 1);
    fill(dy, "dy", N * C, 1);
    fill(s, "s", C, 1);
    k->scale(y, x, C, &relu, s, &rows);
    k->scale_backward(dx, ds, dy, x, &relu, s, &rows);
    for (size_t c = 0; c < C; c++) {
        double sum = 0;

        for (size_t r = 0; r < N; r++) {
            double v = fmax((double)x[r * C + c], 0), g = (double)dy[r * C + c];

            check_near(k, "y", (double)y[r * C + c], v * (double)s[c], 1e-7);
            check_near(k, "dx", (double)dx[r * C + c], g * (double)s[c], 1e-7);
            sum += v * g;
        }
        check_near(k, "ds", (double)ds[c], sum, 1e-5);
    }
}

static void test_channels_are_scaled(void **state)
{
    (void)state;
    each_class(check_scale);
}

/* ---- Functions ----------------------------------------------------------- */

/* Relative, but for results that vanish. */
static void check_function(const struct kernels *k, enum activation act,
                           double (*f)(double), double from, double to)
{
    enum { N = 4096 };
    static real x[N], y[N];
    const struct reading reading = {NULL, NULL, act};

    for (size_t i = 0; i < N; i++)
        x[i] = (real)(from + (to - from) * (double)i / (N - 1));
    k->read(y, N, x, &reading, &(struct rows){1, N, N});
    for (size_t i = 0; i < N; i++) {
        double want = f((double)x[i]);

        if (!(fabs((double)y[i] - want) <=
              6 * (double)FLT_EPSILON * fabs(want) + (double)FLT_MIN))
            fail_msg("%s: f(%.9g) is %.9g, want %.9g", k->name, (double)x[i],
                     (double)y[i], want);
    }
}

static double sigmoid(double v)
{
    return 1 / (1 + exp(-v));
}

static double silu(double v)
{
    return v * sigmoid(v);
}

static void check_functions(const struct kernels *k)
{
    static const double ranges[][2] = {{-1e-6, 1e-6}, {-0.7, 0.7}, {-9, 9}, {-80, 80}};
    real x[PANEL] = {NAN, INFINITY, -INFINITY, 1000, -1000}, y[PANEL];

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        check_function(k, ACT_TANH, tanh, ranges[i][0], ranges[i][1]);
        check_function(k, ACT_SIGMOID, sigmoid, ranges[i][0], ranges[i][1]);
        check_function(k, ACT_SILU, silu, ranges[i][0], ranges[i][1]);
    }
    k->read(y, PANEL, x, &(struct reading){NULL, NULL, ACT_TANH},
            &(struct rows){1, PANEL, PANEL});
    assert_true(isnan(y[0]) && y[1] == 1 && y[2] == -1 && y[3] == 1 && y[4] == -1);
    k->read(y, PANEL, x, &(struct reading){NULL, NULL, ACT_SIGMOID},
            &(struct rows){1, PANEL, PANEL});
    assert_true(isnan(y[0]) && y[1] == 1 && y[2] >= 0 && y[2] < FLT_MIN * 2);
    assert_true(y[3] == 1 && y[4] >= 0 && y[4] < FLT_MIN * 2);
}

static void test_functions_are_close_to_the_exact_ones(void **state)
{
    (void)state;
    each_class(check_functions);
}

/* ---- Recurrent steps ----------------------------------------------------- */

enum { WIDTH = 2 * PANEL, GATES = 5 * WIDTH };

/* Numbers that one step reads and writes. */
struct recurrent_arrays {
    real gates[ROWS * GATES];
    real before[ROWS * WIDTH], h[ROWS * WIDTH], dy[ROWS * WIDTH];
    real dh[ROWS * WIDTH], dc[ROWS * WIDTH];
};

static struct recurrent_step make_step(struct recurrent_arrays *a, size_t n_gates)
{
    fill(a->gates, "gates", ROWS * GATES, 3);
    fill(a->before, "before", ROWS * WIDTH, 1);
    fill(a->dy, "dy", ROWS * WIDTH, 1);
    fill(a->dh, "dh", ROWS * WIDTH, 1);
    fill(a->dc, "dc", ROWS * WIDTH, 1);
    return (struct recurrent_step){.gates = a->gates,
                                   .gates_pitch = GATES,
                                   .inner = a->gates + n_gates * WIDTH,
                                   .inner_pitch = GATES,
                                   .before = a->before,
                                   .before_pitch = WIDTH,
                                   .h = a->h,
                                   .dy = a->dy,
                                   .pitch = WIDTH,
                                   .dh = a->dh,
                                   .dc = a->dc,
                                   .width = WIDTH,
                                   .n = ROWS};
}

static void check_same(const struct kernels *k, const struct recurrent_arrays *got,
                       const struct recurrent_arrays *want)
{
    const real *a = (const real *)got, *b = (const real *)want;

    for (size_t i = 0; i < sizeof(*got) / sizeof(real); i++) {
        if (!(fabs((double)a[i] - (double)b[i]) <= 3e-6))
            fail_msg("%s: number %zu of a step is %.9g, the reference's %.9g", k->name, i,
                     (double)a[i], (double)b[i]);
    }
}

/* The reference's steps are held against differences in test_branches.c. */
static void check_recurrent(const struct kernels *k)
{
    static struct recurrent_arrays got, want;
    struct kernels reference;
    struct recurrent_step s;

    assert_true(kernels_class(&reference, 0));
    for (int lstm = 0; lstm < 2; lstm++) {
        size_t n_gates = lstm ? 4 : 3;

        s = make_step(&got, n_gates);
        (lstm ? k->lstm_forward : k->gru_forward)(&s);
        (lstm ? k->lstm_backward : k->gru_backward)(&s);
        s = make_step(&want, n_gates);
        (lstm ? reference.lstm_forward : reference.gru_forward)(&s);
        (lstm ? reference.lstm_backward : reference.gru_backward)(&s);
        check_same(k, &got, &want);
    }
}

static void test_recurrent_steps_are_those_of_the_reference(void **state)
{
    (void)state;
    each_class(check_recurrent);
}

/* ---- Any number of threads ----------------------------------------------- */

enum { BATCH = 5, STEPS = 2, MAX_INPUT = 3 * 32 * 32 };

static cygnet_model *trained(const char *spec, const struct shape *input,
                             const struct kernels *k, struct nn_executor *executor)
{
    static float x[BATCH * MAX_INPUT];
    int64_t y[BATCH];
    cygnet_model *model = make_zoo_model(spec, input, 10, BATCH, k, executor);
    size_t n = BATCH * tensor_elements(model, (size_t)model->graph.input);
    cygnet_sgd sgd;

    cygnet_sgd_init(&sgd);
    sgd.momentum = 0.9f;
    hash_fill_f32(x, FIXTURE_SEED, "x", n, 1);
    for (size_t i = 0; input->n_dims == 1 && i < n; i++)
        x[i] = (float)hash_label(FIXTURE_SEED, i, 80);
    hash_fill_labels(y, FIXTURE_SEED, BATCH, 10);
    for (int i = 0; i < STEPS; i++)
        assert_int_equal(cygnet_model_train_step(model, NULL, x, y, BATCH, &sgd, NULL),
                         CYGNET_OK);
    return model;
}

static void check_threads(const char *spec, const struct shape *input)
{
    struct pool *pool = make_pool(3);
    struct kernels k;
    cygnet_model *one, *three;

    kernels_choose(&k);
    one = trained(spec, input, &k, &nn_serial_executor);
    three = trained(spec, input, &k, pool_executor(pool));
    if (!same_state(one, three))
        fail_msg("%s: three threads give other bits than one", spec);
    cygnet_model_destroy(one);
    cygnet_model_destroy(three);
    pool_destroy(pool);
}

static void test_threads_do_not_change_a_bit(void **state)
{
    const struct shape image = {3, {3, 32, 32}}, text = {1, {6}};

    (void)state;
    check_threads("shufflenet_v2_x0_5", &image);
    check_threads("mobilenet_v3_small:width_mult=0.25", &image);
    check_threads("squeezenet1_1", &image);
    check_threads("char_lstm:hidden=21", &text);
    check_threads("gru:hidden=21", &text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_go_where_they_are_told),
        cmocka_unit_test(test_channels_are_scaled),
        cmocka_unit_test(test_functions_are_close_to_the_exact_ones),
        cmocka_unit_test(test_recurrent_steps_are_those_of_the_reference),
        cmocka_unit_test(test_threads_do_not_change_a_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
