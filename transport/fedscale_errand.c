/* An errand of the aggregator's on disk: its weights with what is to be done with them
 * in one safetensors file, and beside it the permit to answer, which goes before the
 * first byte of the answer does. */
#include "base/crypto.h"
#include "base/error.h"
#include "transport/fedscale_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES (1u << 24) /* of safetensors */
#define NUMBER_BYTES 32

/* ---- Metadata ---------------------------------------------------------------- */

static const char *event_name(enum fedscale_event event)
{
    return event == FEDSCALE_CLIENT_TRAIN ? "client_train" : "model_test";
}

static cygnet_status describe(cygnet_tensors *weights,
                              const struct fedscale_errand *errand, cygnet_error *err)
{
    const struct fedscale_meta *meta = &errand->meta;
    double learning_rate = meta->has_lr ? meta->lr : -1.0;
    uint64_t bits;
    char lr[NUMBER_BYTES];
    char number[NUMBER_BYTES];
    const char *const pairs[][2] = {
        {"event", event_name(errand->event)},
        {"token", errand->token},
        {"executor_id", errand->id},
        {"client_id", meta->client_id_is_int ? number : meta->client_id},
        {"client_id_type", meta->client_id_is_int ? "int" : "str"},
        {"learning_rate", lr},
    };
    cygnet_status st = CYGNET_OK;

    (void)snprintf(number, sizeof(number), "%" PRId64, meta->client_id_int);
    memcpy(&bits, &learning_rate, sizeof(bits));
    (void)snprintf(lr, sizeof(lr), "%016" PRIx64, bits);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]) && st == CYGNET_OK; i++)
        st = cygnet_tensors_set_metadata(weights, pairs[i][0], pairs[i][1], err);
    return st;
}

static bool copy_text(char *out, size_t size, const char *text)
{
    return text && (size_t)snprintf(out, size, "%s", text) < size;
}

static bool read_meta(struct fedscale_meta *meta, const cygnet_tensors *weights)
{
    const char *type = cygnet_tensors_metadata(weights, "client_id_type");
    const char *lr = cygnet_tensors_metadata(weights, "learning_rate");
    uint64_t bits;

    if (!type || !lr ||
        !copy_text(meta->client_id, sizeof(meta->client_id),
                   cygnet_tensors_metadata(weights, "client_id")))
        return false;
    meta->client_id_is_int = strcmp(type, "int") == 0;
    if (meta->client_id_is_int)
        meta->client_id_int = strtoll(meta->client_id, NULL, 10);
    bits = strtoull(lr, NULL, 16);
    memcpy(&meta->lr, &bits, sizeof(bits));
    meta->has_lr = meta->lr >= 0.0;
    return true;
}

static bool read_errand(struct fedscale_errand *out, const cygnet_tensors *weights)
{
    const char *event = cygnet_tensors_metadata(weights, "event");

    *out = (struct fedscale_errand){.event = FEDSCALE_DUMMY};
    if (!event ||
        !copy_text(out->token, sizeof(out->token),
                   cygnet_tensors_metadata(weights, "token")) ||
        !copy_text(out->id, sizeof(out->id),
                   cygnet_tensors_metadata(weights, "executor_id")) ||
        !read_meta(&out->meta, weights))
        return false;
    if (strcmp(event, event_name(FEDSCALE_CLIENT_TRAIN)) == 0)
        out->event = FEDSCALE_CLIENT_TRAIN;
    else if (strcmp(event, event_name(FEDSCALE_MODEL_TEST)) == 0)
        out->event = FEDSCALE_MODEL_TEST;
    return out->event != FEDSCALE_DUMMY;
}

/* ---- Files ------------------------------------------------------------------- */

static cygnet_status save(const struct fedscale *f, const struct fedscale_errand *errand,
                          cygnet_error *err)
{
    struct store *store = f->config.store;
    const char *token = errand->token;
    void *data;
    size_t len;
    cygnet_status st = describe(f->weights, errand, err);

    if (st == CYGNET_OK)
        st = cygnet_tensors_serialize(&data, &len, f->weights, err);
    if (st != CYGNET_OK)
        return st;
    st = store_replace(store, FEDSCALE_RECEIVED_FILE, data, len, err);
    cygnet_tensors_free_bytes(f->weights, data);
    if (st == CYGNET_OK)
        st = store_replace(store, FEDSCALE_PERMIT_FILE, token, strlen(token), err);
    return st;
}

static cygnet_status load(cygnet_tensors **out, struct fedscale_errand *errand,
                          const struct fedscale *f, cygnet_error *err)
{
    struct bytes file;
    cygnet_status st;

    *out = NULL;
    bytes_init(&file, (size_t)f->config.max_model_bytes + MAX_HEADER_BYTES,
               f->config.alloc);
    st = store_read(f->config.store, &file, FEDSCALE_RECEIVED_FILE, err);
    if (st == CYGNET_OK)
        st = cygnet_tensors_parse(out, file.data, file.len, f->config.max_model_bytes,
                                  f->config.alloc, err);
    bytes_clear(&file);
    if (st == CYGNET_OK && !read_errand(errand, *out)) {
        cygnet_tensors_destroy(*out);
        *out = NULL;
        st = fail(err, CYGNET_EFORMAT, 0, "\"%s\" does not say what it is for",
                  FEDSCALE_RECEIVED_FILE);
    }
    return st;
}

/* Whose answer is due; "": nobody's. */
static cygnet_status read_permit(char token[FEDSCALE_TOKEN_BYTES],
                                 const struct fedscale *f, cygnet_error *err)
{
    struct bytes file;
    cygnet_status st;

    token[0] = '\0';
    bytes_init(&file, FEDSCALE_TOKEN_BYTES - 1, f->config.alloc);
    st = store_read(f->config.store, &file, FEDSCALE_PERMIT_FILE, err);
    if (st == CYGNET_OK) {
        memcpy(token, file.data, file.len);
        token[file.len] = '\0';
    }
    bytes_clear(&file);
    return st == CYGNET_ENOTFOUND || st == CYGNET_ELIMIT ? CYGNET_OK : st;
}

/* ---- The errand ---------------------------------------------------------------- */

static cygnet_status draw_token(char token[FEDSCALE_TOKEN_BYTES], cygnet_error *err)
{
    uint8_t bytes[(FEDSCALE_TOKEN_BYTES - 1) / 2];
    cygnet_status st = random_bytes(bytes, sizeof(bytes), err);

    if (st == CYGNET_OK)
        hex_encode(token, bytes, sizeof(bytes));
    return st;
}

cygnet_status fedscale_accept(struct fedscale *f, enum fedscale_event event,
                              const struct fedscale_meta *meta, cygnet_error *err)
{
    struct fedscale_errand errand = {.event = event, .meta = *meta};
    cygnet_status st;

    if (!f->weights)
        return fail(err, CYGNET_EPROTOCOL, 0,
                    "the aggregator asks for %s and has sent no weights",
                    event_name(event));
    (void)snprintf(errand.id, sizeof(errand.id), "%s", f->id);
    st = draw_token(errand.token, err);
    if (st == CYGNET_OK)
        st = save(f, &errand, err);
    if (st != CYGNET_OK) {
        f->unsaved = errand;
        return st;
    }
    f->errand = errand;
    f->paired = true;
    f->stale = false;
    return CYGNET_OK;
}

cygnet_status fedscale_forget(struct fedscale *f, cygnet_error *err)
{
    cygnet_tensors_destroy(f->weights);
    f->weights = NULL;
    f->errand = (struct fedscale_errand){.event = FEDSCALE_DUMMY};
    f->paired = false;
    f->unsaved = f->errand;
    f->stale = false;
    return store_remove(f->config.store, FEDSCALE_PERMIT_FILE, err);
}

cygnet_status fedscale_take_up(struct fedscale *f, cygnet_error *err)
{
    char token[FEDSCALE_TOKEN_BYTES];
    struct fedscale_errand errand;
    cygnet_tensors *weights;
    cygnet_error why;
    cygnet_status st = read_permit(token, f, err);

    if (st != CYGNET_OK || token[0] == '\0' || strcmp(token, f->errand.token) == 0)
        return st;
    st = load(&weights, &errand, f, &why);
    cygnet_tensors_destroy(weights);
    if (st == CYGNET_OK && strcmp(errand.token, token) == 0 &&
        strcmp(errand.id, f->id) == 0) {
        f->errand = errand;
        f->stale = true;
    }
    if (st == CYGNET_OK || st == CYGNET_ENOTFOUND)
        return CYGNET_OK;
    if (st != CYGNET_EFORMAT && st != CYGNET_ELIMIT) {
        if (err)
            *err = why;
        return st;
    }
    log_line(f->config.log, LOG_DEBUG, "fedscale: what was received is lost: %s",
             why.message);
    return CYGNET_OK;
}

/* From disk. The first after a restart says who we are, but not to whom: it may be
 * another aggregator now. */
static cygnet_status recall(cygnet_tensors **out, struct fedscale *f, const char *token,
                            cygnet_error *err)
{
    struct fedscale_errand errand;
    cygnet_status st = load(out, &errand, f, err);

    if (st == CYGNET_OK && strcmp(errand.token, token) != 0)
        st = fail(err, CYGNET_ENOTFOUND, 0,
                  "the weights of the task at hand are no longer there");
    if (st != CYGNET_OK) {
        cygnet_tensors_destroy(*out);
        *out = NULL;
        return st;
    }
    f->stale = f->stale || strcmp(f->errand.token, token) != 0;
    f->errand = errand;
    if (f->id[0] == '\0')
        memcpy(f->id, errand.id, sizeof(f->id));
    return CYGNET_OK;
}

cygnet_status fedscale_errand_weights(cygnet_tensors **out, struct fedscale *f,
                                      const char *token, cygnet_error *err)
{
    bool is_at_hand = strcmp(token, f->errand.token) == 0;
    cygnet_status st;

    if (is_at_hand && f->paired && f->weights) {
        *out = f->weights;
        f->weights = NULL;
        return CYGNET_OK;
    }
    st = recall(out, f, token, err);
    if (is_at_hand && (st == CYGNET_ENOTFOUND || st == CYGNET_EFORMAT))
        f->errand.event = FEDSCALE_DUMMY; /* not to be offered again */
    return st;
}

cygnet_status fedscale_is_due(const struct fedscale *f, const char *token,
                              cygnet_error *err)
{
    char due[FEDSCALE_TOKEN_BYTES];
    cygnet_status st = read_permit(due, f, err);

    if (st == CYGNET_OK && strcmp(due, token) != 0)
        st = fail(err, CYGNET_ESTATE, 0,
                  "an answer to this task may have been sent; it is not sent again");
    return st;
}

cygnet_status fedscale_spend_permit(struct fedscale *f, const char *token,
                                    cygnet_error *err)
{
    cygnet_status st = fedscale_is_due(f, token, err);

    return st == CYGNET_OK ? store_remove(f->config.store, FEDSCALE_PERMIT_FILE, err)
                           : st;
}

void fedscale_return_permit(struct fedscale *f, const struct fedscale_errand *errand)
{
    (void)store_replace(f->config.store, FEDSCALE_PERMIT_FILE, errand->token,
                        strlen(errand->token), NULL);
    f->errand = *errand;
    f->stale = true;
}
