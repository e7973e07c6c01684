/* What the engine's tests share: the portable hash of tools/make_golden.py, one-op
 * graphs, and models made for a test. Compiled once per number type. */
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include "engine/nn/model_parts.h"
#include "engine/nn/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FIXTURE_SEED UINT64_C(20260101)

/* Word and value i of the stream that begins at hash_start: a value is in [-1, 1), a
 * multiple of 2^-23. */
uint64_t hash_start(uint64_t seed, const char *name);
uint64_t hash_bits(uint64_t start, size_t i);
double hash_value(uint64_t start, size_t i);
int64_t hash_label(uint64_t seed, size_t i, uint32_t n_classes);
/* The largest 2^-k that is at most 1/sqrt(fan_in). */
double weight_scale(size_t fan_in);

void hash_fill(real *out, uint64_t seed, const char *name, size_t n, double scale);
void hash_fill_f32(float *out, uint64_t seed, const char *name, size_t n, double scale);
void hash_fill_labels(int64_t *out, uint64_t seed, size_t n, uint32_t n_classes);
/* Every parameter and buffer from the stream of its name, around its first value
 * where that is a constant. */
void hash_weights(cygnet_model *model, uint64_t seed);

/* The reference, and every class of kernels that this CPU can run, by index. */
const struct kernels *kernels_reference(void);
size_t kernels_count(void);
const struct kernels *kernels_at(size_t index);

/* Runs each test once per class, which is its state. */
int run_tests_per_class(const struct CMUnitTest *tests, size_t n);

/* A graph whose node 0 is `kind` with the parameters of a golden case (without the
 * batch); the input has a gradient, so that it can be checked. Outputs are flattened
 * and read by the loss as they are. */
void build_op_graph(struct graph *graph, const char *kind, const size_t *params);

/* The step's examples of an activation as its readers see it, or of the gradient of a
 * graph's input, in PyTorch's order; and the other way round, to rows as they lie in
 * memory, padding 0. */
void read_activation(real *out, const cygnet_model *model, const struct step *step,
                     size_t tensor);
void read_activation_gradient(real *out, const cygnet_model *model,
                              const struct step *step, size_t tensor);
void write_rows(real *rows, const cygnet_model *model, size_t tensor, const real *in,
                size_t n);

/* A zoo model on the given kernels, weights hashed. */
cygnet_model *make_zoo_model(const char *spec, const struct shape *input,
                             uint32_t n_classes, uint32_t max_batch,
                             const struct kernels *kernels, struct nn_executor *executor);
/* A model of a finished graph; consumes it. */
cygnet_model *make_graph_model(struct graph *graph, uint32_t max_batch,
                               const struct kernels *kernels);

/* An emulator runs this, many times slower: do less of the same. */
bool is_emulated(void);

/* The calling thread's SCHED_..., from the kernel: musl's function refuses. */
int my_scheduler(void);

/* Parameters and buffers bit by bit; two models of one graph. */
bool same_state(const cygnet_model *a, const cygnet_model *b);

size_t find_tensor(const cygnet_model *model, const char *name);
size_t tensor_elements(const cygnet_model *model, size_t tensor);

#endif
