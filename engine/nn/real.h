/* The number type of the training library: float. The tests build the library a
 * second time with NN_DOUBLE, to check gradients against central differences and
 * whole steps against float64. */
#ifndef ENGINE_NN_REAL_H
#define ENGINE_NN_REAL_H

#include <cygnet/tensors.h>
#include <float.h>

#ifdef NN_DOUBLE
typedef double real;
#define REAL_DTYPE CYGNET_F64
#define REAL_MAX DBL_MAX
#define REAL_EPSILON DBL_EPSILON
#else
typedef float real;
#define REAL_DTYPE CYGNET_F32
#define REAL_MAX FLT_MAX
#define REAL_EPSILON FLT_EPSILON
#endif

#endif
