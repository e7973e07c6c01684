/* Modelled phones, for simulation: what a training step takes on any execution choice of
 * a device that is not at hand. Nothing here was measured on that device while training;
 * whatever shows such figures says so ("modelled"). Pure, but for the random numbers that
 * the caller's generator gives.
 *
 * A step of W ms on a core of speed 10000 takes, on n_k cores of speed S_k,
 *
 *     t = 10000 W (serial / max S + (1 - serial) / R)
 *     R_k = n_k S_k / (1 + loss (n_k - 1))
 *     R   = sum(R_k) / ((1 + crossing (clusters in use - 1)) (1 + coherence N (N - 1)))
 *           and then below B = bandwidth S_0: (R^-4 + B^-4)^(-1/4)
 *
 * which is Amdahl's law with the contention and coherence terms of Gunther's universal
 * scalability law ("Guerrilla Capacity Planning", 2007, ch. 4), a price for leaving the
 * cluster, and a ceiling. It is not the model that predictions are made with (predict.h):
 * a prediction that is right about it has learnt something. The files are those of
 * tests/fixtures/devices. */
#ifndef TESTS_FAKES_DEVICE_MODEL_H
#define TESTS_FAKES_DEVICE_MODEL_H

#include "base/rng.h"
#include "engine/swan/choice.h"

#define DEVICE_NAME_BYTES 64
#define DEVICE_MAX_BYTES 65536 /* of a file */

/* speed  of one core at its highest frequency, in any unit that all clusters share
 * watts  of one busy core, above idle */
struct device_cluster {
    char name[SOC_NAME_BYTES];
    uint32_t n_cores;
    uint32_t capacity;
    uint32_t max_khz;
    double speed;
    double watts;
};

/* Clusters from the most capable down. shared_watts: what any training draws besides. */
struct device_model {
    char name[DEVICE_NAME_BYTES];
    char soc[DEVICE_NAME_BYTES];
    uint32_t n_clusters;
    struct device_cluster clusters[SOC_MAX_CLUSTERS];
    double shared_watts;
};

struct device_workload {
    char name[DEVICE_NAME_BYTES];
    double ms;
    double serial;
    double loss;
    double crossing;
    double coherence;
    double bandwidth;
};

/* step_sd, energy_sd  standard deviations of the logarithms
 * wild_share          of steps take 1.5 to 3 times as long: what was not seen coming */
struct device_noise {
    double step_sd;
    double energy_sd;
    double wild_share;
};

/* The files of phones and the workloads, by name. */
#define DEVICE_PHONES 6
#define DEVICE_WORKLOADS 3
extern const char *const DEVICE_PHONE_NAMES[DEVICE_PHONES];
extern const char *const DEVICE_WORKLOAD_NAMES[DEVICE_WORKLOADS];

/* Of folder/NAME.json; of folder/workloads.json. Errors: as below, and those of
 * file_read. */
cygnet_status device_model_read(struct device_model *out, const char *folder,
                                const char *name, cygnet_error *err);
cygnet_status device_workload_read(struct device_workload *out, const char *folder,
                                   const char *name, cygnet_error *err);

/* JSON: {"format": 1, "name", "soc", "clusters": [{"name", "cores", "capacity",
 * "max_khz", "speed", "watts"}], "shared_watts"}; other members, such as the sources of
 * the numbers, are not read. Errors: EFORMAT, ELIMIT, ENOMEM. On failure *out is as it
 * was. */
cygnet_status device_model_parse(struct device_model *out, const void *text, size_t len,
                                 cygnet_error *err);

/* The workload of that name of {"format": 1, "workloads": [{"name", "ms", "serial",
 * "loss", "crossing", "coherence", "bandwidth"}]}. Errors as above, and ENOTFOUND. */
cygnet_status device_workload_parse(struct device_workload *out, const char *name,
                                    const void *text, size_t len, cygnet_error *err);

/* The device's SoC, all cores usable, cpu numbers from the least capable cluster up, as
 * phones have them. The fingerprint is "modelled". */
void device_model_soc(struct soc *out, const struct device_model *device);

/* What a step takes on average, in ms, and what it draws above idle, in W. */
double device_step_ms(const struct device_model *device,
                      const struct device_workload *workload,
                      const struct choice *choice);
double device_watts(const struct device_model *device, const struct choice *choice);

/* One step with its noise, and its energy as a meter would read it. */
struct device_step {
    double ms;
    double mj;
};
struct device_step device_step(const struct device_model *device,
                               const struct device_workload *workload,
                               const struct choice *choice,
                               const struct device_noise *noise, struct rng *rng);

#endif
