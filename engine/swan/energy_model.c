/* The power model: watts of each cluster's busy cores. */
#include "base/error.h"
#include "engine/swan/energy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Beyond what any core, and any device, draws. */
#define MAX_CORE_W 1000.0
#define MAX_IDLE_W 10000.0

void energy_model_init(struct energy_model *out, const struct soc *soc)
{
    memset(out, 0, sizeof(*out));
    out->n_clusters = soc->n_clusters;
    out->idle_w = out->spread = NAN;
    for (uint32_t k = 0; k < SOC_MAX_CLUSTERS; k++)
        out->core_w[k] = NAN;
    for (uint32_t k = 0; k < soc->n_clusters; k++)
        (void)snprintf(out->names[k], sizeof(out->names[k]), "%s", soc->clusters[k].name);
}

static cygnet_status check_clusters(const struct json *watts, const struct soc *soc,
                                    const char *where, cygnet_error *err)
{
    for (const struct json *v = json_at(watts, 0); v; v = json_next(v)) {
        bool found = false;

        for (uint32_t k = 0; k < soc->n_clusters; k++)
            found |= strcmp(soc->clusters[k].name, json_key(v)) == 0;
        if (!found)
            return fail(err, CYGNET_EFORMAT, 0,
                        "%s: core_w: the SoC has no cluster \"%.*s\"", where,
                        SOC_NAME_BYTES, json_key(v));
    }
    return CYGNET_OK;
}

static cygnet_status read_clusters(struct energy_model *out, const struct json *object,
                                   const struct soc *soc, const char *where,
                                   cygnet_error *err)
{
    const struct json *watts;
    cygnet_status st = json_read_object(&watts, object, "core_w", false, where, err);

    if (st == CYGNET_OK && watts)
        st = check_clusters(watts, soc, where, err);
    for (uint32_t k = 0; st == CYGNET_OK && watts && k < soc->n_clusters; k++)
        st = json_read_double(&out->core_w[k], watts, soc->clusters[k].name, 0,
                              MAX_CORE_W, false, where, err);
    return st;
}

cygnet_status energy_model_read(struct energy_model *out, const struct json *object,
                                const struct soc *soc, const char *where,
                                cygnet_error *err)
{
    struct energy_model model;
    cygnet_status st;

    energy_model_init(&model, soc);
    if (!json_is_object(object))
        return fail(err, CYGNET_EFORMAT, 0, "%s: is not an object", where);
    st = read_clusters(&model, object, soc, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&model.idle_w, object, "idle_w", 0, MAX_IDLE_W, false,
                              where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&model.spread, object, "spread", 0, 1, false, where, err);
    if (st == CYGNET_OK)
        *out = model;
    return st;
}
