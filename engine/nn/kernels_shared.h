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

#endif
