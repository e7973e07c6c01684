/* See device_model.h. */
#include "tests/fakes/device_model.h"

#include "base/error.h"
#include "base/json.h"
#include "base/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT 1
#define UNIT_SPEED 10000.0
#define MAX_KHZ 100000000
#define MAX_SPEED 1e9
#define MAX_WATTS 1000.0
#define MAX_MS 1e6
#define SHARPNESS 4.0

enum { MAX_PATH = 4096 };

const char *const DEVICE_PHONE_NAMES[DEVICE_PHONES] = {
    "pixel_3", "galaxy_s10e", "oneplus_8", "galaxy_tab_s6", "mi_10", "galaxy_s10e_exynos",
};
const char *const DEVICE_WORKLOAD_NAMES[DEVICE_WORKLOADS] = {"dense", "depthwise",
                                                             "shuffle"};

static const struct json_limits LIMITS = {.max_bytes = DEVICE_MAX_BYTES,
                                          .max_depth = 6,
                                          .max_values = 2048};

static cygnet_status read_cluster(struct device_cluster *c, const struct json *value,
                                  cygnet_error *err)
{
    const char *where = "device: clusters";
    cygnet_status st;

    if (!json_is_object(value))
        return fail(err, CYGNET_EFORMAT, 0, "%s: want objects", where);
    st = json_read_string(c->name, sizeof(c->name), value, "name", true, where, err);
    if (st == CYGNET_OK)
        st = json_read_u32(&c->n_cores, value, "cores", 1, SOC_MAX_CORES, true, where,
                           err);
    if (st == CYGNET_OK)
        st = json_read_u32(&c->capacity, value, "capacity", 1, 1024, true, where, err);
    if (st == CYGNET_OK)
        st = json_read_u32(&c->max_khz, value, "max_khz", 0, MAX_KHZ, true, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&c->speed, value, "speed", 1, MAX_SPEED, true, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&c->watts, value, "watts", 1e-6, MAX_WATTS, true, where,
                              err);
    return st;
}

static cygnet_status read_clusters(struct device_model *out, const struct json *root,
                                   cygnet_error *err)
{
    const struct json *list = json_member(root, "clusters");
    uint32_t n_cores = 0, above = 1024;

    if (!json_is_array(list) || json_count(list) == 0 ||
        json_count(list) > SOC_MAX_CLUSTERS)
        return fail(err, CYGNET_EFORMAT, 0, "device: clusters: want 1 to %d",
                    SOC_MAX_CLUSTERS);
    for (const struct json *v = json_at(list, 0); v; v = json_next(v)) {
        struct device_cluster *c = &out->clusters[out->n_clusters++];
        cygnet_status st = read_cluster(c, v, err);

        if (st != CYGNET_OK)
            return st;
        n_cores += c->n_cores;
        if (c->capacity > above || n_cores > SOC_MAX_CORES)
            return fail(err, CYGNET_EFORMAT, 0,
                        "device: clusters: want the most capable first, at most %d cores",
                        SOC_MAX_CORES);
        above = c->capacity;
    }
    return CYGNET_OK;
}

static cygnet_status open_document(struct json **root, const void *text, size_t len,
                                   const char *what, cygnet_error *err)
{
    uint64_t format;
    cygnet_status st = json_parse(root, text, len, &LIMITS, err);

    if (st != CYGNET_OK)
        return st;
    if (!json_is_object(*root))
        st = fail(err, CYGNET_EFORMAT, 0, "%s: want an object", what);
    if (st == CYGNET_OK)
        st = json_read_u64(&format, *root, "format", FORMAT, FORMAT, true, what, err);
    if (st != CYGNET_OK) {
        json_destroy(*root);
        *root = NULL;
    }
    return st;
}

cygnet_status device_model_parse(struct device_model *out, const void *text, size_t len,
                                 cygnet_error *err)
{
    struct device_model found;
    struct json *root;
    cygnet_status st = open_document(&root, text, len, "device", err);

    if (st != CYGNET_OK)
        return st;
    memset(&found, 0, sizeof(found));
    st = json_read_string(found.name, sizeof(found.name), root, "name", true, "device",
                          err);
    if (st == CYGNET_OK)
        st = json_read_string(found.soc, sizeof(found.soc), root, "soc", true, "device",
                              err);
    if (st == CYGNET_OK)
        st = json_read_double(&found.shared_watts, root, "shared_watts", 0, MAX_WATTS,
                              true, "device", err);
    if (st == CYGNET_OK)
        st = read_clusters(&found, root, err);
    json_destroy(root);
    if (st == CYGNET_OK)
        *out = found;
    return st;
}

static cygnet_status read_workload(struct device_workload *w, const struct json *value,
                                   cygnet_error *err)
{
    const char *where = "workload";
    const struct {
        double *out;
        const char *key;
        double min, max;
    } numbers[] = {
        {&w->ms, "ms", 1e-3, MAX_MS},        {&w->serial, "serial", 0, 1},
        {&w->loss, "loss", 0, 10},           {&w->crossing, "crossing", 0, 10},
        {&w->coherence, "coherence", 0, 10}, {&w->bandwidth, "bandwidth", 0.1, 1000},
    };
    cygnet_status st =
        json_read_string(w->name, sizeof(w->name), value, "name", true, where, err);

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && st == CYGNET_OK; i++)
        st = json_read_double(numbers[i].out, value, numbers[i].key, numbers[i].min,
                              numbers[i].max, true, where, err);
    return st;
}

static cygnet_status find_workload(struct device_workload *out, const char *name,
                                   const struct json *root, cygnet_error *err)
{
    const struct json *list = json_member(root, "workloads");

    if (!json_is_array(list))
        return fail(err, CYGNET_EFORMAT, 0, "workloads: want an array");
    for (const struct json *v = json_at(list, 0); v; v = json_next(v)) {
        struct device_workload found;
        cygnet_status st;

        if (!json_is_object(v))
            return fail(err, CYGNET_EFORMAT, 0, "workloads: want objects");
        st = read_workload(&found, v, err);
        if (st != CYGNET_OK)
            return st;
        if (strcmp(found.name, name) == 0) {
            *out = found;
            return CYGNET_OK;
        }
    }
    return fail(err, CYGNET_ENOTFOUND, 0, "workloads: none is called \"%.60s\"", name);
}

cygnet_status device_workload_parse(struct device_workload *out, const char *name,
                                    const void *text, size_t len, cygnet_error *err)
{
    struct json *root;
    cygnet_status st = open_document(&root, text, len, "workloads", err);

    if (st == CYGNET_OK)
        st = find_workload(out, name, root, err);
    json_destroy(root);
    return st;
}

void device_model_soc(struct soc *out, const struct device_model *device)
{
    memset(out, 0, sizeof(*out));
    out->n_clusters = device->n_clusters;
    (void)snprintf(out->fingerprint, sizeof(out->fingerprint), "modelled");
    for (uint32_t k = device->n_clusters; k-- > 0;) {
        const struct device_cluster *c = &device->clusters[k];

        memcpy(out->clusters[k].name, c->name, sizeof(c->name));
        out->clusters[k].capacity = c->capacity;
        out->clusters[k].max_khz = c->max_khz;
        out->clusters[k].n_cores = c->n_cores;
        for (uint32_t i = 0; i < c->n_cores; i++) {
            out->cores[out->n_cores] = (struct soc_core){.cpu = out->n_cores,
                                                         .cluster = k,
                                                         .capacity = c->capacity,
                                                         .max_khz = c->max_khz,
                                                         .core = out->n_cores,
                                                         .online = true,
                                                         .allowed = true};
            out->n_cores++;
        }
    }
}

double device_step_ms(const struct device_model *device,
                      const struct device_workload *workload, const struct choice *choice)
{
    double n_threads = choice_n_threads(choice);
    double rate = 0, fastest = 0, n_used = 0;
    double ceiling = workload->bandwidth * device->clusters[0].speed;

    for (size_t k = 0; k < device->n_clusters; k++) {
        double n = choice->n_cores[k], speed = device->clusters[k].speed;

        if (choice->n_cores[k] == 0)
            continue;
        rate += n * speed / (1 + workload->loss * (n - 1));
        fastest = fmax(fastest, speed);
        n_used++;
    }
    rate /= (1 + workload->crossing * (n_used - 1)) *
            (1 + workload->coherence * n_threads * (n_threads - 1));
    rate = pow(pow(rate, -SHARPNESS) + pow(ceiling, -SHARPNESS), -1 / SHARPNESS);
    return UNIT_SPEED * workload->ms *
           (workload->serial / fastest + (1 - workload->serial) / rate);
}

double device_watts(const struct device_model *device, const struct choice *choice)
{
    double watts = device->shared_watts;

    for (size_t k = 0; k < device->n_clusters; k++)
        watts += choice->n_cores[k] * device->clusters[k].watts;
    return watts;
}

struct device_step device_step(const struct device_model *device,
                               const struct device_workload *workload,
                               const struct choice *choice,
                               const struct device_noise *noise, struct rng *rng)
{
    double ms =
        device_step_ms(device, workload, choice) * exp(noise->step_sd * rng_normal(rng));

    if (rng_uniform(rng) < noise->wild_share)
        ms *= 1.5 + 1.5 * rng_uniform(rng);
    return (struct device_step){ms, ms * device_watts(device, choice) *
                                        exp(noise->energy_sd * rng_normal(rng))};
}

/* ---- Files ------------------------------------------------------------------- */

static cygnet_status read_named(struct bytes *out, const char *folder, const char *name,
                                cygnet_error *err)
{
    char path[MAX_PATH];
    int n = snprintf(path, sizeof(path), "%s/%s.json", folder, name);

    bytes_init(out, DEVICE_MAX_BYTES, NULL);
    if (n < 0 || (size_t)n >= sizeof(path))
        return fail(err, CYGNET_EINVAL, 0, "the folder of devices has too long a name");
    return file_read(out, path, err);
}

cygnet_status device_model_read(struct device_model *out, const char *folder,
                                const char *name, cygnet_error *err)
{
    struct bytes text;
    cygnet_status st = read_named(&text, folder, name, err);

    if (st == CYGNET_OK)
        st = device_model_parse(out, text.data, text.len, err);
    bytes_clear(&text);
    return st;
}

cygnet_status device_workload_read(struct device_workload *out, const char *folder,
                                   const char *name, cygnet_error *err)
{
    struct bytes text;
    cygnet_status st = read_named(&text, folder, "workloads", err);

    if (st == CYGNET_OK)
        st = device_workload_parse(out, name, text.data, text.len, err);
    bytes_clear(&text);
    return st;
}
