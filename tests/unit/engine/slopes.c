/* Derived gradients of a graph against central differences. */
#include "slopes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Step of the differences. Truncation is of order H^2 = 1e-10 times the third
 * derivative, rounding of order DBL_EPSILON * loss / H = 5e-11; both are far below
 * the bound for losses and gradients of order 1. */
#define H 1e-5
#define BOUND 1e-8

struct setup {
    cygnet_model *model;
    size_t n;
    real *x;
    int64_t *y;
    size_t n_x;
};

static real *allocate(size_t n)
{
    real *values = malloc(n * sizeof(*values));

    assert_non_null(values);
    return values;
}

static void begin(struct setup *s, struct graph *graph, size_t n)
{
    struct program *p;

    s->model = make_graph_model(graph, (uint32_t)n, kernels_reference());
    p = &s->model->program;
    s->n = n;
    s->n_x = n * tensor_elements(s->model, (size_t)s->model->graph.input);
    s->x = allocate(s->n_x);
    s->y = calloc(n, sizeof(*s->y));
    assert_non_null(s->y);
    hash_fill(s->x, FIXTURE_SEED, "x", s->n_x, 1.0);
    hash_fill_labels(s->y, FIXTURE_SEED, n, s->model->n_classes);
    p->buffers[p->of[s->model->graph.input].value].data = s->x;
    p->buffers[p->of[s->model->graph.labels].value].data = s->y;
}

static void end(struct setup *s)
{
    free(s->x);
    free(s->y);
    cygnet_model_destroy(s->model);
}

static struct step step_of(const struct setup *s)
{
    return (struct step){.program = &s->model->program,
                         .kernels = &s->model->kernels,
                         .n = s->n,
                         .total = s->n};
}

static void run(const struct setup *s, size_t begin, size_t end)
{
    struct step step = step_of(s);
    const struct call_list list = {begin, end};

    assert_int_equal(program_run(&step, &list, s->model->executor, NULL, NULL),
                     CYGNET_OK);
}

static void run_list(const struct setup *s, const struct call_list *list)
{
    run(s, list->begin, list->end);
}

/* ---- Both sides ------------------------------------------------------------ */

static double loss_of(const struct setup *s)
{
    const real *loss;
    double sum = 0;

    run_list(s, &s->model->program.forward);
    loss = model_value(s->model, (size_t)s->model->graph.loss);
    for (size_t i = 0; i < s->n; i++)
        sum += (double)loss[i];
    return sum / (double)s->n;
}

/* What is moved: a parameter, or the input.
 *
 * values   as they are
 * moved    scratch
 * derived  the gradient */
struct moving {
    struct setup *s;
    size_t tensor;
    size_t n;
    real *values, *moved, *derived;
};

static bool is_input(const struct moving *m)
{
    return (int)m->tensor == m->s->model->graph.input;
}

static void put(const struct moving *m, const real *values)
{
    if (is_input(m))
        memcpy(m->s->x, values, m->n * sizeof(*values));
    else
        model_write_state(m->s->model, m->tensor, values);
}

static double loss_at(const struct moving *m, const real *direction, double step)
{
    for (size_t i = 0; i < m->n; i++)
        m->moved[i] = m->values[i] + (real)(step * (double)direction[i]);
    put(m, m->moved);
    return loss_of(m->s);
}

static double slope_at(const struct moving *m, const real *direction, double step)
{
    return (loss_at(m, direction, step) - loss_at(m, direction, -step)) / (2 * step);
}

static double derived_along(const struct moving *m, const real *direction)
{
    double sum = 0;

    for (size_t i = 0; i < m->n; i++)
        sum += (double)m->derived[i] * (double)direction[i];
    return sum;
}

static void check_near_slope(const struct moving *m, double derived, double slope)
{
    if (!(fabs(slope - derived) <= BOUND))
        fail_msg("%s: derived %.12g, difference %.12g",
                 m->s->model->graph.tensors[m->tensor].name, derived, slope);
}

/* ---- Directions -------------------------------------------------------------- */

static void check_elements(const struct moving *m, real *direction)
{
    memset(direction, 0, m->n * sizeof(*direction));
    for (size_t i = 0; i < m->n; i++) {
        direction[i] = 1;
        check_near_slope(m, derived_along(m, direction), slope_at(m, direction, H));
        direction[i] = 0;
    }
}

/* Of length 1: an error in one element shows by its share. Some window of a
 * pool may have two largest values within a step; hardly so within a smaller one, where
 * rounding is DBL_EPSILON * loss / 1e-7 = 2e-9. */
static void check_mixture(const struct moving *m, real *direction)
{
    double squares = 0, derived, slope;

    hash_fill(direction, FIXTURE_SEED, "direction", m->n, 1.0);
    for (size_t i = 0; i < m->n; i++)
        squares += (double)direction[i] * (double)direction[i];
    for (size_t i = 0; i < m->n; i++)
        direction[i] /= (real)sqrt(squares);
    derived = derived_along(m, direction);
    slope = slope_at(m, direction, 1e-6);
    if (!(fabs(slope - derived) <= BOUND))
        slope = slope_at(m, direction, 1e-7);
    check_near_slope(m, derived, slope);
}

typedef void (*check_fn)(const struct moving *m, real *direction);

static void check_tensor(struct setup *s, size_t tensor, const real *dx, check_fn check)
{
    bool is_x = (int)tensor == s->model->graph.input;
    size_t n = is_x ? s->n_x : tensor_elements(s->model, tensor);
    struct moving m = {s, tensor, n, allocate(n), allocate(n), allocate(n)};
    real *direction = allocate(n);

    if (is_x) {
        memcpy(m.derived, dx, n * sizeof(*dx));
        memcpy(m.values, s->x, n * sizeof(*dx));
    } else {
        model_read_gradient(m.derived, s->model, tensor);
        model_read_state(m.values, s->model, tensor);
    }
    check(&m, direction);
    put(&m, m.values);
    free(m.values);
    free(m.moved);
    free(m.derived);
    free(direction);
}

/* ---- The gradients ----------------------------------------------------------- */

static bool has_norm(const struct graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].kind == OP_BATCH_NORM2D && g->nodes[i].in[0] == g->input)
            return true;
    }
    return false;
}

/* The input's gradient, which is there after its last call; a norm's goes through what
 * is found at the end. Then the rest of the list. */
static void run_backward(struct setup *s, real *dx)
{
    const struct program *p = &s->model->program;
    size_t input = (size_t)s->model->graph.input;
    size_t end = p->buffers[p->of[input].grad].last + 1;
    struct step step = step_of(s);

    if (has_norm(&s->model->graph))
        end = p->backward.end;
    run(s, p->backward.begin, end);
    read_activation_gradient(dx, s->model, &step, input);
    run(s, end, p->backward.end);
}

static void check_all(struct graph *graph, size_t n, check_fn check)
{
    struct setup s;
    const struct graph *g;
    real *dx = NULL;

    begin(&s, graph, n);
    g = &s.model->graph;
    assert_true(model_bind_gradients(s.model));
    run_list(&s, &s.model->program.forward);
    if (g->tensors[g->input].needs_grad) {
        dx = allocate(s.n_x);
        run_backward(&s, dx);
    } else {
        run_list(&s, &s.model->program.backward);
    }
    for (size_t t = 0; t < g->n_tensors; t++) {
        if (g->tensors[t].kind == TENSOR_PARAMETER || (dx && (int)t == g->input))
            check_tensor(&s, t, dx, check);
    }
    free(dx);
    end(&s);
}

void check_slopes(struct graph *graph, size_t n)
{
    check_all(graph, n, check_elements);
}

void check_slopes_along(struct graph *graph, size_t n)
{
    check_all(graph, n, check_mixture);
}
