/* See energy.h. */
#include "sdk/energy.h"

#include "base/error.h"
#include "base/json.h"

#include <string.h>

#define ROOT "/"

/* ---- The meter --------------------------------------------------------------- */

static int ask_host(struct energy_figure *out, void *user)
{
    const struct client_energy *energy = user;
    cygnet_energy_figure figure = {
        .struct_size = sizeof(figure),
        .total_uj = out->total_uj,
        .power_uw = out->power_uw,
    };
    int code = energy->host->energy(&figure, energy->host->user);

    *out = (struct energy_figure){
        .total_uj = figure.total_uj,
        .power_uw = figure.power_uw,
        .resolution_uj = figure.resolution_uj,
        .period_ms = figure.period_ms,
    };
    return code;
}

static cygnet_status parse_model(struct energy_model *out, const char *text,
                                 const struct soc *soc, cygnet_error *err)
{
    struct json *document;
    cygnet_status st =
        json_parse(&document, text, strlen(text), &JSON_DEFAULT_LIMITS, err);

    if (st != CYGNET_OK)
        return st;
    st = energy_model_read(out, document, soc, "model", err);
    json_destroy(document);
    return st;
}

static cygnet_status read_model(struct client_energy *energy, cygnet_error *err)
{
    struct soc soc;
    cygnet_status st = soc_read(&soc, ROOT, err);

    if (st != CYGNET_OK)
        return st;
    st = parse_model(&energy->model, energy->options->power_model, &soc, err);
    if (st == CYGNET_OK || st == CYGNET_ENOMEM)
        return st;
    err->status = CYGNET_EINVAL;
    return fail_within(err, CYGNET_EINVAL, "power_model");
}

cygnet_status energy_prepare(struct client_energy *energy, struct energy_options *out,
                             const cygnet_options *options, const cygnet_host *host,
                             cygnet_error *err)
{
    energy->options = options;
    energy->host = host;
    *out = (struct energy_options){
        .mode = options->energy_mode,
        .gauge_unit_ua = options->gauge_unit_ua,
        .hook = host->energy ? ask_host : NULL,
        .user = energy,
    };
    if (!options->power_model)
        return CYGNET_OK;
    out->model = &energy->model;
    return read_model(energy, err);
}

/* ---- The loan ---------------------------------------------------------------- */

static void read_battery(struct battery *out, void *user)
{
    const struct client_energy *energy = user;

    battery_read(out, ROOT, energy->options->gauge_unit_ua);
}

static void mark_draw(void *user)
{
    swan_mark_draw(((struct client_energy *)user)->swan);
}

static void look_at_draw(struct swan_draw *out, void *user)
{
    swan_look_at_draw(out, ((struct client_energy *)user)->swan);
}

cygnet_status energy_join(struct client_energy *energy, struct swan *swan,
                          struct store *state, cygnet_error *err)
{
    const cygnet_options *options = energy->options;
    struct loan_options limits;
    cygnet_status st;

    energy->swan = swan;
    energy->supply = (struct supply){
        .capacity_mj = options->battery_mwh * 3600.0,
        .budget_mj = (double)options->max_round_mj,
        .battery = read_battery,
        .mark = mark_draw,
        .draw = look_at_draw,
        .user = energy,
    };
    if (options->energy_mode != CYGNET_ENERGY_LOAN)
        return CYGNET_OK;
    energy->supply.loan = &energy->loan;
    loan_options_init(&limits);
    st = loan_open(&energy->loan, &limits, state, options->allocator, err);
    return st == CYGNET_EFORMAT
               ? fail_within(err, st, "state_dir %.100s", options->state_dir)
               : st;
}
