#include "tests/unit/fl/bench.h"

#include "engine/nn/model.h"
#include "fl/round.h"

#include <stdlib.h>
#include <string.h>

cygnet_tensors *bench_weights(void)
{
    cygnet_model_options options;
    cygnet_model *model;
    cygnet_tensors *weights = NULL;

    cygnet_model_options_init(&options);
    options.architecture = "logistic";
    options.n_classes = 3;
    options.n_input_dims = 1;
    options.input[0] = 6;
    options.seed = 3;
    if (model_create(&model, &options, &nn_serial_executor, NULL) != CYGNET_OK)
        return NULL;
    (void)cygnet_model_get_weights(&weights, model, NULL);
    cygnet_model_destroy(model);
    return weights;
}

struct bench *bench_create(void)
{
    struct bench *b = calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    b->weights = bench_weights();
    if (!b->weights) {
        free(b);
        return NULL;
    }
    fake_clock_init(&b->clock);
    fake_host_init(&b->host, &b->clock);
    fake_coordinator_init(&b->coordinator, &b->clock, b->weights);
    memory_store_init(&b->store);
    b->config = (struct participant_config){
        .population = "bench",
        .coordinator = &b->coordinator.coordinator,
        .store = &b->store.store,
        .clock = &b->clock.clock,
        .host = &b->host.host,
        .executor = &nn_serial_executor,
        .rule = {CYGNET_REQUIRED, CYGNET_PREFERRED, CYGNET_REQUIRED, 0},
        .max_model_bytes = 1 << 20,
        .seed = 5,
        .stop = &b->stop,
        .look_again = &b->look_again,
    };
    round_clear_report(&b->report);
    return b;
}

void bench_destroy(struct bench *b)
{
    participant_destroy(b->p);
    memory_store_clear(&b->store);
    cygnet_tensors_destroy(b->weights);
    free(b);
}

int bench_setup(void **state)
{
    *state = bench_create();
    return *state ? 0 : -1;
}

int bench_teardown(void **state)
{
    bench_destroy(*state);
    return 0;
}

cygnet_status bench_restart(struct bench *b)
{
    participant_destroy(b->p);
    b->p = NULL;
    return participant_create(&b->p, &b->config, &b->err);
}

cygnet_status bench_run(struct bench *b)
{
    cygnet_status st = b->p ? CYGNET_OK : bench_restart(b);

    return st == CYGNET_OK ? participant_run_once(b->p, &b->report, &b->err) : st;
}
