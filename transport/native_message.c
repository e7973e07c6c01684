/* Writing the native dialect's messages and reading its small answers. */
#include "transport/native_message.h"

#include "base/error.h"
#include "base/json.h"
#include "transport/native_task.h"

#include <math.h>
#include <string.h>

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch)                                                \
    TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

static const char sdk_version[] =
    VERSION_TEXT(CYGNET_VERSION_MAJOR, CYGNET_VERSION_MINOR, CYGNET_VERSION_PATCH);

static void put_names(struct json_builder *b, const char *key, const char *const *names)
{
    if (!names)
        return;
    json_open_array(b, key);
    for (; *names; names++)
        json_put_string(b, NULL, *names);
    json_close(b);
}

static void put_condition(struct json_builder *b, const char *key, cygnet_tristate value)
{
    if (value == CYGNET_UNKNOWN)
        json_put_null(b, key);
    else
        json_put_bool(b, key, value == CYGNET_TRUE);
}

static void put_device(struct json_builder *b, const cygnet_check_in *hello)
{
    const cygnet_device_state *device = &hello->device;

    json_open_object(b, "device");
    if (hello->n_cpus > 0)
        json_put_u64(b, "cpus", hello->n_cpus);
    put_condition(b, "charging", device->charging);
    put_condition(b, "idle", device->idle);
    put_condition(b, "unmetered", device->unmetered);
    if (device->battery_percent >= 0)
        json_put_u64(b, "battery_percent", (uint64_t)device->battery_percent);
    else
        json_put_null(b, "battery_percent");
    json_close(b);
}

static void put_last_round(struct json_builder *b, const cygnet_check_in *hello)
{
    if (hello->last_round == 0)
        return;
    json_open_object(b, "last_round");
    json_put_u64(b, "round", hello->last_round);
    json_put_double(b, "utility", hello->last_utility);
    json_put_double(b, "samples_per_s", hello->samples_per_s);
    json_close(b);
}

cygnet_status native_check_in_write(struct bytes *out, const cygnet_check_in *hello,
                                    cygnet_error *err)
{
    static const char *const formats[] = {"safetensors", NULL};
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "population", hello->population);
    json_put_string(b, "client_id", hello->client_id);
    json_put_string(b, "sdk_version", sdk_version);
    json_open_object(b, "capabilities");
    put_names(b, "architectures", hello->architectures);
    put_names(b, "codecs", hello->codecs);
    put_names(b, "formats", formats);
    json_put_u64(b, "max_model_bytes",
                 hello->max_model_bytes < JSON_EXACT_MAX ? hello->max_model_bytes
                                                         : JSON_EXACT_MAX);
    json_close(b);
    put_device(b, hello);
    if (hello->n_examples > 0)
        json_put_u64(b, "examples", hello->n_examples);
    put_last_round(b, hello);
    json_close(b);
    return json_build_finish(b, out, err);
}

/* The wire's names of the outcomes; they do not change when C's do. */
static const char *outcome_word(cygnet_outcome outcome)
{
    switch (outcome) {
    case CYGNET_OUTCOME_COMPLETED:
        return "completed";
    case CYGNET_OUTCOME_NOT_ELIGIBLE:
        return "not_eligible";
    case CYGNET_OUTCOME_DECLINED:
        return "declined";
    case CYGNET_OUTCOME_TOO_LATE:
        return "too_late";
    case CYGNET_OUTCOME_ABORTED:
        return "aborted";
    case CYGNET_OUTCOME_INTERRUPTED:
        return "interrupted";
    case CYGNET_OUTCOME_FINISHED:
        return "finished";
    case CYGNET_OUTCOME_EVALUATED:
        return "evaluated";
    case CYGNET_OUTCOME_NONE:
    case CYGNET_OUTCOME_FAILED:
        break;
    }
    return "failed";
}

cygnet_status native_report_write(struct bytes *out, const cygnet_round_report *report,
                                  cygnet_error *err)
{
    struct json_builder *b = json_build();

    json_open_object(b, NULL);
    json_put_string(b, "outcome", outcome_word(report->outcome));
    json_put_string(b, "reason", report->reason ? report->reason : "");
    json_open_object(b, "metrics");
    json_put_double(b, "loss_first", report->loss_first);
    json_put_double(b, "loss_last", report->loss_last);
    json_put_double(b, "accuracy", report->accuracy);
    json_put_u64(b, "examples", report->examples);
    json_put_u64(b, "steps", report->steps);
    json_put_double(b, "utility", report->utility);
    json_put_u64(b, "train_ms", report->train_ms > 0 ? (uint64_t)report->train_ms : 0);
    json_put_u64(b, "bytes_up", report->bytes_up);
    json_put_u64(b, "bytes_down", report->bytes_down);
    json_close(b);
    json_close(b);
    return json_build_finish(b, out, err);
}

/* The length without its last UTF-8 character, which may be incomplete. */
static size_t cut_character(const char *text, size_t len)
{
    while (len > 0 && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
        len--;
    if (len > 0 && (unsigned char)text[len - 1] >= 0xc0)
        len--;
    return len;
}

/* Drops what could break a log line or a terminal and cuts whole UTF-8
 * characters. */
static void clean_copy(char *out, size_t size, const char *text)
{
    size_t len = 0;

    for (; *text && len + 1 < size; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == 0xc2 && (unsigned char)text[1] >= 0x80 &&
            (unsigned char)text[1] < 0xa0) {
            text++; /* a C1 control character */
            c = ' ';
        }
        out[len++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    if (*text)
        len = cut_character(out, len);
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
}

void native_error_read(char out[NATIVE_ERROR_TEXT_BYTES], const void *body, size_t len)
{
    struct json *document = NULL;
    const struct json *error;

    out[0] = '\0';
    if (len == 0 ||
        json_parse(&document, body, len, &JSON_DEFAULT_LIMITS, NULL) != CYGNET_OK)
        return;
    error = json_is_object(document) ? json_member(document, "error") : NULL;
    if (error && json_is_object(error))
        clean_copy(out, NATIVE_ERROR_TEXT_BYTES,
                   json_text(json_member(error, "message"), ""));
    json_destroy(document);
}

cygnet_status native_lease_read(uint32_t *out, const void *body, size_t len,
                                cygnet_error *err)
{
    struct json *document = NULL;
    uint32_t lease_s = 0;
    cygnet_status st = json_parse(&document, body, len, &JSON_DEFAULT_LIMITS, err);

    if (st == CYGNET_OK)
        st = json_read_u32(&lease_s, document, "lease_s", 0, NATIVE_MAX_SECONDS, true,
                           "lease", err);
    json_destroy(document);
    if (st != CYGNET_OK)
        return fail_within(err, st, "answer to the lease");
    *out = lease_s;
    return CYGNET_OK;
}
