/* The training library on its own: trains a model of the zoo on labelled images,
 * prints how it goes after each epoch, saves the weights. */
#include "dataset.h"
#include "options.h"
#include "random.h"

#include <cygnet/nn.h>
#include <stdio.h>
#include <stdlib.h>

#define USAGE "usage: train digits|idx:DIR|cifar10:DIR MODEL CxHxW EPOCHS [FILE]\n"

/* Trains on one batch of rows, or (sgd NULL) evaluates them. */
static cygnet_status learn(cygnet_metrics *metrics, cygnet_model *model,
                           const struct dataset *data, struct rows batch,
                           const cygnet_sgd *sgd, cygnet_error *err)
{
    uint32_t chw[CYGNET_INPUT_MAX_DIMS];
    float *x = NULL;
    int64_t *y = NULL;
    cygnet_status st;

    cygnet_model_input_shape(model, chw);
    st = dataset_arrays(&x, &y, data, &batch,
                        (struct image_shape){chw[0], chw[1], chw[2]}, err);
    if (st == CYGNET_OK && sgd)
        st = cygnet_model_train_step(model, metrics, x, y, batch.n, sgd, err);
    else if (st == CYGNET_OK)
        st = cygnet_model_evaluate(model, metrics, x, y, batch.n, err);
    free(x), free(y);
    return st;
}

static cygnet_status train(cygnet_model *model, const struct dataset *data,
                           uint64_t epoch, cygnet_error *err)
{
    struct rows batch = {data->train.index, 0};
    struct random random;
    cygnet_metrics m = {.struct_size = sizeof(m)};
    cygnet_sgd sgd;
    double loss = 0;
    cygnet_status st = CYGNET_OK;

    cygnet_sgd_init(&sgd);
    sgd.lr = 0.02f, sgd.momentum = 0.9f;
    random_init(&random, 0, epoch);
    random_shuffle(&random, data->train.index, data->train.n);
    for (uint32_t left = data->train.n; left > 0 && st == CYGNET_OK; left -= batch.n) {
        batch.n = left < 32 ? left : 32;
        st = learn(&m, model, data, batch, &sgd, err);
        batch.index += batch.n;
        loss += st == CYGNET_OK ? m.loss * batch.n / data->train.n : 0;
    }
    if (st == CYGNET_OK)
        st = learn(&m, model, data, data->test, NULL, err);
    if (st == CYGNET_OK)
        printf("epoch %d: loss %.4f, held out %.4f, accuracy %.2f %%\n", (int)epoch, loss,
               m.loss, 100 * (double)m.correct / (double)m.n);
    return st;
}

static cygnet_status save(const cygnet_model *model, const char *path, cygnet_error *err)
{
    cygnet_tensors *weights = NULL;
    cygnet_status st = cygnet_model_get_weights(&weights, model, err);

    if (st == CYGNET_OK)
        st = cygnet_tensors_save(weights, path, err);
    cygnet_tensors_destroy(weights);
    return st;
}

int main(int argc, char **argv)
{
    cygnet_model_options o;
    cygnet_model *model = NULL;
    struct dataset *data = NULL;
    uint64_t n_epochs;
    cygnet_error err;

    cygnet_model_options_init(&o); /* 10 classes, batches of 32 */
    if (argc < 5 || argc > 6 || option_count(&n_epochs, "", argv[4], 1, 1000, NULL) ||
        option_shape(o.input, &o.n_input_dims, "", argv[3], NULL) || o.n_input_dims != 3)
        return fputs(USAGE, stderr), 2;
    o.architecture = argv[2];
    cygnet_status st = dataset_open(&data, argv[1], o.n_classes, &err);
    if (st == CYGNET_OK)
        st = cygnet_model_create(&model, &o, &err);
    for (uint64_t epoch = 1; epoch <= n_epochs && st == CYGNET_OK; epoch++)
        st = train(model, data, epoch, &err);
    if (st == CYGNET_OK && argv[5])
        st = save(model, argv[5], &err);
    if (st != CYGNET_OK)
        fprintf(stderr, "train: %s\n", err.message);
    cygnet_model_destroy(model);
    dataset_destroy(data);
    return st != CYGNET_OK;
}
