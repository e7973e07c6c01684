/* Arrays of numbers for tests of kernels. */
#ifndef TESTS_ENGINE_NUMBERS_H
#define TESTS_ENGINE_NUMBERS_H

#include "fixture.h"

/* Zeroed; never NULL. The test frees it. */
void *allocate(size_t n, size_t size);

/* n zeros and a guard behind them, which check_guard wants untouched. */
real *guarded(size_t n);
void check_guard(const real *v, size_t n);

/* The same, hashed: in [-1, 1), or multiples of 1/8 in [-8, 8), whose products with
 * 1/2, 1 and 2 are exact. */
real *noise(size_t n, const char *name);
real *grid(size_t n, const char *name);

/* Sizes of the terms that a slope at v is a difference of, in units of 5 u:
 * hardswish's v/3 + 1/2; 1 - s and v s (1 - s) of functions good to 3 units in the last
 * place (vec_math.h). */
double slope_terms(enum activation act, double v);

void check_near(const char *what, double found, double want, double bound);

#endif
