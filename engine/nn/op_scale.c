/* y[c] = s[c] x[c], plane by plane: what squeeze-and-excitation ends with.
 * Source: Hu et al., "Squeeze-and-excitation networks", CVPR 2018, equation 4. */
#include "base/error.h"
#include "engine/nn/op.h"

int graph_scale(struct graph *graph, const char *name, int x, int s)
{
    const struct shape *image = graph_image(graph, name, x);
    union op_params params = {0};

    if (!image || s == NO_TENSOR)
        return NO_TENSOR;
    params.scale = (struct scale_params){image->dim[0], image->dim[1] * image->dim[2]};
    return graph_node(graph, OP_SCALE, name, &params, (const int[]){x, s}, 2);
}

static cygnet_status infer(struct shape *out, const struct graph *graph,
                           const struct node *node, cygnet_error *err)
{
    size_t channels = node->params.scale.channels;

    if (!shape_equal(node_input_shape(graph, node, 1),
                     &(struct shape){3, {channels, 1, 1}}))
        return fail(err, CYGNET_ESHAPE, 0, "the factors are not (%zu, 1, 1)", channels);
    *out = *node_input_shape(graph, node, 0);
    return CYGNET_OK;
}

/* Backward: dx = s dy, and ds[c] = sum of x dy. */
static void cost(struct op_cost *out, const struct graph *graph, const struct node *node)
{
    double n = (double)shape_elements(node_input_shape(graph, node, 0));
    double channels = (double)node->params.scale.channels;

    out->forward_flops = n;
    out->backward_flops = 3 * n;
    out->forward_bytes = (2 * n + channels) * sizeof(real);
    out->backward_bytes = (3 * n + 2 * channels) * sizeof(real);
}

const struct op op_scale = {.name = "scale", .infer = infer, .cost = cost};
