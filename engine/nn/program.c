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

size_t call_blocks(const struct call *call, size_t n)
{
    const struct partition *p = &call->partition;

    if (p->parts)
        return n < REDUCTION_PARTS ? n : REDUCTION_PARTS;
    return column_blocks(p) *
           (p->rows_per_block > 0 ? ceil_div(n, p->rows_per_block) : 1);
}

static struct span span_of(size_t index, size_t per_block, size_t total)
{
    struct span span = {index * per_block, per_block};

    if (span.n > total - span.first)
        span.n = total - span.first;
    return span;
}

struct span call_rows(const struct call *call, const struct step *step, size_t block)
{
    const struct partition *p = &call->partition;

    if (p->rows_per_block == 0)
        return (struct span){0, step->n};
    return span_of(block / column_blocks(p), p->rows_per_block, step->n);
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
           p->n_tensors * sizeof(*p->of) + p->arena_bytes + BUFFER_ALIGNMENT;
}

void program_clear(struct program *program)
{
    mem_free(program->alloc, program->buffers);
    mem_free(program->alloc, program->calls);
    mem_free(program->alloc, program->of);
    mem_free(program->alloc, program->memory);
    memset(program, 0, sizeof(*program));
}
