/* Whether each option is within its documented range. */
#include "sdk/options_check.h"

#include "base/error.h"
#include "base/sized.h"
#include "engine/pool/pool.h"
#include "sdk/options.h"
#include "transport/transport.h"

#include <cygnet/sys/coordinator.h>
#include <cygnet/sys/http.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static cygnet_status check_server_url(const cygnet_options *options, cygnet_error *err)
{
    struct url url;
    cygnet_status st;

    if (options->coordinator && !options->server_url)
        return CYGNET_OK;
    if (!options->server_url || options->server_url[0] == '\0')
        return fail(err, CYGNET_EINVAL, 0,
                    "server_url: is required (\"https://host[:port][/prefix]\")");
    if (fedscale_is_url(options->server_url)) {
        st = fedscale_url_parse(&url, options->server_url, err);
        return st == CYGNET_OK ? st : fail_within(err, st, "server_url");
    }
    st = url_parse(&url, options->server_url, err);
    if (st == CYGNET_OK)
        st = url_check_allowed(&url, options->allow_loopback_http, err);
    return st == CYGNET_OK ? st : fail_within(err, st, "server_url");
}

/* Each part between slashes becomes part of URLs, so "", "." and ".." are out. */
static bool part_is_bad(const char *part, size_t len)
{
    return len == 0 || (len == 1 && part[0] == '.') ||
           (len == 2 && part[0] == '.' && part[1] == '.');
}

static cygnet_status check_population(const cygnet_options *options, cygnet_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-/";
    const char *population = options->population;
    size_t len = population ? strlen(population) : 0;

    if (len == 0)
        return fail(err, CYGNET_EINVAL, 0, "population: is required");
    if (len > OPTIONS_POPULATION_MAX)
        return fail(err, CYGNET_EINVAL, 0, "population: has %zu bytes, at most %d pass",
                    len, OPTIONS_POPULATION_MAX);
    if (strspn(population, allowed) != len)
        return fail(err, CYGNET_EINVAL, 0,
                    "population: byte %zu is none of letters, digits and \"._-/\"",
                    strspn(population, allowed));
    for (const char *part = population;; part += strcspn(part, "/") + 1) {
        if (part_is_bad(part, strcspn(part, "/")))
            return fail(err, CYGNET_EINVAL, 0,
                        "population: \"%s\" has an empty, \".\" or \"..\" part",
                        population);
        if (part[strcspn(part, "/")] == '\0')
            return CYGNET_OK;
    }
}

static cygnet_status check_path(const char *name, const char *path, cygnet_error *err)
{
    if (!path)
        return CYGNET_OK;
    if (path[0] == '\0')
        return fail(err, CYGNET_EINVAL, 0, "%s: is empty", name);
    if (strlen(path) > OPTIONS_PATH_MAX)
        return fail(err, CYGNET_EINVAL, 0, "%s: is longer than %d bytes", name,
                    OPTIONS_PATH_MAX);
    return CYGNET_OK;
}

static cygnet_status check_paths(const cygnet_options *options, cygnet_error *err)
{
    cygnet_status st = check_path("state_dir", options->state_dir, err);

    if (st == CYGNET_OK)
        st = check_path("cache_dir", options->cache_dir, err);
    if (st == CYGNET_OK)
        st = check_path("ca_file", options->ca_file, err);
    if (st == CYGNET_OK && options->state_dir && options->cache_dir &&
        strcmp(options->state_dir, options->cache_dir) == 0)
        st = fail(err, CYGNET_EINVAL, 0,
                  "cache_dir: is the same as state_dir, which must not be emptied");
    return st;
}

static cygnet_status check_requirement(const char *name, cygnet_requirement value,
                                       cygnet_error *err)
{
    int64_t number = (int64_t)value;

    if (number < CYGNET_IGNORED || number > CYGNET_REQUIRED)
        return fail(err, CYGNET_EINVAL, 0,
                    "%s: %" PRId64 " is neither ignored, preferred nor required", name,
                    number);
    return CYGNET_OK;
}

static cygnet_status check_eligibility(const cygnet_options *options, cygnet_error *err)
{
    cygnet_status st = check_requirement("charging", options->charging, err);

    if (st == CYGNET_OK)
        st = check_requirement("idle", options->idle, err);
    if (st == CYGNET_OK)
        st = check_requirement("unmetered", options->unmetered, err);
    if (st == CYGNET_OK &&
        (options->min_battery_percent < 0 || options->min_battery_percent > 100))
        st = fail(err, CYGNET_EINVAL, 0, "min_battery_percent: %d is not in 0..100",
                  (int)options->min_battery_percent);
    return st;
}

static cygnet_status check_numbers(const cygnet_options *options, cygnet_error *err)
{
    if (options->allow_loopback_http != 0 && options->allow_loopback_http != 1)
        return fail(err, CYGNET_EINVAL, 0, "allow_loopback_http: %d is not 0 or 1",
                    (int)options->allow_loopback_http);
    if (options->n_threads > POOL_MAX_THREADS)
        return fail(err, CYGNET_EINVAL, 0, "n_threads: %u is not in 0..%d",
                    (unsigned)options->n_threads, POOL_MAX_THREADS);
    if (options->policy < CYGNET_POLICY_SWAN || options->policy > CYGNET_POLICY_TASK)
        return fail(err, CYGNET_EINVAL, 0, "policy: %d is none", (int)options->policy);
    if (options->full_priority != 0 && options->full_priority != 1)
        return fail(err, CYGNET_EINVAL, 0, "full_priority: %d is not 0 or 1",
                    (int)options->full_priority);
    if (options->max_model_bytes == 0)
        return fail(err, CYGNET_EINVAL, 0, "max_model_bytes: is 0");
    if (options->max_cache_bytes == 0)
        return fail(err, CYGNET_EINVAL, 0, "max_cache_bytes: is 0");
    return CYGNET_OK;
}

static cygnet_status check_energy(const cygnet_options *options, cygnet_error *err)
{
    int64_t mode = (int64_t)options->energy_mode;

    if (mode < CYGNET_ENERGY_PLUGGED || mode > CYGNET_ENERGY_LOAN)
        return fail(err, CYGNET_EINVAL, 0,
                    "energy_mode: %" PRId64 " is neither plugged nor loan", mode);
    if (options->power_model && strlen(options->power_model) > OPTIONS_POWER_MODEL_MAX)
        return fail(err, CYGNET_EINVAL, 0, "power_model: is longer than %d bytes",
                    OPTIONS_POWER_MODEL_MAX);
    if (options->battery_mwh > 1000000)
        return fail(err, CYGNET_EINVAL, 0, "battery_mwh: %u is not in 0..1000000",
                    (unsigned)options->battery_mwh);
    if (options->gauge_unit_ua > 1000000)
        return fail(err, CYGNET_EINVAL, 0, "gauge_unit_ua: %u is not in 0..1000000",
                    (unsigned)options->gauge_unit_ua);
    return CYGNET_OK;
}

cygnet_status options_check_hooks(const cygnet_host *host, cygnet_error *err)
{
    if (!host->data_open || !host->data_read || !host->data_close)
        return fail(err, CYGNET_EINVAL, 0, "host: %s has no default and is NULL",
                    !host->data_open   ? "data_open"
                    : !host->data_read ? "data_read"
                                       : "data_close");
    return CYGNET_OK;
}

static cygnet_status check_http(const cygnet_options *options, cygnet_error *err)
{
    static const struct sized type = {"http", sizeof(cygnet_http),
                                      SIZED_UP_TO(cygnet_http, perform),
                                      _Alignof(cygnet_http)};
    const struct cygnet_http *http = options->http;
    cygnet_status st;

    if (!http)
        return CYGNET_OK;
    st = sized_check(http->struct_size, &type, err);
    if (st == CYGNET_OK && !http->perform)
        st = fail(err, CYGNET_EINVAL, 0, "http: perform is NULL");
    return st;
}

static cygnet_status check_coordinator(const cygnet_options *options, cygnet_error *err)
{
    static const struct sized type = {"coordinator", sizeof(cygnet_coordinator),
                                      SIZED_UP_TO(cygnet_coordinator, retry_after_s),
                                      _Alignof(cygnet_coordinator)};
    const struct cygnet_coordinator *c = options->coordinator;
    cygnet_status st;

    if (!c)
        return CYGNET_OK;
    st = sized_check(c->struct_size, &type, err);
    if (st == CYGNET_OK && (!c->check_in || !c->fetch || !c->upload))
        st = fail(err, CYGNET_EINVAL, 0, "coordinator: %s is NULL",
                  !c->check_in ? "check_in"
                  : !c->fetch  ? "fetch"
                               : "upload");
    return st;
}

static cygnet_status check_allocator(const cygnet_options *options, cygnet_error *err)
{
    const cygnet_allocator *alloc = options->allocator;

    if (alloc && (!alloc->resize || !alloc->release))
        return fail(err, CYGNET_EINVAL, 0, "allocator: %s is NULL",
                    !alloc->resize ? "resize" : "release");
    return CYGNET_OK;
}

cygnet_status options_check(const cygnet_options *options, cygnet_error *err)
{
    static cygnet_status (*const checks[])(const cygnet_options *, cygnet_error *) = {
        check_numbers, check_server_url,  check_population,
        check_paths,   check_eligibility, check_energy,
        check_http,    check_coordinator, check_allocator,
    };
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks) && st == CYGNET_OK; i++)
        st = checks[i](options, err);
    if (st == CYGNET_OK && !options->host)
        st = fail(err, CYGNET_EINVAL, 0, "host: is required");
    return st;
}
