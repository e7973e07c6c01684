/* Running a program: blocks of calls, in order, on an executor. */
#include "engine/nn/program.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t column_blocks(const struct partition *p)
{
    return p->n_columns > 0 ? ceil_div(p->n_columns, p->columns_per_block) : 1;
}

static size_t row_blocks(const struct partition *p, size_t n)
{
    size_t unit = p->rows_per_unit;

    if (p->rows_per_block == 0)
        return 1;
    if (unit == 0)
        return ceil_div(n, p->rows_per_block);
    return n / unit * ceil_div(unit, p->rows_per_block) +
           ceil_div(n % unit, p->rows_per_block);
}

size_t call_blocks(const struct call *call, size_t n)
{
    const struct partition *p = &call->partition;

    if (p->rows_per_example > 0)
        n *= p->rows_per_example;
    return column_blocks(p) * row_blocks(p, n);
}

static struct span span_of(size_t index, size_t per_block, size_t total)
{
    struct span span = {index * per_block, per_block};

    if (span.n > total - span.first)
        span.n = total - span.first;
    return span;
}

/* A block of n rows that ends with a unit. */
static struct span span_in_unit(const struct partition *p, size_t index, size_t n)
{
    size_t per_unit = ceil_div(p->rows_per_unit, p->rows_per_block);
    size_t first = index / per_unit * p->rows_per_unit;
    size_t left = n - first < p->rows_per_unit ? n - first : p->rows_per_unit;
    struct span span = span_of(index % per_unit, p->rows_per_block, left);

    span.first += first;
    return span;
}

struct span call_rows(const struct call *call, const struct step *step, size_t block)
{
    const struct partition *p = &call->partition;

    size_t n = p->rows_per_example > 0 ? step->n * p->rows_per_example : step->n;

    if (p->rows_per_block == 0)
        return (struct span){0, n};
    if (p->rows_per_unit > 0)
        return span_in_unit(p, block / column_blocks(p), n);
    return span_of(block / column_blocks(p), p->rows_per_block, n);
}

struct span call_columns(const struct call *call, size_t block)
{
    const struct partition *p = &call->partition;

    if (p->n_columns == 0)
        return (struct span){0, 0};
    return span_of(block % column_blocks(p), p->columns_per_block, p->n_columns);
}

bool tensor_is_trained(const struct tensor *tensor, const struct tensor_buffers *of)
{
    return tensor->kind == TENSOR_PARAMETER && !tensor->frozen && of->grad >= 0;
}

struct running {
    const struct step *step;
    const struct call *call;
    const cygnet_stop *stop;
};

/* A stopped step leaves the rest out: one call over a large batch can take long. */
static void run_block(void *arg, size_t block, size_t worker)
{
    const struct running *r = arg;

    if (!cygnet_stopped(r->stop))
        r->call->run(r->call, r->step, block, worker);
}

cygnet_status program_run(const struct step *step, const struct call_list *list,
                          struct nn_executor *executor, const cygnet_stop *stop,
                          cygnet_error *err)
{
    for (size_t i = list->begin; i < list->end; i++) {
        struct running r = {step, &step->program->calls[i], stop};
        size_t n_blocks = call_blocks(r.call, step->n);

        if (n_blocks == 1)
            run_block(&r, 0, 0);
        else
            executor->run(executor, run_block, &r, n_blocks);
        if (cygnet_stopped(stop))
            return fail(err, CYGNET_ECANCELLED, 0, "the training step was stopped");
    }
    return CYGNET_OK;
}

cygnet_status program_allocate(struct program *program, cygnet_error *err)
{
    uint64_t bytes = program->arena_bytes + BUFFER_ALIGNMENT;
    char *arena;

    if (bytes <= SIZE_MAX)
        program->memory = mem_calloc(program->alloc, 1, (size_t)bytes);
    if (!program->memory)
        return fail(err, CYGNET_ENOMEM, 0,
                    "out of memory: the model's arena needs %" PRIu64 " bytes", bytes);
    arena = (char *)program->memory;
    arena += (BUFFER_ALIGNMENT - (uintptr_t)arena % BUFFER_ALIGNMENT) % BUFFER_ALIGNMENT;
    for (size_t i = 0; i < program->n_buffers; i++) {
        if (!program->buffers[i].external)
            program->buffers[i].data = arena + program->buffers[i].offset;
    }
    return CYGNET_OK;
}

uint64_t program_bytes(const struct program *p)
{
    return p->cap_buffers * sizeof(*p->buffers) + p->cap_calls * sizeof(*p->calls) +
           p->n_tensors * sizeof(*p->of) + arena_held(p->plans) + p->arena_bytes +
           BUFFER_ALIGNMENT;
}

void program_clear(struct program *program)
{
    mem_free(program->alloc, program->buffers);
    mem_free(program->alloc, program->calls);
    mem_free(program->alloc, program->of);
    mem_free(program->alloc, program->memory);
    arena_destroy(program->plans);
    memset(program, 0, sizeof(*program));
}

struct norm_vectors norm_of(const struct step *step, int norm, size_t channels)
{
    struct norm_vectors v;
    double *first = step_data(step, norm);

    v.exact_mean = first;
    v.exact_variance = first + channels;
    v.scale = (real *)(first + 2 * channels);
    v.shift = v.scale + channels;
    v.mean = v.scale + 2 * channels;
    v.factor = v.scale + 3 * channels;
    v.mean_g = v.scale + 4 * channels;
    v.slope = v.scale + 5 * channels;
    return v;
}

struct reading reading_of(const struct step *step, const struct operand *x)
{
    struct reading r = {NULL, NULL, x->act};
    struct norm_vectors v;

    if (x->norm < 0)
        return r;
    v = norm_of(step, x->norm, x->channels);
    r.scale = v.scale;
    r.shift = v.shift;
    return r;
}

struct norm_gradient norm_gradient_of(const struct step *step, int norm, size_t channels)
{
    struct norm_gradient g = {0};
    struct norm_vectors v;

    if (norm < 0)
        return g;
    v = norm_of(step, norm, channels);
    return (struct norm_gradient){v.factor, v.mean_g, v.mean, v.slope};
}

/* Blocks of one tensor may say so at the same time. */
static void flag(const struct step *step, size_t tensor)
{
    unsigned char *flags = step_data(step, step->program->flags);

    __atomic_store_n(&flags[tensor], 1, __ATOMIC_RELAXED);
}

static void update_now(const struct step *step, size_t tensor, const struct stretches *at,
                       const real *g)
{
    const struct tensor_buffers *of = &step->program->of[tensor];
    real *state0 = step_data(step, of->state[0]);
    real *state1 = step_data(step, of->state[1]);
    real *reference = step_data(step, of->reference);
    real *w = step_data(step, of->value);
    struct update_rule rule;

    if (!step->kernels->all_finite(g, at->count * at->n)) {
        flag(step, tensor);
        return;
    }
    update_rule_of(&rule, &step->update, &of->group);
    for (size_t i = 0; i < at->count; i++) {
        size_t first = at->first + i * at->pitch;

        step->kernels->update(w + first, state0 ? state0 + first : NULL,
                              state1 ? state1 + first : NULL, g + i * at->n,
                              reference ? reference + first : NULL, &rule, at->n);
    }
}

bool step_take_gradient(const struct step *step, size_t tensor, size_t offset, real *g,
                        size_t n)
{
    const real *grad = step_data(step, step->program->of[tensor].grad);

    if (step->first == 0 || !grad)
        return false;
    memcpy(g, grad + offset, n * sizeof(*g));
    return true;
}

void step_give_stretches(const struct step *step, size_t tensor,
                         const struct stretches *at, const real *g, bool add)
{
    const struct tensor_buffers *of = &step->program->of[tensor];
    real *grad = step_data(step, of->grad);

    if (of->fused && step->mode == STEP_TRAIN) {
        update_now(step, tensor, at, g);
        return;
    }
    for (size_t i = 0; grad && i < at->count; i++) {
        real *to = grad + at->first + i * at->pitch;

        if (add)
            step->kernels->add(to, g + i * at->n, at->n);
        else
            memcpy(to, g + i * at->n, at->n * sizeof(*g));
    }
}

void step_give_gradient(const struct step *step, size_t tensor, size_t offset,
                        const real *g, size_t n, bool add)
{
    step_give_stretches(step, tensor, &(struct stretches){offset, n, n, 1}, g, add);
}
