/* What a step must cost at least, from the graph alone: the yardsticks that plans
 * and kernels are held against. */
#ifndef TESTS_BENCH_YARDSTICK_H
#define TESTS_BENCH_YARDSTICK_H

#include <cygnet/nn.h>

/* The analytic bound on memory: the outputs of convolutions and dense layers for
 * the whole batch (all else can be computed again from them), weights and buffers,
 * momentum, and the largest pair of activation gradients that one layer reads and writes.
 */
uint64_t yardstick_bytes(const cygnet_model *model, uint32_t n);

/* Floating-point operations of a step without those that multiply the padding of
 * convolutions. */
double yardstick_flops(const cygnet_model *model, uint32_t n);

#endif
