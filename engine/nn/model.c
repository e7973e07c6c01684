/* A model's life: building, planning, initial weights, and what it is. */
#include "engine/nn/model.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/sized.h"
#include "engine/nn/model_parts.h"
#include "engine/nn/op.h"
#include "engine/nn/remake.h"
#include "engine/nn/training.h"
#include "engine/nn/zoo.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_BATCH = 65536 };

static void run_serially(struct nn_executor *executor, nn_block block, void *arg,
                         size_t n_blocks)
{
    (void)executor;
    for (size_t i = 0; i < n_blocks; i++)
        block(arg, i, 0);
}

struct nn_executor nn_serial_executor = {run_serially, 1};

void cygnet_model_options_init(cygnet_model_options *options)
{
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
    options->n_classes = 10;
    options->max_batch = 32;
    options->n_threads = 1;
}

const char *cygnet_architecture_name(uint32_t index)
{
    return zoo_name(index);
}

cygnet_status model_read_options(cygnet_model_options *out,
                                 const cygnet_model_options *options, cygnet_error *err)
{
    static const struct sized type = {"model options", sizeof(cygnet_model_options),
                                      SIZED_UP_TO(cygnet_model_options, architecture),
                                      _Alignof(cygnet_model_options)};
    cygnet_status st;

    cygnet_model_options_init(out);
    if (!options)
        return fail(err, CYGNET_EINVAL, 0, "no model options given");
    st = sized_adopt(out, options, &type, err);
    if (st != CYGNET_OK)
        return st;
    if (!out->architecture)
        return fail(err, CYGNET_EINVAL, 0, "no architecture given");
    if (out->n_input_dims > CYGNET_INPUT_MAX_DIMS)
        return fail(err, CYGNET_EINVAL, 0, "n_input_dims is %u: want 0 to %d",
                    out->n_input_dims, CYGNET_INPUT_MAX_DIMS);
    if (out->max_batch < 1 || out->max_batch > MAX_BATCH)
        return fail(err, CYGNET_EINVAL, 0, "max_batch is %u: want 1 to %d",
                    out->max_batch, MAX_BATCH);
    return CYGNET_OK;
}

/* A draw in progress. */
struct draw {
    const struct init *init;
    real *w;
    struct rng rng;
};

static void draw_element(void *context, size_t native, size_t stored)
{
    struct draw *d = context;
    float bound = (float)d->init->value;

    (void)native;
    if (d->init->kind == INIT_UNIFORM)
        d->w[stored] = bound * (2.0f * rng_uniform_f32(&d->rng) - 1.0f);
    else if (d->init->kind == INIT_NORMAL)
        d->w[stored] = (real)(d->init->value * rng_normal(&d->rng));
    else
        d->w[stored] = (real)d->init->value;
}

/* One stream per tensor, so that a layer's draw does not depend on the layers
 * before it; in PyTorch's order, so that it does not depend on the layout. */
static void draw_tensor(real *w, const struct tensor *t, uint64_t seed)
{
    struct draw d = {.init = &t->init, .w = w};

    rng_init(&d.rng, seed, t->name, 0);
    layout_each(&t->layout, draw_element, &d);
}

/* Parameters and buffers; the arena is zeroed, and counters begin at 0. */
static void draw_weights(cygnet_model *model, uint64_t seed)
{
    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        const struct tensor *t = &model->graph.tensors[i];

        if (t->kind == TENSOR_PARAMETER || t->kind == TENSOR_BUFFER)
            draw_tensor(model_value(model, i), t, seed);
    }
}

/* Of all but the program. */
static uint64_t bytes_beside(const cygnet_model *model)
{
    const struct graph *g = &model->graph;

    return sizeof(*model) + g->cap_tensors * sizeof(*g->tensors) +
           g->cap_nodes * sizeof(*g->nodes) + model->input_bytes + model->executor_bytes;
}

static cygnet_status check_limit(const cygnet_model *model, uint64_t max_bytes,
                                 cygnet_error *err)
{
    uint64_t needed = cygnet_model_planned_bytes(model);

    if (max_bytes == 0 || needed <= max_bytes)
        return CYGNET_OK;
    return fail(err, CYGNET_ENOMEM, 0,
                "the model needs at least %" PRIu64 " bytes, the limit is %" PRIu64
                ": %" PRIu64 " too few",
                needed, max_bytes, needed - max_bytes);
}

static cygnet_status allocate_input(cygnet_model *model, cygnet_error *err)
{
    if (model->input_bytes == 0)
        return CYGNET_OK;
    model->input = mem_alloc(model->alloc, (size_t)model->input_bytes);
    return model->input ? CYGNET_OK
                        : fail(err, CYGNET_ENOMEM, 0, "out of memory for a batch");
}

/* Of the copy of a batch in `real`; floats are read where the caller has them. */
static uint64_t input_bytes(const cygnet_model *model)
{
    return sizeof(real) == sizeof(float)
               ? 0
               : shape_elements(&model->graph.tensors[model->graph.input].shape) *
                     (uint64_t)model->piece * sizeof(real);
}

/* What a limit leaves for the program, which is all of the model but `rest`. */
static uint64_t program_limit(uint64_t max_bytes, uint64_t rest)
{
    if (max_bytes == 0)
        return UINT64_MAX;
    return max_bytes > rest ? max_bytes - rest : 0;
}

static cygnet_status plan_and_allocate(cygnet_model *model, uint64_t max_bytes,
                                       cygnet_error *err)
{
    uint64_t limit;
    cygnet_status st;

    model->input_bytes = input_bytes(model);
    limit = program_limit(max_bytes, bytes_beside(model));
    st = remake_lower(&model->program, &model->graph, &model->kernels, model->max_batch,
                      model->executor->n_workers, limit, err);
    if (st == CYGNET_OK)
        st = check_limit(model, max_bytes, err);
    if (st == CYGNET_OK)
        st = program_allocate(&model->program, err);
    if (st == CYGNET_OK)
        st = allocate_input(model, err);
    return st;
}

/* model_assemble on an executor that is the model's from success on; release NULL: it
 * is borrowed. */
static cygnet_status assemble(cygnet_model **out, struct graph *graph,
                              const struct kernels *kernels,
                              const struct owned_executor *owned,
                              const cygnet_model_options *options, cygnet_error *err)
{
    cygnet_model *model = mem_calloc(graph->alloc, 1, sizeof(*model));
    cygnet_status st;

    *out = NULL;
    if (!model) {
        graph_clear(graph);
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a model");
    }
    model->alloc = graph->alloc;
    model->graph = *graph;
    graph_init(graph, model->alloc);
    model->kernels = *kernels;
    model->executor = owned->executor;
    model->executor_bytes = owned->bytes;
    model->max_batch = options->max_batch;
    model->seed = options->seed;
    model->n_classes =
        (uint32_t)shape_elements(&model->graph.tensors[model->graph.logits].shape);
    st = training_apply(&model->graph, options, err);
    model->piece = (uint32_t)graph_piece(&model->graph, model->max_batch);
    if (st == CYGNET_OK)
        st = plan_and_allocate(model, options->max_bytes, err);
    if (st != CYGNET_OK) {
        cygnet_model_destroy(model);
        return st;
    }
    draw_weights(model, options->seed);
    model_take_reference(model);
    model->release = owned->release;
    *out = model;
    return CYGNET_OK;
}

cygnet_status model_assemble(cygnet_model **out, struct graph *graph,
                             const struct kernels *kernels, struct nn_executor *executor,
                             const cygnet_model_options *options, cygnet_error *err)
{
    const struct owned_executor borrowed = {executor, NULL, 0};

    return assemble(out, graph, kernels, &borrowed, options, err);
}

cygnet_status model_create_owner(cygnet_model **out, const cygnet_model_options *options,
                                 const struct owned_executor *owned, cygnet_error *err)
{
    struct graph graph;
    struct kernels kernels;
    cygnet_model_options o;
    struct shape input = {0};
    cygnet_status st = model_read_options(&o, options, err);

    *out = NULL;
    if (st != CYGNET_OK)
        return st;
    input.n_dims = o.n_input_dims;
    for (uint32_t d = 0; d < o.n_input_dims; d++)
        input.dim[d] = o.input[d];
    graph_init(&graph, o.allocator);
    st = zoo_build(&graph, o.architecture, &input, o.n_classes, err);
    if (st != CYGNET_OK) {
        graph_clear(&graph);
        return st;
    }
    kernels_choose(&kernels);
    return assemble(out, &graph, &kernels, owned, &o, err);
}

cygnet_status model_create(cygnet_model **out, const cygnet_model_options *options,
                           struct nn_executor *executor, cygnet_error *err)
{
    const struct owned_executor borrowed = {executor, NULL, 0};

    return model_create_owner(out, options, &borrowed, err);
}

struct nn_executor *model_executor(const cygnet_model *model)
{
    return model->executor;
}

void cygnet_model_destroy(cygnet_model *model)
{
    if (!model)
        return;
    if (model->release)
        model->release(model->executor);
    mem_free(model->alloc, model->input);
    mem_free(model->alloc, model->gradients);
    program_clear(&model->program);
    graph_clear(&model->graph);
    mem_free(model->alloc, model);
}

void model_set_stop(cygnet_model *model, const cygnet_stop *stop)
{
    model->stop = stop;
}

const float *model_example_losses(const cygnet_model *model)
{
    return model->program.buffers[model->program.losses].data;
}

uint32_t cygnet_model_input_shape(const cygnet_model *model,
                                  uint32_t shape[CYGNET_INPUT_MAX_DIMS])
{
    const struct shape *input = &model->graph.tensors[model->graph.input].shape;

    for (uint32_t d = 0; d < input->n_dims; d++)
        shape[d] = (uint32_t)input->dim[d];
    return input->n_dims;
}

uint32_t cygnet_model_n_classes(const cygnet_model *model)
{
    return model->n_classes;
}

uint64_t cygnet_model_planned_bytes(const cygnet_model *model)
{
    return bytes_beside(model) + program_bytes(&model->program);
}

uint64_t cygnet_model_n_parameters(const cygnet_model *model)
{
    uint64_t n = 0;

    for (size_t i = 0; i < model->graph.n_tensors; i++) {
        const struct tensor *t = &model->graph.tensors[i];

        if (t->kind == TENSOR_PARAMETER && !t->frozen)
            n += shape_elements(&t->shape);
    }
    return n;
}

struct model_cost model_cost_of_step(const cygnet_model *model, uint32_t n)
{
    struct model_cost sum = {0};

    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        const struct node *node = &model->graph.nodes[i];
        struct op_cost cost = {0};

        op_of(node)->cost(&cost, &model->graph, node);
        sum.forward_flops += n * cost.forward_flops;
        sum.backward_flops += n * cost.backward_flops;
        sum.forward_bytes += n * cost.forward_bytes + cost.weight_bytes;
        sum.backward_bytes += n * cost.backward_bytes + 2 * cost.weight_bytes;
    }
    return sum;
}

real *model_value(const cygnet_model *model, size_t tensor)
{
    return model->program.buffers[model->program.of[tensor].value].data;
}

cygnet_status model_check_whole(const cygnet_model *model, cygnet_error *err)
{
    if (!model->is_torn)
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0,
                "an earlier step broke off while it changed the weights: set them again");
}

int64_t *model_counter(const cygnet_model *model, size_t tensor)
{
    return model->program.buffers[model->program.of[tensor].value].data;
}

bool model_is_trained(const cygnet_model *model, size_t tensor)
{
    return tensor_is_trained(&model->graph.tensors[tensor], &model->program.of[tensor]);
}

real *model_grad(const cygnet_model *model, size_t tensor)
{
    return model->program.buffers[model->program.of[tensor].grad].data;
}

const char *model_numeric_class(void)
{
    struct kernels kernels;

    kernels_choose(&kernels);
    return kernels.name;
}
