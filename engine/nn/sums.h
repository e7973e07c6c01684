/* Sums over rows, from their slots. */
#ifndef ENGINE_NN_SUMS_H
#define ENGINE_NN_SUMS_H

#include "engine/nn/lower.h"

/* The calls that make a bias' gradient of the sums of the output's. */
void lower_bias_gradient(struct lowering *l, int bias, const struct output_gradient *g);

#endif
