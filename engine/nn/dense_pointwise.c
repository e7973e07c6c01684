/* Pointwise layers with many rows, backward in one go: while some rows of dz and of x
 * are in the cache, they make their rows of dx and their share of dw. A chunk of whole
 * examples sums its share of dw by itself; the shares are added in their order. */
#include "engine/nn/dense_backward.h"
#include "engine/nn/op.h"
#include "engine/nn/sums.h"

#include <string.h>

enum { CHUNK_ROWS = 512, MAX_WEIGHTS = 65536, MIN_ROWS = 64 };

enum { G, Z, Z_NORM, WT, X, X_NORM, SHARES, N_BUFFERS };

/* plan of the layer's calls. */
struct pointwise_plan {
    const struct dense *d;
    struct output_gradient gradient;
    struct delivery delivery;
    struct gradient_shares shares;
    bool is_delivered;
    size_t rows_per_chunk, rows_at_once;
    size_t in_pitch, out_pitch;
};

/* Rows of a chunk at work. */
struct block {
    const struct call *call;
    const struct step *step;
    const struct pointwise_plan *plan;
    const struct dense *d;
    struct span rows;
    size_t chunk;
    real *dz, *x, *dx; /* scratch */
};

static void read_dz(const struct block *b)
{
    const struct dense *d = b->d;
    size_t at = b->rows.first * d->c_out;
    struct rows rows = {b->rows.n, d->c_out, d->c_out};
    struct norm_gradient norm =
        norm_gradient_of(b->step, b->plan->gradient.norm, d->c_out);
    const real *g = step_buffer(b->step, b->call, G),
               *z = step_buffer(b->step, b->call, Z);

    b->step->kernels->norm_gradient(b->dz, b->plan->out_pitch, g + at, d->c_out, z + at,
                                    &norm, &rows);
}

/* What delivery asks of columns [c, c + n) of the rows, whose share is in b->dx. */
static void pass_on(const struct block *b, size_t c, size_t n)
{
    const struct delivery *v = &b->plan->delivery;
    struct rows rows = {b->rows.n, n, b->d->c_in};
    struct gradient_pass pass = lower_pass_of(b->step, v, b->rows.first, c);

    pass.dy = b->dx;
    pass.dy_pitch = n;
    pass.sums = lower_pass_sums(b->step, v, b->chunk, c);
    b->step->kernels->gradient_pass(&pass, &rows);
}

/* Two panels of inputs at a time, from registers through the nearest cache. */
static void multiply_input(const struct block *b)
{
    const struct dense *d = b->d;
    const real *wt = step_buffer(b->step, b->call, WT);
    struct product p = {.c = b->dx,
                        .c_panel = PANEL,
                        .a = b->dz,
                        .a_row = b->plan->out_pitch,
                        .a_k = 1,
                        .b_k = PANEL,
                        .b_panel = d->c_out * PANEL,
                        .m = b->rows.n,
                        .k = d->shape.c_out};

    for (size_t c = 0; c < d->c_in; c += p.n_panels * PANEL) {
        p.n_panels = d->c_in - c < 2 * PANEL ? 1 : 2;
        p.c_row = p.n_panels * PANEL;
        p.b = wt + c / PANEL * p.b_panel;
        b->step->kernels->product(&p);
        pass_on(b, c, p.n_panels * PANEL);
    }
}

/* The rows after these are read next: both halves of g and of z. */
static void hint_next(const struct block *b, struct product *p)
{
    size_t n = b->rows.n * b->d->c_out, at = (b->rows.first + b->rows.n) * b->d->c_out;
    const real *g = step_buffer(b->step, b->call, G),
               *z = step_buffer(b->step, b->call, Z);

    p->ahead[0] = g + at;
    p->ahead[1] = g + at + n / 2;
    p->ahead[2] = z + at;
    p->ahead[3] = z + at + n / 2;
    p->n_ahead = n / 2 / PANEL;
}

static void multiply_weight(const struct block *b, bool add)
{
    const struct dense *d = b->d;
    struct reading reading = reading_of(b->step, &d->x);
    struct rows rows = {b->rows.n, d->c_in, d->c_in};
    const real *x =
        (const real *)step_buffer(b->step, b->call, X) + b->rows.first * d->c_in;
    struct product p = {.c = (real *)step_buffer(b->step, b->call, SHARES) +
                             b->chunk * d->k * d->c_out,
                        .c_row = PANEL,
                        .c_panel = d->k * PANEL,
                        .a = x,
                        .a_row = 1,
                        .a_k = d->c_in,
                        .b = b->dz,
                        .b_k = b->plan->out_pitch,
                        .b_panel = PANEL,
                        .m = d->k,
                        .k = b->rows.n,
                        .n_panels = d->c_out / PANEL,
                        .add = add};

    if (!d->direct) {
        b->step->kernels->read(b->x, b->plan->in_pitch, x, &reading, &rows);
        p.a = b->x;
        p.a_k = b->plan->in_pitch;
    }
    hint_next(b, &p);
    b->step->kernels->product(&p);
}

static void run_chunk(const struct call *call, const struct step *step, size_t block,
                      size_t worker)
{
    const struct pointwise_plan *plan = call->plan;
    struct span chunk = call_rows(call, step, block);
    double *sums =
        plan->is_delivered ? lower_pass_sums(step, &plan->delivery, block, 0) : NULL;
    struct block b = {.call = call,
                      .step = step,
                      .plan = plan,
                      .d = plan->d,
                      .chunk = block,
                      .dx = step_scratch(step, worker)};

    b.dz = b.dx + plan->rows_at_once * 2 * PANEL;
    b.x = b.dz + plan->rows_at_once * plan->out_pitch;
    if (sums)
        memset(sums, 0, 2 * b.d->c_in * sizeof(*sums));
    for (size_t done = 0; done < chunk.n; done += b.rows.n) {
        b.rows.first = chunk.first + done;
        b.rows.n =
            chunk.n - done < plan->rows_at_once ? chunk.n - done : plan->rows_at_once;
        read_dz(&b);
        multiply_weight(&b, done > 0);
        if (plan->is_delivered)
            multiply_input(&b);
    }
}

bool dense_is_pointwise(const struct dense *d)
{
    return d->pointwise && !d->planar && d->shape.h_out * d->shape.w_out >= MIN_ROWS &&
           d->k * d->c_out <= MAX_WEIGHTS;
}

/* A rest of a few rows would cost a pass over the chunk's share of dw like any other. */
static size_t equal_parts(size_t n, size_t about)
{
    size_t parts = (n + about / 2) / about;

    return parts > 1 ? (n + parts - 1) / parts : n;
}

static struct pointwise_plan *new_plan(struct lowering *l, const struct node *node,
                                       const struct dense *d)
{
    struct pointwise_plan *p = lower_plan(l, sizeof(*p));

    if (!p)
        return NULL;
    p->d = d;
    p->gradient = lower_output_gradient(l, node);
    p->shares.examples = lower_unit_part(l, d->x.rows, CHUNK_ROWS);
    p->shares.size = d->k * d->c_out;
    p->rows_per_chunk = p->shares.examples * d->x.rows;
    p->in_pitch = dense_pitch(d->c_in);
    p->out_pitch = dense_pitch(d->c_out);
    p->rows_at_once =
        equal_parts(p->rows_per_chunk, dense_rows(p->in_pitch + p->out_pitch));
    p->is_delivered = lower_deliver(l, &p->delivery, node, 0, p->rows_per_chunk);
    p->shares.to = lower_parameter(l, d->w);
    lower_scratch(l, p->rows_at_once * (2 * PANEL + p->in_pitch + p->out_pitch) *
                         sizeof(real));
    return p;
}

void dense_lower_pointwise(struct lowering *l, const struct node *node,
                           const struct dense *d)
{
    struct pointwise_plan *p = new_plan(l, node, d);
    struct partition chunks = {.rows_per_example = d->x.rows};
    int shares, wt;

    if (!p)
        return;
    chunks.rows_per_block = p->rows_per_chunk;
    shares = lower_shares(l, &p->shares);
    wt = p->is_delivered ? dense_transposed_weights(l, d) : -1;
    lower_planned_call(l, run_chunk, &chunks, p,
                       (const int[]){p->gradient.g, p->gradient.z.buffer,
                                     p->gradient.norm, wt, d->x.buffer, d->x.norm,
                                     shares},
                       N_BUFFERS);
    if (p->is_delivered) {
        lower_use_delivery(l, &p->delivery);
        lower_settle(l, &p->delivery);
    }
    lower_sum_shares(l, &p->shares, shares);
}
