/* A host with a small, learnable data set and a device state that a test sets. */
#ifndef TESTS_FAKE_HOST_H
#define TESTS_FAKE_HOST_H

#include "tests/fakes/fake_clock.h"

#include <cygnet/cygnet.h>

#define FAKE_HOST_MAX_PHASES 128

/* n_inputs     elements of an example; label = index of the largest of the first
 *              n_classes of them
 * nan_at       example whose first element is NaN; -1: none
 * bad_label_at example with a label out of range; -1: none
 * skip_labels  leave the labels unwritten
 * open_code    what the hooks answer; device_code likewise
 * ms_per_read  how far the clock moves in each read
 * on_read      called in each read; may be NULL
 * on_phase     called in each event; may be NULL
 * collection   that was opened last
 * phases       of the events, repetitions left out */
struct fake_host {
    cygnet_host host;
    struct fake_clock *clock;
    cygnet_device_state device;
    uint64_t n_examples;
    uint64_t n_inputs;
    uint64_t n_classes;
    int64_t nan_at;
    int64_t bad_label_at;
    int skip_labels;
    int open_code;
    int read_code;
    int device_code;
    int64_t ms_per_read;
    void (*on_read)(void *user);
    void (*on_phase)(cygnet_phase phase, void *user);
    void *user;
    int n_open;
    int n_opens;
    int n_reads;
    int n_looks;
    char collection[129];
    cygnet_phase phases[FAKE_HOST_MAX_PHASES];
    int n_phases;
};

/* Charging, idle, unmetered, 20 examples of 6 inputs and 3 classes. */
void fake_host_init(struct fake_host *fake, struct fake_clock *clock);

/* Of an example; n_inputs is at most 64. */
int64_t fake_host_label(const struct fake_host *fake, uint64_t index);

#endif
