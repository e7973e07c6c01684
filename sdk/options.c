/* The options and hooks: their defaults, and the client's own copy of them. */
#include "sdk/options.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sized.h"
#include "sdk/host_linux.h"
#include "sdk/job.h"
#include "sdk/options_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define N_STRINGS 6

static const struct sized options_type = {"options", sizeof(cygnet_options),
                                          SIZED_UP_TO(cygnet_options, host),
                                          _Alignof(cygnet_options)};

static const struct sized host_type = {"host", sizeof(cygnet_host),
                                       SIZED_UP_TO(cygnet_host, user),
                                       _Alignof(cygnet_host)};

void cygnet_host_init(cygnet_host *host)
{
    *host = (cygnet_host){.struct_size = sizeof(*host)};
}

void cygnet_options_init(cygnet_options *options)
{
    *options = (cygnet_options){
        .struct_size = sizeof(*options),
        .charging = CYGNET_REQUIRED,
        .idle = CYGNET_PREFERRED,
        .unmetered = CYGNET_REQUIRED,
        .max_model_bytes = 256 * MIB,
        .max_cache_bytes = 512 * MIB,
        .policy = CYGNET_POLICY_TASK,
    };
}

void cygnet_report_init(cygnet_report *report)
{
    *report = (cygnet_report){
        .struct_size = sizeof(*report),
        .loss_first = (double)NAN,
        .loss_last = (double)NAN,
        .accuracy = (double)NAN,
    };
}

/* The folder that XDG gives to state. Relative values are to be ignored.
 * Source: XDG Base Directory Specification 0.8. */
static cygnet_status append_state_home(struct bytes *path, cygnet_error *err)
{
    const char *state_home = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");

    if (state_home && state_home[0] == '/')
        return bytes_printf(path, err, "%s", state_home);
    if (home && home[0] == '/')
        return bytes_printf(path, err, "%s/.local/state", home);
    return fail(err, CYGNET_EINVAL, 0,
                "state_dir: is not given, and neither XDG_STATE_HOME nor HOME is set");
}

/* "/" in a population becomes "+", so that no population's folder is in another's. */
static cygnet_status append_default_state_dir(struct bytes *path, const char *population,
                                              cygnet_error *err)
{
    cygnet_status st = append_state_home(path, err);

    if (st == CYGNET_OK)
        st = bytes_append(path, "/cygnet/", strlen("/cygnet/"), err);
    for (const char *c = population; st == CYGNET_OK && *c; c++)
        st = bytes_append(path, *c == '/' ? "+" : c, 1, err);
    return st;
}

/* Copies the text of `path` into *out. */
static cygnet_status keep_path(const char **out, struct bytes *path,
                               const cygnet_allocator *alloc, cygnet_error *err)
{
    const char *text = bytes_text(path);

    if (text)
        *out = mem_strdup(alloc, text);
    return *out ? CYGNET_OK : fail(err, CYGNET_ENOMEM, 0, "no memory for the options");
}

static cygnet_status fill_directories(cygnet_options *options, cygnet_error *err)
{
    const cygnet_allocator *alloc = options->allocator;
    struct bytes path;
    cygnet_status st = CYGNET_OK;

    bytes_init(&path, OPTIONS_PATH_MAX + sizeof("/cache"), alloc);
    if (!options->state_dir) {
        st = append_default_state_dir(&path, options->population, err);
        if (st == CYGNET_OK)
            st = keep_path(&options->state_dir, &path, alloc, err);
    }
    if (st == CYGNET_OK && !options->cache_dir) {
        bytes_reset(&path);
        st = bytes_printf(&path, err, "%s/cache", options->state_dir);
        if (st == CYGNET_OK)
            st = keep_path(&options->cache_dir, &path, alloc, err);
    }
    bytes_clear(&path);
    return st;
}

/* The strings, in one place for copying and for freeing. */
static void list_strings(const char **strings[N_STRINGS], cygnet_options *options)
{
    strings[0] = &options->server_url;
    strings[1] = &options->population;
    strings[2] = &options->state_dir;
    strings[3] = &options->cache_dir;
    strings[4] = &options->ca_file;
    strings[5] = &options->power_model;
}

/* Replaces each borrowed string with a copy; those that got none become NULL. */
static cygnet_status copy_strings(cygnet_options *options, cygnet_error *err)
{
    const char **strings[N_STRINGS];
    cygnet_status st = CYGNET_OK;

    list_strings(strings, options);
    for (size_t i = 0; i < N_STRINGS; i++) {
        const char *text = *strings[i];

        *strings[i] =
            text && st == CYGNET_OK ? mem_strdup(options->allocator, text) : NULL;
        if (text && st == CYGNET_OK && !*strings[i])
            st = fail(err, CYGNET_ENOMEM, 0, "no memory for the options");
    }
    return st;
}

cygnet_status options_adopt(cygnet_options *out, cygnet_host *host,
                            const cygnet_options *given, cygnet_error *err)
{
    cygnet_options all;
    cygnet_status st;

    *out = (cygnet_options){0};
    cygnet_options_init(&all);
    cygnet_host_init(host);
    st = sized_adopt(&all, given, &options_type, err);
    if (st == CYGNET_OK)
        st = options_check(&all, err);
    if (st == CYGNET_OK)
        st = sized_adopt(host, all.host, &host_type, err);
    if (st == CYGNET_OK)
        st = options_check_hooks(host, err);
    if (st != CYGNET_OK)
        return st;

    linux_fill_host(host);
    all.host = host;
    *out = all;
    out->job = NULL;
    st = copy_strings(out, err);
    if (st == CYGNET_OK)
        st = job_adopt(&out->job, all.job, all.allocator, err);
    return st == CYGNET_OK ? fill_directories(out, err) : st;
}

void options_clear(cygnet_options *options)
{
    const char **strings[N_STRINGS];
    const cygnet_allocator *alloc = options->allocator;

    list_strings(strings, options);
    for (size_t i = 0; i < N_STRINGS; i++) {
        /* Ours: copied by copy_strings or keep_path. */
        mem_free(alloc, (void *)(uintptr_t)*strings[i]);
        *strings[i] = NULL;
    }
    job_destroy(options->job, alloc);
    options->job = NULL;
}
