/* Recurrent layers, backward through time: gradients of the gates' sums take the place
 * of the gates, the last step first; from them come the gradients of the input and of
 * the parameters. */
#include "engine/nn/dense.h"
#include "engine/nn/op.h"
#include "engine/nn/recurrent.h"

#include <string.h>

/* ---- Transposed weights -------------------------------------------------- */

enum { BLOCKS = 16 };

/* plan: of a matrix of n_in inputs and n_out outputs, padded. */
struct transpose_plan {
    size_t n_in, n_out;
};

static void run_transpose(const struct call *call, const struct step *step, size_t block,
                          size_t worker)
{
    const struct transpose_plan *p = call->plan;
    struct span panels = call_columns(call, block);
    real *out = step_buffer(step, call, 0);
    const real *in = step_buffer(step, call, 1);

    (void)worker;
    step->kernels->transpose(out + panels.first * p->n_out * PANEL, p->n_out * PANEL,
                             in + panels.first * PANEL * PANEL, p->n_in * PANEL,
                             panels.n * PANEL, p->n_out);
}

static int transposed(struct lowering *l, int w, size_t n_in, size_t n_out)
{
    struct transpose_plan *p = lower_plan(l, sizeof(*p));
    size_t panels = n_in / PANEL;
    struct partition blocks = {.n_columns = panels,
                               .columns_per_block = (panels + BLOCKS - 1) / BLOCKS};
    int wt = lower_workspace(l, (uint64_t)n_in * n_out * sizeof(real));

    if (!p)
        return -1;
    *p = (struct transpose_plan){n_in, n_out};
    lower_planned_call(l, run_transpose, &blocks, p, (const int[]){wt, lower_value(l, w)},
                       2);
    return wt;
}

/* ---- The steps ----------------------------------------------------------- */

enum { SAVED, H, DY, W_HH_T, N_STEPS };

/* A block's memory: dh and dc (examples, width), and the gradients of the state's part
 * of the gates, whose own rows are far apart. */
struct memory {
    real *dh, *dc, *gates;
    size_t gates_pitch;
};

static size_t memory_elements(const struct recurrent *p)
{
    return p->per_block * (2 * p->width + dense_pitch(p->n_gates * p->width));
}

static struct memory memory_at(const struct recurrent *p, real *scratch)
{
    struct memory m = {scratch, NULL, NULL, dense_pitch(p->n_gates * p->width)};

    m.dc = m.dh + p->per_block * p->width;
    m.gates = m.dc + p->per_block * p->width;
    memset(scratch, 0, 2 * p->per_block * p->width * sizeof(*scratch));
    return m;
}

/* Through w_hh to the step before. */
static void step_back(const struct recurrent *p, const struct step *step,
                      const struct recurrent_step *s, const struct memory *m,
                      const real *w)
{
    struct product product = {.c = m->dh,
                              .c_row = p->width,
                              .c_panel = PANEL,
                              .a = m->gates,
                              .a_row = m->gates_pitch,
                              .a_k = 1,
                              .b = w,
                              .b_k = PANEL,
                              .b_panel = p->n_gates * p->width * PANEL,
                              .m = s->n,
                              .k = p->n_gates * p->width,
                              .n_panels = p->width / PANEL,
                              .add = !p->is_lstm};

    for (size_t e = 0; e < s->n; e++) {
        for (size_t g = 0; g < p->n_gates; g++)
            memcpy(m->gates + e * m->gates_pitch + g * p->width,
                   s->gates + e * s->gates_pitch + recurrent_part(p, g),
                   p->width * sizeof(*m->gates));
    }
    step->kernels->product(&product);
}

static void run_steps(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    const struct recurrent *p = call->plan;
    struct span examples = call_rows(call, step, block);
    struct memory m = memory_at(p, step_scratch(step, worker));
    const real *dy = step_buffer(step, call, DY);

    for (size_t t = p->steps; t-- > 0;) {
        struct recurrent_step s = recurrent_at(p, step_buffer(step, call, SAVED),
                                               step_buffer(step, call, H), examples, t);

        s.dy = dy + (examples.first * p->steps + t) * p->width;
        s.dh = m.dh;
        s.dc = m.dc;
        if (p->is_lstm)
            step->kernels->lstm_backward(&s);
        else
            step->kernels->gru_backward(&s);
        if (t > 0)
            step_back(p, step, &s, &m, step_buffer(step, call, W_HH_T));
    }
}

/* ---- The input ----------------------------------------------------------- */

static void run_input(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    const struct recurrent *p = call->plan;
    struct span rows = call_rows(call, step, block);
    struct product product = {.c =
                                  (real *)step_buffer(step, call, 0) + rows.first * p->in,
                              .c_row = p->in,
                              .c_panel = PANEL,
                              .a = (const real *)step_buffer(step, call, 1) +
                                   rows.first * p->pitch,
                              .a_row = p->pitch,
                              .a_k = 1,
                              .b = step_buffer(step, call, 2),
                              .b_k = PANEL,
                              .b_panel = p->n_gates * p->width * PANEL,
                              .m = rows.n,
                              .k = p->n_gates * p->width,
                              .n_panels = p->in / PANEL};

    (void)worker;
    step->kernels->product(&product);
}

static void add_input(struct lowering *l, const struct node *node,
                      const struct recurrent *p)
{
    struct partition rows = {.rows_per_block = dense_rows(p->pitch),
                             .rows_per_example = p->steps};
    struct delivery d;
    int wt;

    if (!lower_deliver(l, &d, node, RECURRENT_X, 0))
        return;
    wt = transposed(l, node->in[RECURRENT_W_IH], p->in, p->n_gates * p->width);
    lower_planned_call(l, run_input, &rows, p, (const int[]){d.g, p->saved, wt}, 3);
    lower_settle(l, &d);
}

void recurrent_lower_backward(struct lowering *l, const struct node *node)
{
    struct recurrent *p = recurrent_create(l, node);
    int dy = lower_plain_gradient(l, node), wt;
    struct partition examples = {0};

    if (!p)
        return;
    p->h = lower_output_gradient(l, node).z;
    examples.rows_per_block = p->per_block;
    lower_scratch(l, memory_elements(p) * sizeof(real));
    wt = transposed(l, node->in[RECURRENT_W_HH], p->width, p->n_gates * p->width);
    lower_planned_call(l, run_steps, &examples, p,
                       (const int[]){p->saved, p->h.buffer, dy, wt}, N_STEPS);
    add_input(l, node, p);
    recurrent_lower_weights(l, node, p);
}
