/* From the settings of a step to what is done to one tensor. */
#ifndef ENGINE_NN_UPDATE_H
#define ENGINE_NN_UPDATE_H

#include "engine/nn/kernels.h"

/* The updates of one step.
 *
 * decoupled   weight decay as AdamW's
 * decays_all  weight decay for tensors of one dimension (norms, biases) too
 * bias1       1 - beta1^t of Adam's step t = 1, 2, ...; bias2 likewise
 * clip        factor of all gradients; 1: none */
struct update_settings {
    enum update_kind kind;
    bool decoupled;
    bool decays_all;
    double lr;
    double momentum;
    double weight_decay;
    double beta1, beta2;
    double bias1, bias2;
    double eps;
    double clip;
    double prox_mu;
};

/* What sets a tensor apart.
 *
 * is_vector  of one dimension: a bias or a norm's weight */
struct update_group {
    bool is_vector;
    double lr_scale;
};

/* The rule for the kernels, worked out in double and rounded once. */
void update_rule_of(struct update_rule *out, const struct update_settings *settings,
                    const struct update_group *group);

#endif
