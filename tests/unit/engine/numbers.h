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

void check_near(const char *what, double found, double want, double bound);

#endif
