/* The JSON report of a run. */
#include "summary.h"
#include "complain.h"
#include "file.h"
#include "table.h"

#include <cygnet/cygnet.h>
#include <math.h>
#include <mbedtls/md.h>
#include <stdio.h>
#include <stdlib.h>

#define MODEL_MAX_BYTES ((size_t)1 << 30)

cygnet_status summary_hash(char out[65], const char *path, cygnet_error *err)
{
    unsigned char digest[32];
    uint8_t *data;
    size_t len;
    cygnet_status st = file_read(&data, &len, path, MODEL_MAX_BYTES, err);

    if (st != CYGNET_OK)
        return st;
    if (mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), data, len, digest) != 0)
        st = complain(err, CYGNET_EUNSUPPORTED, 0, "mbedTLS has no SHA-256");
    free(data);
    for (size_t i = 0; i < sizeof(digest) && st == CYGNET_OK; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return st;
}

static void put_text(FILE *file, const char *name, const char *text)
{
    fprintf(file, ",\n  \"%s\": \"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

static void put_value(FILE *file, const char *before, double value)
{
    if (isfinite(value))
        fprintf(file, "%s%.9g", before, value);
    else
        fprintf(file, "%snull", before);
}

static void put_row(FILE *file, const struct round_row *row)
{
    fprintf(file, "    {\"round\": %u, \"participants\": %u, \"failed\": %u", row->round,
            row->participants, row->failed);
    put_value(file, ", \"loss\": ", row->loss);
    put_value(file, ", \"accuracy\": ", row->accuracy);
    fprintf(file, ", \"bytes_up\": %llu, \"bytes_down\": %llu",
            (unsigned long long)row->bytes_up, (unsigned long long)row->bytes_down);
    put_value(file, ", \"seconds\": ", row->seconds);
    fputs("}", file);
}

static double last_accuracy(const struct status *status)
{
    return status->n_rows > 0 ? status->rows[status->n_rows - 1].accuracy : NAN;
}

static void put_settings(FILE *file, const struct fleet_options *o)
{
    fprintf(file, ",\n  \"clients\": %u,\n  \"participants\": %u", o->clients,
            o->participants);
    put_text(file, "model", o->model);
    put_text(file, "codec", o->codec);
    put_text(file, "data", o->data);
    put_text(file, "partition", o->partition_text);
    fprintf(file, ",\n  \"seed\": %llu,\n  \"epochs\": %u,\n  \"batch\": %u",
            (unsigned long long)o->seed, o->epochs, o->batch);
    if (o->coordinator) {
        put_text(file, "coordinator", o->coordinator);
        fprintf(file, ",\n  \"steps\": %u", o->steps);
    }
    put_value(file, ",\n  \"lr\": ", o->lr);
    put_value(file, ",\n  \"momentum\": ", o->momentum);
    put_value(file, ",\n  \"over_commitment\": ", o->over_commitment);
}

static void put_summary(FILE *file, const struct summary *s)
{
    fputs("{\n  \"rounds\": [\n", file);
    for (uint32_t i = 0; i < s->status->n_rows; i++) {
        put_row(file, &s->status->rows[i]);
        fputs(i + 1 < s->status->n_rows ? ",\n" : "\n", file);
    }
    put_value(file, "  ],\n  \"final_accuracy\": ", last_accuracy(s->status));
    put_settings(file, s->options);
    fprintf(file, ",\n  \"parameters\": %llu,\n  \"clients_died\": %u",
            (unsigned long long)s->parameters, s->clients_died);
    put_value(file, ",\n  \"seconds\": ", s->seconds);
    if (s->model_sha256[0])
        put_text(file, "model_sha256", s->model_sha256);
    put_text(file, "version", cygnet_version());
    fputs("\n}\n", file);
}

cygnet_status summary_write(const struct summary *summary, const char *path,
                            cygnet_error *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);
    cygnet_status st;

    if (!file)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %s", path);
    put_summary(file, summary);
    if (fclose(file) != 0) {
        free(text);
        return complain(err, CYGNET_ENOMEM, 0, "no memory for %s", path);
    }
    st = file_write(path, text, len, 0644, err);
    free(text);
    return st;
}

void summary_print(const struct summary *s)
{
    uint64_t up = 0;
    uint64_t down = 0;
    char up_text[16];
    char down_text[16];

    for (uint32_t i = 0; i < s->status->n_rows; i++) {
        up += s->status->rows[i].bytes_up;
        down += s->status->rows[i].bytes_down;
    }
    table_bytes(up_text, up);
    table_bytes(down_text, down);
    printf("\n%u rounds in %.1f s, %s up, %s down", s->status->n_rows, s->seconds,
           up_text, down_text);
    if (s->clients_died > 0)
        printf(", %u of %u clients died", s->clients_died, s->options->clients);
    if (isfinite(last_accuracy(s->status)))
        printf("\naccuracy on held-out data: %.2f %%", 100.0 * last_accuracy(s->status));
    if (s->model_sha256[0])
        printf("\nmodel SHA-256: %s (seed %llu)", s->model_sha256,
               (unsigned long long)s->options->seed);
    if (s->options->out)
        printf("\nkept in %s: summary.json, %sclients/", s->options->out,
               s->model_sha256[0] ? "model.safetensors, coordinator.log, " : "");
    putchar('\n');
}
