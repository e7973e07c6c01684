#include "tests/fakes/fake_host.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int data_open(void **cursor, cygnet_dataset_info *info, const char *collection,
                     const char *selector, void *user)
{
    struct fake_host *fake = user;

    (void)selector;
    (void)snprintf(fake->collection, sizeof(fake->collection), "%s", collection);
    fake->n_opens++;
    if (fake->open_code != 0)
        return fake->open_code;
    fake->n_open++;
    info->n_examples = fake->n_examples;
    memcpy(info->snapshot_id, "v1", 3);
    *cursor = fake;
    return 0;
}

/* Row `index` of the data: the same whenever it is asked for. */
static int64_t write_row(const struct fake_host *fake, float *x, uint64_t index)
{
    struct rng rng;
    int64_t label = 0;

    rng_init(&rng, 99, "fake host", index);
    for (uint64_t i = 0; i < fake->n_inputs; i++)
        x[i] = (float)rng_uniform(&rng);
    for (uint64_t c = 1; c < fake->n_classes; c++)
        if (x[c] > x[label])
            label = (int64_t)c;
    if ((int64_t)index == fake->nan_at)
        x[0] = (float)NAN;
    return (int64_t)index == fake->bad_label_at ? (int64_t)fake->n_classes : label;
}

int64_t fake_host_label(const struct fake_host *fake, uint64_t index)
{
    float x[64];

    return write_row(fake, x, index);
}

static int data_read(void *cursor, const uint64_t *indices, const cygnet_batch *batch,
                     void *user)
{
    struct fake_host *fake = user;
    float *x = batch->columns[0].data;
    int64_t *y = batch->columns[1].data;

    if (cursor != fake)
        return -1;
    fake->n_reads++;
    if (fake->on_read)
        fake->on_read(fake->user);
    fake_clock_advance(fake->clock, fake->ms_per_read);
    if (fake->read_code != 0)
        return fake->read_code;
    for (uint64_t r = 0; r < batch->n_rows; r++) {
        int64_t label = write_row(fake, x + r * fake->n_inputs, indices[r]);

        if (!fake->skip_labels)
            y[r] = label;
    }
    return 0;
}

static void data_close(void *cursor, void *user)
{
    (void)cursor;
    ((struct fake_host *)user)->n_open--;
}

static int device_state(cygnet_device_state *state, void *user)
{
    struct fake_host *fake = user;

    fake->n_looks++;
    if (fake->device_code == 0)
        *state = fake->device;
    return fake->device_code;
}

static void event(const cygnet_report *report, void *user)
{
    struct fake_host *fake = user;

    if (fake->n_phases < FAKE_HOST_MAX_PHASES &&
        (fake->n_phases == 0 || fake->phases[fake->n_phases - 1] != report->phase))
        fake->phases[fake->n_phases++] = report->phase;
    if (fake->on_phase)
        fake->on_phase(report->phase, fake->user);
}

void fake_host_init(struct fake_host *fake, struct fake_clock *clock)
{
    memset(fake, 0, sizeof(*fake));
    fake->host.struct_size = sizeof(fake->host);
    fake->host.data_open = data_open;
    fake->host.data_read = data_read;
    fake->host.data_close = data_close;
    fake->host.device_state = device_state;
    fake->host.event = event;
    fake->host.user = fake;
    fake->clock = clock;
    fake->device = (cygnet_device_state){sizeof(fake->device), CYGNET_TRUE, CYGNET_TRUE,
                                         CYGNET_TRUE,          80,          -1};
    fake->n_examples = 20;
    fake->n_inputs = 6;
    fake->n_classes = 3;
    fake->nan_at = fake->bad_label_at = -1;
}
