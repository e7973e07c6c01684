/* Recurrent layers, the gradients of the parameters: products of the inputs, or of the
 * states one step earlier, with the gradients of the gates, over all steps. A block
 * owns some inputs of some panels, goes through all rows in their order, and hands its
 * part over, which is the update's moment. */
#include "engine/nn/op.h"
#include "engine/nn/recurrent.h"

#include <string.h>

enum { MAX_INPUTS = 96, MAX_PANELS = 16, ROWS_AT_ONCE = 256, MIN_UNIT = 64 };

/* plan: of w_hh, or of w_ih. A block is inputs_at_once inputs by panels_at_once panels
 * of one gate. */
struct weight_plan {
    const struct recurrent *layer;
    bool of_state;
    struct parameter_share share;
    size_t n_in;
    size_t inputs_at_once, panels_at_once;
    size_t n_slabs, n_chunks; /* of the inputs, of a gate's panels */
    size_t rows_per_unit;     /* 0: no units */
};

enum { SAVED, FROM, N_WEIGHT };

struct block {
    const struct weight_plan *plan;
    struct span inputs, panels;
    size_t gate;
    const real *g, *x; /* first row, first column */
    real *dw;
};

static struct span part(size_t index, size_t at_once, size_t total)
{
    struct span s = {index * at_once, at_once};

    if (s.n > total - s.first)
        s.n = total - s.first;
    return s;
}

/* Rows of x from `row` on with those of the gradients `later` rows behind. */
static void multiply(const struct block *b, const struct step *step, struct span rows,
                     size_t later, bool add)
{
    const struct recurrent *p = b->plan->layer;
    struct product product = {.c = b->dw,
                              .c_row = PANEL,
                              .c_panel = b->inputs.n * PANEL,
                              .a = b->x + rows.first * b->plan->n_in,
                              .a_row = 1,
                              .a_k = b->plan->n_in,
                              .b = b->g + (rows.first + later) * p->pitch,
                              .b_k = p->pitch,
                              .b_panel = PANEL,
                              .m = b->inputs.n,
                              .k = rows.n,
                              .n_panels = b->panels.n,
                              .add = add};

    /* units of a few rows are no sums of their own: any parts give the same */
    product.goes_on = add && !b->plan->of_state && b->plan->rows_per_unit > 0 &&
                      b->plan->rows_per_unit < MIN_UNIT;
    step->kernels->product(&product);
}

/* Rows from `first` on that one product takes: they end with a unit. */
static struct span rows_from(size_t first, size_t n, size_t rows_per_unit)
{
    size_t left = n - first;

    if (rows_per_unit > 0 && left > rows_per_unit - first % rows_per_unit)
        left = rows_per_unit - first % rows_per_unit;
    return (struct span){first, left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE};
}

static void multiply_all(const struct block *b, const struct step *step, bool goes_on)
{
    size_t steps = b->plan->layer->steps, n = step->n * steps;
    struct span rows = {0, 0};

    for (; !b->plan->of_state && rows.first < n; rows.first += rows.n) {
        rows = rows_from(rows.first, n, b->plan->rows_per_unit);
        multiply(b, step, rows, 0, goes_on || rows.first > 0);
    }
    for (size_t e = 0; b->plan->of_state && e < step->n && steps > 1; e++)
        multiply(b, step, (struct span){e * steps, steps - 1}, 1, goes_on || e > 0);
    if (b->plan->of_state && steps == 1 && !goes_on)
        memset(b->dw, 0, b->panels.n * b->inputs.n * PANEL * sizeof(*b->dw));
}

static void run_weight(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct weight_plan *plan = call->plan;
    const struct recurrent *p = plan->layer;
    size_t part_panels = p->width / PANEL, chunk = block / plan->n_slabs;
    struct block b = {.plan = plan,
                      .inputs =
                          part(block % plan->n_slabs, plan->inputs_at_once, plan->n_in),
                      .panels =
                          part(chunk % plan->n_chunks, plan->panels_at_once, part_panels),
                      .gate = chunk / plan->n_chunks,
                      .dw = step_scratch(step, worker)};
    size_t column = plan->of_state ? recurrent_part(p, b.gate) : b.gate * p->width;
    size_t n = b.inputs.n * PANEL, first;
    bool goes_on = false;

    b.g = (const real *)step_buffer(step, call, SAVED) + column + b.panels.first * PANEL;
    b.x = (const real *)step_buffer(step, call, FROM) + b.inputs.first;
    first =
        ((b.gate * part_panels + b.panels.first) * plan->n_in + b.inputs.first) * PANEL;
    for (size_t i = 0; i < b.panels.n; i++)
        goes_on = step_take_gradient(step, plan->share.tensor,
                                     first + i * plan->n_in * PANEL, b.dw + i * n, n);
    multiply_all(&b, step, goes_on);
    for (size_t i = 0; i < b.panels.n; i++)
        step_give_gradient(step, plan->share.tensor, first + i * plan->n_in * PANEL,
                           b.dw + i * n, n, plan->share.add && !goes_on);
}

static void add_weight(struct lowering *l, const struct node *node,
                       const struct recurrent *p, bool of_state)
{
    struct weight_plan *plan = lower_plan(l, sizeof(*plan));
    size_t panels = p->width / PANEL;
    struct partition blocks = {.columns_per_block = 1};

    if (!plan)
        return;
    plan->layer = p;
    plan->of_state = of_state;
    plan->rows_per_unit = lower_unit(l) * p->steps;
    plan->share =
        lower_parameter(l, node->in[of_state ? RECURRENT_W_HH : RECURRENT_W_IH]);
    plan->n_in = of_state ? p->width : p->in;
    plan->inputs_at_once = plan->n_in < MAX_INPUTS ? plan->n_in : MAX_INPUTS;
    plan->panels_at_once = panels < MAX_PANELS ? panels : MAX_PANELS;
    plan->n_slabs = (plan->n_in + plan->inputs_at_once - 1) / plan->inputs_at_once;
    plan->n_chunks = (panels + plan->panels_at_once - 1) / plan->panels_at_once;
    blocks.n_columns = plan->n_slabs * plan->n_chunks * p->n_gates;
    lower_scratch(l, plan->inputs_at_once * plan->panels_at_once * PANEL * sizeof(real));
    lower_planned_call(l, run_weight, &blocks, plan,
                       (const int[]){p->saved, of_state ? p->h.buffer : p->x.buffer},
                       N_WEIGHT);
}

/* ---- Biases -------------------------------------------------------------- */

/* plan */
struct bias_plan {
    const struct recurrent *layer;
    struct parameter_share ih, hh;
    size_t rows_per_unit; /* 0: no units */
};

/* Sums of a panel over some rows: in the order of rows, the parts in double. */
static void sum_panel(real out[PANEL], const struct recurrent *p, const struct step *step,
                      const real *g, struct span rows)
{
    size_t end = rows.first + rows.n;
    double sum[PANEL] = {0};
    real ones[ROWS_AT_ONCE];

    for (size_t r = 0; r < ROWS_AT_ONCE; r++)
        ones[r] = 1;
    for (size_t row = rows.first; row < end; row += ROWS_AT_ONCE) {
        struct product product = {.c = out,
                                  .a = ones,
                                  .a_k = 1,
                                  .b = g + row * p->pitch,
                                  .b_k = p->pitch,
                                  .m = 1,
                                  .k = rows_from(row, end, 0).n,
                                  .n_panels = 1};

        step->kernels->product(&product);
        for (size_t i = 0; i < PANEL; i++)
            sum[i] += (double)out[i];
    }
    for (size_t i = 0; i < PANEL; i++)
        out[i] = (real)sum[i];
}

/* A panel of a bias's gradient on its way. */
struct bias_panel {
    struct parameter_share share;
    bool goes_on;
    real total[PANEL];
};

static void add_unit(struct bias_panel *b, const real sum[PANEL], bool is_first)
{
    for (size_t i = 0; i < PANEL; i++)
        b->total[i] = b->goes_on || !is_first ? b->total[i] + sum[i] : sum[i];
}

/* The panel at c of one bias or of both: units one after the other. */
static void give_panel(const struct bias_plan *plan, const struct step *step, size_t c,
                       const real *g, struct bias_panel *biases, size_t n_biases)
{
    size_t n = step->n * plan->layer->steps;
    struct span rows = {0, plan->rows_per_unit > 0 ? plan->rows_per_unit : n};
    real sum[PANEL];

    for (size_t i = 0; i < n_biases; i++)
        biases[i].goes_on =
            step_take_gradient(step, biases[i].share.tensor, c, biases[i].total, PANEL);
    for (; rows.first < n; rows.first += rows.n) {
        if (rows.n > n - rows.first)
            rows.n = n - rows.first;
        sum_panel(sum, plan->layer, step, g, rows);
        for (size_t i = 0; i < n_biases; i++)
            add_unit(&biases[i], sum, rows.first == 0);
    }
    for (size_t i = 0; i < n_biases; i++)
        step_give_gradient(step, biases[i].share.tensor, c, biases[i].total, PANEL,
                           biases[i].share.add && !biases[i].goes_on);
}

/* Columns are those of the gates. */
static void run_biases(const struct call *call, const struct step *step, size_t block,
                       size_t worker)
{
    const struct bias_plan *plan = call->plan;
    const struct recurrent *p = plan->layer;
    struct span columns = call_columns(call, block);
    const real *g = step_buffer(step, call, 0);

    (void)worker;
    for (size_t c = columns.first; c < columns.first + columns.n; c += PANEL) {
        size_t of_state = recurrent_part(p, c / p->width) + c % p->width;

        struct bias_panel biases[] = {{.share = plan->ih}, {.share = plan->hh}};

        give_panel(plan, step, c, g + c, biases, of_state == c ? 2 : 1);
        if (of_state != c)
            give_panel(plan, step, c, g + of_state, biases + 1, 1);
    }
}

void recurrent_lower_weights(struct lowering *l, const struct node *node,
                             const struct recurrent *p)
{
    struct bias_plan *plan = lower_plan(l, sizeof(*plan));
    size_t n = p->n_gates * p->width;
    struct partition columns = {.n_columns = n,
                                .columns_per_block = lower_columns_for(n)};

    if (!plan)
        return;
    add_weight(l, node, p, false);
    add_weight(l, node, p, true);
    plan->layer = p;
    plan->rows_per_unit = lower_unit(l) * p->steps;
    plan->ih = lower_parameter(l, node->in[RECURRENT_B_IH]);
    plan->hh = lower_parameter(l, node->in[RECURRENT_B_HH]);
    lower_planned_call(l, run_biases, &columns, plan, (const int[]){p->saved}, 1);
}
