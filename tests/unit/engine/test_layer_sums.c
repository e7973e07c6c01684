/* Random convolutions on each class of kernels: outputs against plain sums in double,
 * gradients against the reference's. */
#include "layer_cases.h"
#include "numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_CASES = 100, WINOGRAD = 8 };

struct trial {
    struct layer_case c;
    struct layer_tensors at;
    cygnet_model *model;
    real *x;
    int64_t *y;
};

static void begin(struct trial *t, const struct layer_case *c,
                  const struct kernels *kernels)
{
    struct graph graph;
    struct program *p;
    size_t n_x;

    t->c = *c;
    t->at = layer_case_build(&graph, c);
    t->model = make_graph_model(&graph, (uint32_t)c->batch, kernels);
    p = &t->model->program;
    n_x = c->batch * tensor_elements(t->model, (size_t)t->model->graph.input);
    t->x = noise(n_x, "x");
    t->y = allocate(c->batch, sizeof(*t->y));
    hash_fill_labels(t->y, FIXTURE_SEED, c->batch, t->model->n_classes);
    p->buffers[p->of[t->model->graph.input].value].data = t->x;
    p->buffers[p->of[t->model->graph.labels].value].data = t->y;
    assert_true(model_bind_gradients(t->model));
}

static void end(struct trial *t)
{
    free(t->x);
    free(t->y);
    cygnet_model_destroy(t->model);
}

static struct step step_of(const struct trial *t)
{
    return (struct step){.program = &t->model->program,
                         .kernels = &t->model->kernels,
                         .n = t->c.batch,
                         .total = t->c.batch};
}

static void run(const struct trial *t, size_t first, size_t last)
{
    struct step step = step_of(t);
    const struct call_list list = {first, last};

    assert_int_equal(program_run(&step, &list, t->model->executor, NULL, NULL),
                     CYGNET_OK);
}

/* ---- Outputs ------------------------------------------------------------------- */

/* The call after those of the tensor's producer and of all nodes before it. */
static size_t call_after(const struct trial *t, int tensor)
{
    const struct program *p = &t->model->program;
    int producer = t->model->graph.tensors[tensor].producer;
    size_t call = p->forward.begin;

    while (call < p->forward.end &&
           p->calls[call].node - t->model->graph.nodes <= (ptrdiff_t)producer)
        call++;
    return call;
}

/* In PyTorch's order, as soon as it is there. */
static real *values_of(const struct trial *t, int tensor)
{
    struct step step = step_of(t);
    size_t n = t->c.batch * tensor_elements(t->model, (size_t)tensor);
    real *out = guarded(n);

    run(t, t->model->program.forward.begin, call_after(t, tensor));
    if (tensor == t->model->graph.input)
        memcpy(out, t->x, n * sizeof(*out));
    else
        read_activation(out, t->model, &step, (size_t)tensor);
    return out;
}

static real *state_of(const struct trial *t, const char *name)
{
    size_t tensor = find_tensor(t->model, name);
    real *out = guarded(tensor_elements(t->model, tensor));

    model_read_state(out, t->model, tensor);
    return out;
}

/* A sum, and the size of its terms if none of what it may have been made of was
 * smaller than the largest. */
struct sum {
    double sum, size;
};

static struct sum sum_at(const struct conv2d_shape *s, const real *image, const real *w,
                         size_t y, size_t x)
{
    struct sum sum = {0, 0};
    size_t per_group = s->c_in / s->groups;

    for (size_t i = 0; i < per_group * s->k_h * s->k_w; i++) {
        size_t c = i / (s->k_h * s->k_w), tap = i % (s->k_h * s->k_w);
        size_t in_y = y * s->stride_h + tap / s->k_w * s->dilation_h;
        size_t in_x = x * s->stride_w + tap % s->k_w * s->dilation_w;

        sum.size += fabs((double)w[i]);
        if (in_y >= s->pad_h && in_y - s->pad_h < s->h_in && in_x >= s->pad_w &&
            in_x - s->pad_w < s->w_in)
            sum.sum +=
                (double)w[i] *
                (double)
                    image[(c * s->h_in + in_y - s->pad_h) * s->w_in + in_x - s->pad_w];
    }
    return sum;
}

/* z of all examples; bound receives how far off each may be. */
static double *plain_sums(const struct trial *t, double **bound)
{
    const struct conv2d_shape *s = &t->c.conv;
    size_t plane = s->h_out * s->w_out, n = t->c.batch * s->c_out * plane;
    size_t per_group = s->c_in / s->groups, taps = s->k_h * s->k_w;
    double *z = allocate(n, sizeof(*z)), largest = 0;
    real *x = values_of(t, t->at.in), *w = state_of(t, "conv.weight");
    real *bias = t->c.has_bias ? state_of(t, "conv.bias") : NULL;

    *bound = allocate(n, sizeof(**bound));
    for (size_t i = 0; i < t->c.batch * s->c_in * s->h_in * s->w_in; i++)
        largest = fmax(largest, fabs((double)x[i]));
    for (size_t i = 0; i < n; i++) {
        size_t c = i / plane % s->c_out, e = i / plane / s->c_out;
        size_t group = c / (s->c_out / s->groups);
        const real *image = x + (e * s->c_in + group * per_group) * s->h_in * s->w_in;
        struct sum sum = sum_at(s, image, w + c * per_group * taps, i % plane / s->w_out,
                                i % s->w_out);
        double b = bias ? (double)bias[c] : 0;

        z[i] = sum.sum + b;
        (*bound)[i] = (double)(WINOGRAD * (per_group * taps + 4)) * (double)REAL_EPSILON *
                      (sum.size * largest + fabs(b));
    }
    free(x);
    free(w);
    free(bias);
    return z;
}

static void check_outputs(const struct trial *t)
{
    size_t n = t->c.batch * shape_elements(&t->model->graph.tensors[t->at.out].shape);
    double *bound, *want = plain_sums(t, &bound);
    real *found = values_of(t, t->at.out);

    for (size_t i = 0; i < n; i++)
        check_near("z", (double)found[i], want[i], bound[i]);
    free(found);
    free(want);
    free(bound);
}

/* ---- Under a pool -------------------------------------------------------------- */

/* The function, on values side by side. */
static void activate(real *y, size_t n, enum activation act)
{
    struct reading reading = {NULL, NULL, act};
    struct rows rows = {panels_of(n), PANEL, PANEL};
    real *padded_y = guarded(padded(n));

    memcpy(padded_y, y, n * sizeof(*y));
    kernels_reference()->read(padded_y, PANEL, padded_y, &reading, &rows);
    memcpy(y, padded_y, n * sizeof(*y));
    free(padded_y);
}

/* Index of the largest value of a window; want and bound of one plane of outputs. */
static size_t largest_of(const struct layer_case *c, const real *y, size_t out)
{
    const struct pool2d_shape *p = &c->pool;
    size_t top = out / p->w_out * p->stride_h, left = out % p->w_out * p->stride_w;
    size_t best = top * c->conv.w_out + left;

    for (size_t i = 0; i < p->k_h * p->k_w; i++) {
        size_t at = (top + i / p->k_w) * c->conv.w_out + left + i % p->k_w;

        best = y[at] > y[best] ? at : best;
    }
    return best;
}

/* No function of these is steeper than 1.5, and rounds more than 8 times. */
static void check_pooled(const struct trial *t)
{
    const struct layer_case *c = &t->c;
    size_t plane = c->conv.h_out * c->conv.w_out, n = c->batch * c->conv.c_out * plane;
    size_t places = c->pool.h_out * c->pool.w_out;
    double *bound, *want = plain_sums(t, &bound);
    real *found = values_of(t, t->at.end), *y = guarded(n);

    for (size_t i = 0; i < n; i++)
        y[i] = (real)want[i];
    activate(y, n, c->after);
    for (size_t i = 0; i < c->batch * c->conv.c_out * places; i++) {
        const real *image = y + i / places * plane;
        const double *off = bound + i / places * plane;
        double most = 0, value = (double)image[largest_of(c, image, i % places)];

        for (size_t k = 0; k < plane; k++)
            most = fmax(most, off[k]);
        check_near("pooled", (double)found[i], value,
                   1.5 * most + 8 * (double)REAL_EPSILON * (1 + fabs(value)));
    }
    free(found);
    free(y);
    free(want);
    free(bound);
}

static void test_any_layer_is_a_sum(void **state)
{
    size_t n_pooled = 0;

    for (size_t i = 0; i < N_CASES; i++) {
        struct layer_case c = layer_case_of(layer_seed(), i, false);
        struct trial t;

        begin(&t, &c, *state);
        if (!c.has_pool)
            check_outputs(&t);
        else if (!c.normed_after)
            check_pooled(&t), n_pooled++;
        end(&t);
    }
    assert_true(n_pooled > 0);
}

/* ---- Gradients ----------------------------------------------------------------- */

static size_t n_parameters(const cygnet_model *model)
{
    size_t n = 0;

    for (size_t i = 0; i < model->graph.n_tensors; i++)
        n += model->graph.tensors[i].kind == TENSOR_PARAMETER ? tensor_elements(model, i)
                                                              : 0;
    return n;
}

/* Of all parameters, one after the other. */
static real *gradients_on(const struct layer_case *c, const struct kernels *kernels,
                          size_t *n)
{
    struct trial t;
    real *out;
    size_t at = 0;

    begin(&t, c, kernels);
    *n = n_parameters(t.model);
    out = guarded(*n);
    run(&t, t.model->program.forward.begin, t.model->program.forward.end);
    run(&t, t.model->program.backward.begin, t.model->program.backward.end);
    for (size_t i = 0; i < t.model->graph.n_tensors; i++) {
        if (t.model->graph.tensors[i].kind != TENSOR_PARAMETER)
            continue;
        model_read_gradient(out + at, t.model, i);
        at += tensor_elements(t.model, i);
    }
    end(&t);
    return out;
}

/* The reference's are slopes (test_layer_slopes.c). What is in the wrong place is off by
 * the size of gradients; rounding, through norms whose values lie close and Winograd's
 * larger tiles, by far less than 2^-10 of them. */
static void test_any_layers_gradient_is_the_references(void **state)
{
    for (size_t i = 0; i < N_CASES; i++) {
        struct layer_case c = layer_case_of(layer_seed(), i, true);
        size_t n;
        real *want = gradients_on(&c, kernels_reference(), &n);
        real *found = gradients_on(&c, *state, &n);
        double size = 0;

        for (size_t k = 0; k < n; k++)
            size = fmax(size, fabs((double)want[k]));
        for (size_t k = 0; k < n; k++)
            check_near("gradient", (double)found[k], (double)want[k], 0x1p-10 * size);
        check_guard(found, n);
        free(want);
        free(found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_layer_is_a_sum),
        cmocka_unit_test(test_any_layers_gradient_is_the_references),
    };

    return run_tests_per_class(tests, sizeof(tests) / sizeof(tests[0]));
}
