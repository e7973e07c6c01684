/* Kernels that have one implementation, in files of their own. Use them through
 * the table; kernels.h documents them. */
#ifndef ENGINE_NN_KERNELS_SHARED_H
#define ENGINE_NN_KERNELS_SHARED_H

#include "engine/nn/kernels.h"

void channel_moments(double *mean, double *variance, const real *x,
                     const struct channel_block *block);
void batch_norm_forward(real *y, const real *x, const double *mean, const double *inv_std,
                        const real *w, const real *b, const struct channel_block *block);
void batch_norm_backward(real *dx, real *dw, real *db, const real *dy, const real *x,
                         const double *mean, const double *inv_std, const real *w,
                         const struct channel_block *block);

void avg_pool2d_forward(real *y, const real *x, const struct pool2d_shape *shape);
void avg_pool2d_backward(real *dx, const real *dy, const struct pool2d_shape *shape);

/* Depthwise convolution (groups = c_in = c_out): as the conv2d kernels. */
size_t depthwise_scratch(const struct conv2d_shape *shape);
void depthwise_forward(real *y, const real *x, const real *w, const real *b, real *padded,
                       const struct conv2d_shape *s);
void depthwise_backward_input(real *dx, const real *dy, const real *w, real *padded,
                              const struct conv2d_shape *s);
void depthwise_backward_weight(real *dw, real *db, const real *dy, const real *x,
                               real *padded, const struct conv2d_shape *s);

void cross_entropy_forward(real *loss, const real *z, const int64_t *label,
                           double smoothing, size_t n_rows, size_t n_classes);
void cross_entropy_backward(real *dz, const real *z, const int64_t *label,
                            double smoothing, double scale, size_t n_rows,
                            size_t n_classes);

void update_weights(real *w, real *state0, real *state1, const real *g,
                    const real *reference, const struct update_rule *rule, size_t n);
double square_sum(const real *g, const real *w, const real *reference, real prox_mu,
                  size_t n);

#endif
