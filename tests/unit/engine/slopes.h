/* Derived gradients of a graph against central differences, for tests in double. */
#ifndef TESTS_ENGINE_SLOPES_H
#define TESTS_ENGINE_SLOPES_H

#include "fixture.h"

/* Every element of every parameter, and of the input if it has a gradient, for a batch
 * of n. Consumes the graph. */
void check_slopes(struct graph *graph, size_t n);

/* The same along one direction of each of them, in which no element stands still: two
 * losses instead of two an element. */
void check_slopes_along(struct graph *graph, size_t n);

#endif
