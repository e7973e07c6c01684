/* A model as it is in training, but without what is random: for comparisons. The
 * one place besides the yardsticks where the benchmarks reach into a model. */
#ifndef TESTS_BENCH_TRAINING_MODE_H
#define TESTS_BENCH_TRAINING_MODE_H

#include <cygnet/nn.h>

/* Makes every dropout of the model keep everything, in training steps as well. */
void training_without_dropout(cygnet_model *model);

/* How many symbols the model's input is made of; 0: it is numbers. */
size_t training_symbols(const cygnet_model *model);

/* The logits that a training step sees, with batch norm over the batch, where
 * cygnet_model_logits has the running statistics. To be called right after
 * cygnet_model_gradients, on its batch of n examples, which still has to be there.
 * logits  (n, n_classes) written */
void training_logits(float *logits, cygnet_model *model, uint32_t n);

#endif
