/* LSTM and GRU: the input's part of all gates of all steps as one product, then step by
 * step the state's part, some examples a block. The formulas are in op_recurrent.c. */
#ifndef ENGINE_NN_RECURRENT_H
#define ENGINE_NN_RECURRENT_H

#include "engine/nn/lower.h"

/* One layer; the plan of all its calls.
 *
 * A row per step of an example is kept for the backward pass, `pitch` long: the gates,
 * n_gates parts of `width`, and then LSTM: c, GRU: n_h. Backward, gradients take the
 * place of the gates and of n_h.
 *
 * per_block  examples of a block
 * in, width  padded */
struct recurrent {
    const struct recurrent_params *params;
    bool is_lstm;
    size_t n_gates;
    size_t steps, in, width, pitch, per_block;
    struct operand x, h;
    int saved;
};

/* The parameters, as inputs of the node. */
enum { RECURRENT_X, RECURRENT_W_IH, RECURRENT_W_HH, RECURRENT_B_IH, RECURRENT_B_HH };

/* NULL: out of memory. */
struct recurrent *recurrent_create(struct lowering *l, const struct node *node);

/* Where the state's part of a gate is in a row. */
size_t recurrent_part(const struct recurrent *p, size_t gate);

/* A step of the rows: of gates, c or n_h, h. `first` is the first example, n how many. */
struct recurrent_step recurrent_at(const struct recurrent *p, real *saved, real *h,
                                   struct span examples, size_t t);

void recurrent_lower_forward(struct lowering *l, const struct node *node);
void recurrent_lower_backward(struct lowering *l, const struct node *node);

/* The parameters' gradients, when the saved rows hold those of the gates. */
void recurrent_lower_weights(struct lowering *l, const struct node *node,
                             const struct recurrent *p);

#endif
