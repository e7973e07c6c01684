/* The forward list of a model once more. */
#include "tests/bench/training_mode.h"

#include "engine/nn/model_parts.h"

void training_without_dropout(cygnet_model *model)
{
    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        if (model->graph.nodes[i].kind == OP_DROPOUT)
            model->graph.nodes[i].params.dropout.rate = 0;
    }
}

size_t training_symbols(const cygnet_model *model)
{
    for (size_t i = 0; i < model->graph.n_nodes; i++) {
        if (model->graph.nodes[i].kind == OP_EMBEDDING)
            return model->graph.nodes[i].params.embedding.n_symbols;
    }
    return 0;
}

/* The backward pass may have put something else where the logits were. */
void training_logits(float *logits, cygnet_model *model, uint32_t n)
{
    struct step step = {.program = &model->program,
                        .kernels = &model->kernels,
                        .mode = STEP_GRADIENTS,
                        .n = n,
                        .total = n};

    (void)program_run(&step, &model->program.forward, model->executor, NULL, NULL);
    model_read_rows(logits, model, (size_t)model->graph.logits,
                    step_data(&step, model->program.logits), n);
}
