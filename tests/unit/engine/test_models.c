/* A whole model against what PyTorch computes in float64 (tests/golden/models,
 * written by tools/make_model_golden.py; docs/numerics.md has the bounds): in float
 * its gradients without kinks and with its own activations, in double its state after
 * three steps. For each class of kernels, through the public interface.
 *
 *     engine-models NAME               the golden file NAME.safetensors
 *     engine-models complete NAME...   those are all that there are */
#include "fixture.h"

#include "engine/nn/zoo.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PROJECTIONS = 16, N_VALUES = 8, ROW = 1 + N_PROJECTIONS + N_VALUES };
enum { MAX_PATH_BYTES = 512, MAX_GOLDEN_BYTES = 1 << 24, N_STEPS = 3 };

static const char *golden_name;
static int n_names;
static char **names;

/* What PyTorch found in one case, borrowed from the file.
 *
 * rows     n_rows x row_len: norm, projections, values and, of gradients, the
 *          relative error of PyTorch's own float32
 * next     the name of the next row, behind it a newline */
struct golden_case {
    const char *kind;
    const double *rows, *losses;
    size_t n_rows, row_len;
    const char *next;
    size_t left;
};

struct bench {
    cygnet_tensors *golden;
    struct golden_case c;
    cygnet_model *model;
    uint32_t n, n_classes;
    float *x;
    int64_t *y;
};

/* ---- The golden file ------------------------------------------------------- */

static const char *metadata(const struct bench *b, const char *key)
{
    const char *value = cygnet_tensors_metadata(b->golden, key);

    if (!value)
        fail_msg("%s: no metadata %s", golden_name, key);
    return value;
}

static const char *setting(const struct bench *b, const char *key)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "%s.%s", b->c.kind, key);
    return metadata(b, name);
}

static uint32_t number(const struct bench *b, const char *key)
{
    return (uint32_t)strtoul(setting(b, key), NULL, 10);
}

static const cygnet_tensor *part(const struct bench *b, const char *key)
{
    const cygnet_tensor *t;
    char name[64];

    (void)snprintf(name, sizeof(name), "%s.%s", b->c.kind, key);
    t = cygnet_tensors_find(b->golden, name);
    if (!t)
        fail_msg("%s: no tensor %s", golden_name, name);
    return t;
}

static void load_golden(struct bench *b)
{
    char path[MAX_PATH_BYTES];
    cygnet_error err;

    (void)snprintf(path, sizeof(path), "%s/%s.safetensors",
                   getenv("CYGNET_MODEL_GOLDEN_DIR"), golden_name);
    if (cygnet_tensors_load(&b->golden, path, MAX_GOLDEN_BYTES, NULL, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    assert_string_equal(metadata(b, "magic"), "cygnet-model-golden");
    assert_string_equal(metadata(b, "version"), "1");
    assert_true(strtoull(metadata(b, "seed"), NULL, 10) == FIXTURE_SEED);
}

static void find_case(struct bench *b, const char *kind, size_t row_len, size_t n_losses)
{
    const cygnet_tensor *tensors, *losses, *list;

    b->c.kind = kind;
    tensors = part(b, "tensors"), losses = part(b, "loss"), list = part(b, "names");
    assert_true(tensors->dtype == CYGNET_F64 && tensors->n_dims == 2);
    assert_int_equal(tensors->shape[1], row_len);
    assert_true(losses->dtype == CYGNET_F64 && losses->n_dims == 1);
    assert_int_equal(losses->shape[0], n_losses);
    assert_true(tensors->shape[0] > 0 && list->dtype == CYGNET_U8);
    b->c.rows = tensors->data;
    b->c.n_rows = (size_t)tensors->shape[0];
    b->c.row_len = row_len;
    b->c.losses = losses->data;
    b->c.next = list->data;
    b->c.left = (size_t)list->size_bytes;
}

/* The tensors of the file and of the library come in one order. */
static void check_name(struct golden_case *c, const char *found)
{
    const char *end = memchr(c->next, '\n', c->left);
    size_t length;

    if (!end)
        fail_msg("%s: there is no tensor %s", golden_name, found);
    length = (size_t)(end - c->next);
    if (strlen(found) != length || strncmp(found, c->next, length) != 0)
        fail_msg("%s: found %s instead of %.*s", golden_name, found, (int)length,
                 c->next);
    c->left -= length + 1;
    c->next = end + 1;
}

/* ---- Weights and batch, as in tools/make_model_golden.py -------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static void fill_weight(const cygnet_tensor *t)
{
    size_t n = (size_t)t->size_bytes / sizeof(real), fan_in = 1;
    uint64_t start = hash_start(FIXTURE_SEED, t->name);
    double centre = 0, scale = 0.125;
    real *to = t->data;

    for (uint32_t d = 1; d < t->n_dims; d++)
        fan_in *= (size_t)t->shape[d];
    if (t->n_dims > 1)
        scale = sqrt((t->n_dims > 2 ? 6.0 : 1.0) / (double)fan_in);
    else if (ends_with(t->name, ".weight") || ends_with(t->name, ".running_var"))
        centre = 1, scale = 0.25;
    for (size_t i = 0; i < n; i++)
        to[i] = (real)(float)(centre + scale * hash_value(start, i));
}

static void fill_weights(cygnet_model *model)
{
    cygnet_tensors *weights;
    cygnet_error err;

    assert_int_equal(cygnet_model_get_weights(&weights, model, NULL), CYGNET_OK);
    for (size_t i = 0; i < cygnet_tensors_count(weights); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(weights, i);

        if (t->dtype == REAL_DTYPE)
            fill_weight(t);
    }
    if (cygnet_model_set_weights(model, weights, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    cygnet_tensors_destroy(weights);
}

static void make_batch(struct bench *b, size_t elements)
{
    uint32_t stream = number(b, "stream");
    char name[32] = "x";

    if (stream > 0)
        (void)snprintf(name, sizeof(name), "x %u", stream);
    b->x = malloc(b->n * elements * sizeof(*b->x));
    b->y = malloc(b->n * sizeof(*b->y));
    assert_true(b->x && b->y);
    hash_fill_f32(b->x, FIXTURE_SEED, name, b->n * elements, 1.0);
    hash_fill_labels(b->y, FIXTURE_SEED, b->n, b->n_classes);
}

/* "3x32x32"; returns the elements. */
static size_t read_shape(cygnet_model_options *options, const char *text)
{
    size_t elements = 1;

    options->n_input_dims = 0;
    for (const char *at = text; *at != '\0'; at += *at == 'x') {
        char *end;
        unsigned long dim = strtoul(at, &end, 10);

        assert_true(end > at && options->n_input_dims < CYGNET_INPUT_MAX_DIMS);
        options->input[options->n_input_dims++] = (uint32_t)dim;
        elements *= dim;
        at = end;
    }
    return elements;
}

/* As cygnet_model_create, on the given class of kernels. */
static void create_model(struct bench *b, const cygnet_model_options *options,
                         const struct kernels *kernels)
{
    struct shape input = {.n_dims = options->n_input_dims};
    struct graph graph;
    cygnet_error err;

    for (uint32_t d = 0; d < input.n_dims; d++)
        input.dim[d] = options->input[d];
    graph_init(&graph, NULL);
    if (zoo_build(&graph, options->architecture, &input, b->n_classes, &err) !=
            CYGNET_OK ||
        model_assemble(&b->model, &graph, kernels, &nn_serial_executor, options, &err) !=
            CYGNET_OK)
        fail_msg("%s: %s", golden_name, err.message);
}

static void open_case(struct bench *b, const struct kernels *kernels, const char *kind,
                      size_t row_len, size_t n_losses)
{
    cygnet_model_options options;
    size_t elements;

    memset(b, 0, sizeof(*b));
    load_golden(b);
    find_case(b, kind, row_len, n_losses);
    b->n = number(b, "batch");
    b->n_classes = number(b, "classes");
    cygnet_model_options_init(&options);
    options.architecture = setting(b, "spec");
    options.n_classes = b->n_classes;
    options.max_batch = b->n;
    elements = read_shape(&options, setting(b, "input"));
    make_batch(b, elements);
    create_model(b, &options, kernels);
    fill_weights(b->model);
}

static void close_case(struct bench *b)
{
    cygnet_model_destroy(b->model);
    cygnet_tensors_destroy(b->golden);
    free(b->x);
    free(b->y);
}

/* ---- Errors ----------------------------------------------------------------- */

/* Projections on directions of signs: that of an error is on average its norm. */
static void project(double sums[N_PROJECTIONS], const real *v, size_t n)
{
    uint64_t start = hash_start(FIXTURE_SEED, "projection");

    for (int p = 0; p < N_PROJECTIONS; p++)
        sums[p] = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = hash_bits(start, i);
        double signs[2] = {-(double)v[i], (double)v[i]};

        for (int p = 0; p < N_PROJECTIONS; p++)
            sums[p] += signs[bits >> (63 - p) & 1];
    }
}

/* Estimate of ||v - exact||: the root mean square of the projections, unless the norm
 * or a value, which it is no less than, says more. NaN if there is any in v. */
static double error_norm(const cygnet_tensor *t, const double *row)
{
    size_t n = (size_t)t->size_bytes / sizeof(real);
    const real *v = t->data;
    double sums[N_PROJECTIONS];
    double squares = 0, norm = 0, error;

    project(sums, v, n);
    for (int p = 0; p < N_PROJECTIONS; p++)
        squares += (sums[p] - row[1 + p]) * (sums[p] - row[1 + p]);
    for (size_t i = 0; i < n; i++)
        norm += (double)v[i] * (double)v[i];
    error = fmax(sqrt(squares / N_PROJECTIONS), fabs(sqrt(norm) - row[0]));
    for (size_t i = 0; i < N_VALUES; i++) {
        double off = (double)v[i * n / N_VALUES] - row[1 + N_PROJECTIONS + i];

        error = fmax(error, fabs(off));
    }
    return isnan(squares) ? squares : error;
}

static void check_loss(double loss, double exact, double bound)
{
    if (!(fabs(loss / exact - 1) <= bound))
        fail_msg("%s: the loss is %.17g, not %.17g", golden_name, loss, exact);
}

#ifdef NN_DOUBLE

/* ---- In double: three steps -------------------------------------------------- */

static const double steps_bound = 1e-9; /* relative to float64 */

static void check_state(struct bench *b)
{
    cygnet_tensors *state;
    size_t at = 0;

    assert_int_equal(cygnet_model_get_weights(&state, b->model, NULL), CYGNET_OK);
    for (size_t i = 0; i < cygnet_tensors_count(state); i++) {
        const cygnet_tensor *t = cygnet_tensors_at(state, i);
        const double *row = b->c.rows + at * b->c.row_len;

        if (t->dtype == CYGNET_I64) {
            assert_int_equal(*(const int64_t *)t->data, N_STEPS);
            continue;
        }
        check_name(&b->c, t->name);
        assert_true(at++ < b->c.n_rows);
        if (!(error_norm(t, row) <= steps_bound * row[0]))
            fail_msg("%s: after %d steps %s is off by %.2g", golden_name, N_STEPS,
                     t->name, error_norm(t, row) / row[0]);
    }
    assert_int_equal(at, b->c.n_rows);
    cygnet_tensors_destroy(state);
}

static void test_three_steps_in_double_are_pytorchs(void **state)
{
    cygnet_sgd sgd = {sizeof(sgd), 0.0009765625f, 0.875f, 0.0009765625f};
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    struct bench b;

    open_case(&b, *state, "steps", ROW, N_STEPS);
    for (int i = 0; i < N_STEPS; i++) {
        assert_int_equal(cygnet_model_train_step(b.model, &metrics, b.x, b.y, b.n, &sgd,
                                                 NULL),
                         CYGNET_OK);
        check_loss(metrics.loss, b.c.losses[i], steps_bound);
    }
    check_state(&b);
    close_case(&b);
}

#else

/* ---- In float: gradients ------------------------------------------------------ */

/* Relative to float64. A tensor counts when its norm is at least `negligible` of that
 * of all; the others are rounding alone and have to stay as small. */
static const double smooth_bound = 3e-4;
static const double median_ratio = 2;
static const double loss_bound = 1e-6; /* or this often PyTorch's worst, if more: */
static const double loss_ratio = 3;
static const double negligible = 1e-6, rounding_bound = 1e-5;

static double total_norm(const struct golden_case *c)
{
    double squares = 0;

    for (size_t i = 0; i < c->n_rows; i++)
        squares += c->rows[i * c->row_len] * c->rows[i * c->row_len];
    return sqrt(squares);
}

/* Errors of the tensors that count, ours and PyTorch's. */
struct errors {
    double *ours, *theirs;
    size_t n;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    assert_true(n > 0);
    qsort(values, n, sizeof(*values), by_value);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static void add_error(struct errors *e, const cygnet_tensor *t, const double *row,
                      double total)
{
    double error = error_norm(t, row);

    if (row[0] <= negligible * total) {
        if (!(error <= rounding_bound * total))
            fail_msg("%s: %s should vanish, but is off by %.2g of all", golden_name,
                     t->name, error / total);
        return;
    }
    if (isnan(error))
        fail_msg("%s: %s holds NaN", golden_name, t->name);
    e->ours[e->n] = error / row[0];
    e->theirs[e->n++] = row[ROW];
}

static void compare_gradients(struct errors *e, struct bench *b)
{
    cygnet_metrics metrics = {.struct_size = sizeof(metrics)};
    double total = total_norm(&b->c);
    cygnet_tensors *list;

    assert_int_equal(cygnet_model_gradients(&list, &metrics, b->model, b->x, b->y, b->n,
                                            NULL),
                     CYGNET_OK);
    check_loss(metrics.loss, b->c.losses[0],
               fmax(loss_bound, loss_ratio * b->c.losses[1]));
    assert_int_equal(cygnet_tensors_count(list), b->c.n_rows);
    for (size_t i = 0; i < b->c.n_rows; i++) {
        const cygnet_tensor *t = cygnet_tensors_at(list, i);

        check_name(&b->c, t->name);
        add_error(e, t, b->c.rows + i * b->c.row_len, total);
    }
    cygnet_tensors_destroy(list);
}

static void open_errors(struct errors *e, const struct bench *b)
{
    e->n = 0;
    e->ours = calloc(b->c.n_rows, sizeof(*e->ours));
    e->theirs = calloc(b->c.n_rows, sizeof(*e->theirs));
    assert_true(e->ours && e->theirs);
}

static void close_errors(struct errors *e)
{
    free(e->ours);
    free(e->theirs);
}

static void test_without_kinks_each_gradient_is_close(void **state)
{
    struct errors e;
    struct bench b;

    open_case(&b, *state, "smooth", ROW + 1, 2);
    open_errors(&e, &b);
    compare_gradients(&e, &b);
    for (size_t i = 0; i < e.n; i++) {
        if (e.ours[i] > smooth_bound)
            fail_msg("%s: the %zu. gradient is off by %.2g, PyTorch's by %.2g",
                     golden_name, i, e.ours[i], e.theirs[i]);
    }
    close_errors(&e);
    close_case(&b);
}

static void test_the_median_error_is_at_most_twice_pytorchs(void **state)
{
    double ours, theirs;
    struct errors e;
    struct bench b;

    open_case(&b, *state, "real", ROW + 1, 2);
    open_errors(&e, &b);
    compare_gradients(&e, &b);
    ours = median(e.ours, e.n), theirs = median(e.theirs, e.n);
    if (ours > median_ratio * theirs)
        fail_msg("%s: median error %.2g, PyTorch's is %.2g", golden_name, ours, theirs);
    close_errors(&e);
    close_case(&b);
}

#endif

/* ---- Completeness -------------------------------------------------------------- */

static bool is_listed(const char *file)
{
    size_t length = strcspn(file, ".");

    for (int i = 0; i < n_names; i++) {
        if (strlen(names[i]) == length && strncmp(names[i], file, length) == 0)
            return true;
    }
    return false;
}

static void test_every_golden_file_has_its_test(void **state)
{
    DIR *folder = opendir(getenv("CYGNET_MODEL_GOLDEN_DIR"));
    const struct dirent *entry;
    int n = 0;

    (void)state;
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        if (!is_listed(entry->d_name))
            fail_msg("no test reads %s", entry->d_name);
        n++;
    }
    assert_int_equal(n, n_names);
    (void)closedir(folder);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest complete[] = {
        cmocka_unit_test(test_every_golden_file_has_its_test),
    };
    const struct CMUnitTest model[] = {
#ifdef NN_DOUBLE
        cmocka_unit_test(test_three_steps_in_double_are_pytorchs),
#else
        cmocka_unit_test(test_without_kinks_each_gradient_is_close),
        cmocka_unit_test(test_the_median_error_is_at_most_twice_pytorchs),
#endif
    };

    if (argc < 2)
        return 2;
    golden_name = argv[1];
    n_names = argc - 2, names = argv + 2;
    return strcmp(golden_name, "complete") == 0
               ? cmocka_run_group_tests(complete, NULL, NULL)
               : run_tests_per_class(model, sizeof(model) / sizeof(model[0]));
}
