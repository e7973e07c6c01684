/* A profile as JSON: what was measured, and of what. Predictions and the frontier are
 * made anew by whoever reads it, so that they are always those of the reader's code. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/swan/profile.h"

#include <math.h>
#include <string.h>

#define FORMAT 1
#define MAX_MS 1e9
#define MAX_MJ 1e12

static const struct json_limits LIMITS = {.max_bytes = PROFILE_MAX_BYTES,
                                          .max_depth = 6,
                                          .max_values = 8192};

static void put_clusters(struct json_builder *b, const struct profile *profile)
{
    json_open_array(b, "clusters");
    for (size_t k = 0; k < profile->n_clusters; k++) {
        const struct soc_cluster *c = &profile->clusters[k];

        json_open_object(b, NULL);
        json_put_string(b, "name", c->name);
        json_put_u64(b, "capacity", c->capacity);
        json_put_u64(b, "cores", c->n_cores);
        json_close(b);
    }
    json_close(b);
}

static void put_energy(struct json_builder *b, const struct profile_energy *energy)
{
    if (energy->n == 0)
        return;
    json_open_object(b, "energy");
    json_put_string(b, "source", energy_source_name(energy->source));
    json_put_u64(b, "n", energy->n);
    json_put_double(b, "mean_mj", energy->mean);
    json_put_double(b, "variance", energy->variance);
    json_close(b);
}

static void put_entry(struct json_builder *b, const struct profile_entry *e,
                      size_t n_clusters)
{
    json_open_object(b, NULL);
    json_open_array(b, "cores");
    for (size_t k = 0; k < n_clusters; k++)
        json_put_u64(b, NULL, e->choice.n_cores[k]);
    json_close(b);
    if (e->n_samples > 0) {
        json_put_u64(b, "n", e->n_measured);
        json_open_array(b, "ms");
        for (size_t i = 0; i < e->n_samples; i++)
            json_put_double(b, NULL, e->samples[i]);
        json_close(b);
    }
    put_energy(b, &e->measured);
    json_close(b);
}

cygnet_status profile_write(struct bytes *out, const struct profile *profile,
                            cygnet_error *err)
{
    struct json_builder *b = json_build();
    size_t before = out->len;
    cygnet_status st;

    json_open_object(b, NULL);
    json_put_u64(b, "format", FORMAT);
    json_put_string(b, "model", profile->key.model);
    json_put_string(b, "soc", profile->key.soc);
    json_put_string(b, "engine", profile->key.engine);
    put_clusters(b, profile);
    json_open_object(b, "explored");
    json_put_u64(b, "steps", profile->explored.n_steps);
    json_put_double(b, "lost", profile->explored.n_lost);
    json_close(b);
    json_open_array(b, "entries");
    for (size_t i = 0; i < profile->n_entries; i++)
        put_entry(b, &profile->entries[i], profile->n_clusters);
    json_close(b);
    json_close(b);
    st = json_build_finish(b, out, err);
    if (st == CYGNET_OK && out->len - before > PROFILE_MAX_BYTES) {
        out->len = before;
        st =
            fail(err, CYGNET_ELIMIT, 0, "profile: more than %d bytes", PROFILE_MAX_BYTES);
    }
    return st;
}

static cygnet_status read_array(const struct json **out, const struct json *object,
                                const char *key, size_t max, const char *where,
                                cygnet_error *err)
{
    *out = json_member(object, key);
    if (!json_is_array(*out))
        return fail(err, CYGNET_EFORMAT, 0, "%s: %s: want an array", where, key);
    if (json_count(*out) > max)
        return fail(err, CYGNET_EFORMAT, 0, "%s: %s: more than %zu", where, key, max);
    return CYGNET_OK;
}

static cygnet_status read_key(struct profile_key *key, const struct json *root,
                              cygnet_error *err)
{
    const char *where = "profile";
    cygnet_status st =
        json_read_string(key->model, sizeof(key->model), root, "model", true, where, err);

    if (st == CYGNET_OK)
        st = json_read_string(key->soc, sizeof(key->soc), root, "soc", true, where, err);
    if (st == CYGNET_OK)
        st = json_read_string(key->engine, sizeof(key->engine), root, "engine", true,
                              where, err);
    return st;
}

static cygnet_status read_cluster(struct soc_cluster *c, const struct json *value,
                                  cygnet_error *err)
{
    const char *where = "profile: clusters";
    cygnet_status st;

    if (!json_is_object(value))
        return fail(err, CYGNET_EFORMAT, 0, "%s: want objects", where);
    st = json_read_string(c->name, sizeof(c->name), value, "name", true, where, err);
    if (st == CYGNET_OK)
        st = json_read_u32(&c->capacity, value, "capacity", 1, 1024, true, where, err);
    if (st == CYGNET_OK)
        st = json_read_u32(&c->n_cores, value, "cores", 1, SOC_MAX_CORES, true, where,
                           err);
    return st;
}

static cygnet_status read_clusters(struct profile *out, const struct json *root,
                                   cygnet_error *err)
{
    const struct json *list;
    uint32_t n_cores = 0;
    cygnet_status st =
        read_array(&list, root, "clusters", SOC_MAX_CLUSTERS, "profile", err);

    if (st != CYGNET_OK)
        return st;
    if (json_count(list) == 0)
        return fail(err, CYGNET_EFORMAT, 0, "profile: clusters: there is none");
    for (const struct json *v = json_at(list, 0); v; v = json_next(v)) {
        struct soc_cluster *c = &out->clusters[out->n_clusters++];

        st = read_cluster(c, v, err);
        if (st != CYGNET_OK)
            return st;
        n_cores += c->n_cores;
        if (n_cores > SOC_MAX_CORES)
            return fail(err, CYGNET_EFORMAT, 0, "profile: clusters: more than %d cores",
                        SOC_MAX_CORES);
    }
    return CYGNET_OK;
}

static cygnet_status read_choice(struct choice *out, const struct profile *profile,
                                 const struct json *entry, cygnet_error *err)
{
    const struct json *list;
    cygnet_status st =
        read_array(&list, entry, "cores", profile->n_clusters, "profile: entries", err);
    size_t k = 0;

    if (st != CYGNET_OK)
        return st;
    for (const struct json *v = json_at(list, 0); v; v = json_next(v), k++) {
        double n = json_number(v, -1);

        if (!(n >= 0 && n <= UINT8_MAX && n <= profile->clusters[k].n_cores) ||
            n != floor(n))
            return fail(err, CYGNET_EFORMAT, 0,
                        "profile: entries: cores: no such number of them");
        out->n_cores[k] = (uint8_t)n;
    }
    if (k != profile->n_clusters || choice_n_threads(out) == 0)
        return fail(err, CYGNET_EFORMAT, 0,
                    "profile: entries: cores: want one number a cluster, not all 0");
    return CYGNET_OK;
}

static cygnet_status read_samples(struct profile_entry *e, const struct json *entry,
                                  cygnet_error *err)
{
    const char *where = "profile: entries";
    const struct json *list;
    cygnet_status st;

    if (!json_member(entry, "ms"))
        return CYGNET_OK;
    st = read_array(&list, entry, "ms", PROFILE_SAMPLES, where, err);
    if (st != CYGNET_OK)
        return st;
    for (const struct json *v = json_at(list, 0); v; v = json_next(v)) {
        double ms = json_number(v, -1);

        if (!(ms > 0 && ms <= MAX_MS))
            return fail(err, CYGNET_EFORMAT, 0, "%s: ms: want times above 0", where);
        e->samples[e->n_samples++] = ms;
    }
    return json_read_u64(&e->n_measured, entry, "n", e->n_samples, JSON_EXACT_MAX, true,
                         where, err);
}

static cygnet_status read_energy(struct profile_energy *out, const struct json *entry,
                                 cygnet_error *err)
{
    const char *where = "profile: entries: energy";
    const struct json *energy;
    char name[16] = "";
    cygnet_status st =
        json_read_object(&energy, entry, "energy", false, "profile: entries", err);

    if (st != CYGNET_OK || !energy)
        return st;
    st = json_read_string(name, sizeof(name), energy, "source", true, where, err);
    if (st == CYGNET_OK &&
        (!energy_source_parse(&out->source, name) || out->source == ENERGY_UNKNOWN))
        st = fail(err, CYGNET_EFORMAT, 0, "%s: source: no such one: %s", where, name);
    if (st == CYGNET_OK)
        st = json_read_u64(&out->n, energy, "n", 1, JSON_EXACT_MAX, true, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&out->mean, energy, "mean_mj", -MAX_MJ, MAX_MJ, true, where,
                              err);
    if (st == CYGNET_OK)
        st = json_read_double(&out->variance, energy, "variance", 0, MAX_MJ * MAX_MJ,
                              true, where, err);
    return st;
}

static cygnet_status read_entry(struct profile *out, const struct json *value,
                                cygnet_error *err)
{
    struct profile_entry *e = &out->entries[out->n_entries];
    cygnet_status st;

    if (!json_is_object(value))
        return fail(err, CYGNET_EFORMAT, 0, "profile: entries: want objects");
    st = read_choice(&e->choice, out, value, err);
    if (st == CYGNET_OK && out->n_entries > 0 &&
        choice_compare_cost(&e[-1].choice, &e->choice) >= 0)
        st = fail(err, CYGNET_EFORMAT, 0, "profile: entries: not in the order of cost");
    if (st == CYGNET_OK)
        st = read_samples(e, value, err);
    if (st == CYGNET_OK)
        st = read_energy(&e->measured, value, err);
    out->n_entries++;
    return st;
}

static cygnet_status read_entries(struct profile *out, const struct json *root,
                                  cygnet_error *err)
{
    const struct json *list;
    cygnet_status st = read_array(&list, root, "entries", CHOICE_MAX, "profile", err);

    if (st != CYGNET_OK)
        return st;
    for (const struct json *v = json_at(list, 0); v; v = json_next(v)) {
        st = read_entry(out, v, err);
        if (st != CYGNET_OK)
            return st;
    }
    return CYGNET_OK;
}

static cygnet_status read_explored(struct profile *out, const struct json *root,
                                   cygnet_error *err)
{
    const char *where = "profile: explored";
    const struct json *explored;
    cygnet_status st =
        json_read_object(&explored, root, "explored", true, "profile", err);

    if (st == CYGNET_OK)
        st = json_read_u64(&out->explored.n_steps, explored, "steps", 0, JSON_EXACT_MAX,
                           true, where, err);
    if (st == CYGNET_OK)
        st = json_read_double(&out->explored.n_lost, explored, "lost", 0, MAX_MS, true,
                              where, err);
    return st;
}

static cygnet_status read_root(struct profile *out, const struct json *root,
                               cygnet_error *err)
{
    uint64_t format;
    cygnet_status st;

    if (!json_is_object(root))
        return fail(err, CYGNET_EFORMAT, 0, "profile: want an object");
    st = json_read_u64(&format, root, "format", 0, JSON_EXACT_MAX, true, "profile", err);
    if (st == CYGNET_OK && format != FORMAT)
        st = fail(err, CYGNET_ENOTFOUND, 0, "profile: written by another version");
    if (st == CYGNET_OK)
        st = read_key(&out->key, root, err);
    if (st == CYGNET_OK)
        st = read_clusters(out, root, err);
    if (st == CYGNET_OK)
        st = read_explored(out, root, err);
    if (st == CYGNET_OK)
        st = read_entries(out, root, err);
    return st;
}

cygnet_status profile_read_value(struct profile *out, const struct json *value,
                                 cygnet_error *err)
{
    cygnet_status st;

    memset(out, 0, sizeof(*out));
    st = read_root(out, value, err);
    if (st == CYGNET_OK)
        profile_update(out);
    return st;
}

cygnet_status profile_read(struct profile *out, const void *text, size_t len,
                           cygnet_error *err)
{
    struct json *root;
    cygnet_status st = json_parse(&root, text, len, &LIMITS, err);

    if (st != CYGNET_OK)
        return st;
    st = profile_read_value(out, root, err);
    json_destroy(root);
    return st;
}

static cygnet_status check_key(const struct profile_key *found,
                               const struct profile_key *want, cygnet_error *err)
{
    const char *part = strcmp(found->model, want->model) != 0     ? "model"
                       : strcmp(found->soc, want->soc) != 0       ? "SoC"
                       : strcmp(found->engine, want->engine) != 0 ? "engine"
                                                                  : NULL;

    if (part)
        return fail(err, CYGNET_ENOTFOUND, 0, "profile: of another %s", part);
    return CYGNET_OK;
}

static bool same_choices(const struct profile *a, const struct profile *b)
{
    if (a->n_entries != b->n_entries || a->n_clusters != b->n_clusters)
        return false;
    for (size_t i = 0; i < a->n_entries; i++) {
        if (!choice_equal(&a->entries[i].choice, &b->entries[i].choice))
            return false;
    }
    return true;
}

cygnet_status profile_parse(struct profile *profile, const void *text, size_t len,
                            const cygnet_allocator *alloc, cygnet_error *err)
{
    struct profile *found = mem_alloc(alloc, sizeof(*found));
    cygnet_status st;

    if (!found)
        return fail(err, CYGNET_ENOMEM, 0, "out of memory for a profile");
    st = profile_read(found, text, len, err);
    if (st == CYGNET_OK)
        st = check_key(&found->key, &profile->key, err);
    if (st == CYGNET_OK && !same_choices(found, profile))
        st = fail(err, CYGNET_ENOTFOUND, 0, "profile: of other execution choices");
    if (st == CYGNET_OK) {
        memcpy(profile->entries, found->entries, sizeof(profile->entries));
        profile->explored = found->explored;
        profile_update(profile);
    }
    mem_free(alloc, found);
    return st;
}
