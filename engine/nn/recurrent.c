/* Recurrent layers, forward. */
#include "engine/nn/recurrent.h"

#include "engine/nn/dense.h"
#include "engine/nn/op.h"

#include <string.h>

/* Parts of the gates' sums: LSTM i, f, g, o; GRU r, z, n_x, n_h. */
enum { N_SUMS = 4, MAX_EXAMPLES = 12 };

/* Two blocks at least; the same work in each. */
static size_t examples_per_block(size_t batch)
{
    size_t blocks = (batch + MAX_EXAMPLES - 1) / MAX_EXAMPLES;

    blocks += blocks % 2;
    return (batch + blocks - 1) / blocks;
}

struct recurrent *recurrent_create(struct lowering *l, const struct node *node)
{
    struct recurrent *p = lower_plan(l, sizeof(*p));
    const struct recurrent_params *params = &node->params.recurrent;

    if (!p)
        return NULL;
    p->params = params;
    p->is_lstm = node->kind == OP_LSTM;
    p->n_gates = p->is_lstm ? 4 : 3;
    p->steps = params->steps;
    p->in = padded(params->n_in);
    p->width = padded(params->hidden);
    p->pitch = dense_pitch((p->n_gates + 1) * p->width);
    p->per_block = examples_per_block(lower_max_batch(l));
    p->x = lower_plain(l, node->in[RECURRENT_X]);
    p->saved =
        lower_saved(l, node,
                    (uint64_t)lower_max_batch(l) * p->steps * p->pitch * sizeof(real));
    return p;
}

size_t recurrent_part(const struct recurrent *p, size_t gate)
{
    return (p->is_lstm || gate < 2 ? gate : N_SUMS - 1) * p->width;
}

struct recurrent_step recurrent_at(const struct recurrent *p, real *saved, real *h,
                                   struct span examples, size_t t)
{
    size_t row = examples.first * p->steps + t;
    struct recurrent_step s = {.gates = saved + row * p->pitch,
                               .gates_pitch = p->steps * p->pitch,
                               .inner_pitch = p->steps * p->pitch,
                               .h = h + row * p->width,
                               .pitch = p->steps * p->width,
                               .width = p->width,
                               .n = examples.n};

    s.inner = s.gates + p->n_gates * p->width;
    s.before_pitch = p->is_lstm ? s.inner_pitch : s.pitch;
    if (t > 0)
        s.before = p->is_lstm ? s.inner - p->pitch : s.h - p->width;
    return s;
}

/* ---- The input's part ---------------------------------------------------- */

enum { SAVED, X, W_IH, B_IH, B_HH, N_PROJECT };

/* Both biases of a gate add up, but for a GRU's n. */
static void sum_biases(const struct recurrent *p, real *out, const real *b_ih,
                       const real *b_hh)
{
    memset(out, 0, N_SUMS * p->width * sizeof(*out));
    for (size_t g = 0; g < p->n_gates; g++) {
        for (size_t k = 0; k < p->width; k++) {
            out[g * p->width + k] += b_ih[g * p->width + k];
            out[recurrent_part(p, g) + k] += b_hh[g * p->width + k];
        }
    }
}

static void run_project(const struct call *call, const struct step *step, size_t block,
                        size_t worker)
{
    const struct recurrent *p = call->plan;
    struct span rows = call_rows(call, step, block);
    real *bias = step_scratch(step, worker);
    real *saved = (real *)step_buffer(step, call, SAVED) + rows.first * p->pitch;
    struct product product = {.c = saved,
                              .c_row = p->pitch,
                              .c_panel = PANEL,
                              .a = (const real *)step_buffer(step, call, X) +
                                   rows.first * p->in,
                              .a_row = p->in,
                              .a_k = 1,
                              .b = step_buffer(step, call, W_IH),
                              .b_k = PANEL,
                              .b_panel = p->in * PANEL,
                              .m = rows.n,
                              .k = p->in,
                              .n_panels = p->n_gates * p->width / PANEL,
                              .add = true};

    sum_biases(p, bias, step_buffer(step, call, B_IH), step_buffer(step, call, B_HH));
    for (size_t r = 0; r < rows.n; r++)
        memcpy(saved + r * p->pitch, bias, N_SUMS * p->width * sizeof(*bias));
    step->kernels->product(&product);
}

/* ---- The steps ----------------------------------------------------------- */

enum { S_SAVED, S_H, S_W_HH, N_STEPS };

/* gates += w_hh h; h: rows `pitch` apart. */
static void add_state(const struct recurrent *p, const struct step *step,
                      const struct recurrent_step *s, const real *w, const real *h,
                      size_t pitch)
{
    size_t part_panels = p->width / PANEL;
    struct product product = {.c = s->gates,
                              .c_row = s->gates_pitch,
                              .c_panel = PANEL,
                              .a = h,
                              .a_row = pitch,
                              .a_k = 1,
                              .b = w,
                              .b_k = PANEL,
                              .b_panel = p->width * PANEL,
                              .m = s->n,
                              .k = p->width,
                              .n_panels = p->n_gates * part_panels,
                              .add = true};

    if (!p->is_lstm)
        product.n_panels -= part_panels;
    step->kernels->product(&product);
    if (p->is_lstm)
        return;
    product.b += product.n_panels * product.b_panel;
    product.c = s->inner;
    product.n_panels = part_panels;
    step->kernels->product(&product);
}

/* The state is copied: its rows of one step are far apart. */
static void run_steps(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    const struct recurrent *p = call->plan;
    struct span examples = call_rows(call, step, block);
    real *state = step_scratch(step, worker);
    size_t state_pitch = dense_pitch(p->width);
    const struct kernels *k = step->kernels;

    for (size_t t = 0; t < p->steps; t++) {
        struct recurrent_step s = recurrent_at(p, step_buffer(step, call, S_SAVED),
                                               step_buffer(step, call, S_H), examples, t);

        if (t > 0)
            add_state(p, step, &s, step_buffer(step, call, S_W_HH), state, state_pitch);
        if (p->is_lstm)
            k->lstm_forward(&s);
        else
            k->gru_forward(&s);
        for (size_t e = 0; e < s.n; e++)
            memcpy(state + e * state_pitch, s.h + e * s.pitch, p->width * sizeof(*state));
    }
}

void recurrent_lower_forward(struct lowering *l, const struct node *node)
{
    struct recurrent *p = recurrent_create(l, node);
    struct partition rows, examples = {0};

    if (!p)
        return;
    p->h = lower_output(l, node);
    rows = (struct partition){.rows_per_block = dense_rows(p->pitch),
                              .rows_per_example = p->steps};
    examples.rows_per_block = p->per_block;
    lower_scratch(l, N_SUMS * p->width * sizeof(real));
    lower_scratch(l, p->per_block * dense_pitch(p->width) * sizeof(real));
    lower_planned_call(l, run_project, &rows, p,
                       (const int[]){p->saved, p->x.buffer,
                                     lower_value(l, node->in[RECURRENT_W_IH]),
                                     lower_value(l, node->in[RECURRENT_B_IH]),
                                     lower_value(l, node->in[RECURRENT_B_HH])},
                       N_PROJECT);
    lower_planned_call(l, run_steps, &examples, p,
                       (const int[]){p->saved, p->h.buffer,
                                     lower_value(l, node->in[RECURRENT_W_HH])},
                       N_STEPS);
}
