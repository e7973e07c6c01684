/* The answer to a check-in, from bytes: never more than a clean refusal, and a task
 * that was accepted keeps its stated limits. */
#include "transport/native_task.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cygnet_answer answer;
    cygnet_error err = {0};
    const cygnet_task *task = &answer.task;

    if (native_answer_parse(&answer, data, size, &err) != CYGNET_OK) {
        insist(err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    insist(answer.retry_min_s <= answer.retry_max_s);
    insist(answer.retry_max_s <= NATIVE_MAX_SECONDS);
    if (!answer.has_task)
        return 0;
    insist(task->round >= 1 && task->round <= NATIVE_MAX_INTEGER);
    insist(task->token[0] && strlen(task->token) <= CYGNET_TOKEN_MAX);
    insist(strlen(task->weights_sha256) == CYGNET_SHA256_HEX);
    insist(task->n_classes >= 2 && task->n_input_dims <= 4);
    insist(task->batch >= 1 && (task->epochs > 0 || task->steps > 0));
    insist(task->policy <= CYGNET_POLICY_EFFICIENT && task->n_threads <= 64);
    insist(task->max_round_mj <= NATIVE_MAX_INTEGER);
    insist(task->lr >= 0.0f && task->momentum >= 0.0f && task->momentum < 1.0f);
    return 0;
}
