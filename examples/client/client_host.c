/* The host side of cygnet-client. The shard stays bytes in memory; a batch is
 * resized and scaled as it is read. */
#include "client_host.h"
#include "complain.h"
#include "file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_MAX_BYTES 8192u
#define ASSUME_MAX_BYTES 256u

/* One open collection: the plan for the shape that was asked for last. */
struct cursor {
    struct client_host *host;
    const struct rows *rows;
    struct image_plan *plan;
    struct image_shape to;
};

static int give_up(struct client_host *host, int code, const cygnet_error *err)
{
    snprintf(host->why, sizeof(host->why), "%s", err->message);
    return code;
}

/* The shard is taken of the held-out rows as it is of the training rows. */
static cygnet_status take_test(struct client_host *host, cygnet_error *err)
{
    const struct client_options *o = host->options;
    struct dataset held_out = *host->dataset;

    if (host->test.n > 0)
        return CYGNET_OK;
    held_out.train = held_out.test;
    return partition_shard(&host->test, &held_out, &o->partition, o->seed, o->shard,
                           o->n_shards, err);
}

static cygnet_status find_rows(const struct rows **out, struct client_host *host,
                               const char *collection, const char *selector,
                               cygnet_error *err)
{
    *out = strcmp(collection, "test") == 0 ? &host->test : &host->rows;
    if (*selector || (*out == &host->rows && *collection && strcmp(collection, "train")))
        return complain(err, CYGNET_EDATA, 0,
                        "there is no collection \"%.40s\" \"%.40s\" here", collection,
                        selector);
    return *out == &host->test ? take_test(host, err) : CYGNET_OK;
}

static int data_open(void **cursor, cygnet_dataset_info *info, const char *collection,
                     const char *selector, void *user)
{
    struct client_host *host = user;
    const struct client_options *o = host->options;
    const struct rows *rows;
    struct cursor *c;
    cygnet_error err;

    if (find_rows(&rows, host, collection, selector, &err) != CYGNET_OK)
        return give_up(host, ENOENT, &err);
    c = calloc(1, sizeof(*c));
    if (!c)
        return ENOMEM;
    c->host = host;
    c->rows = rows;
    info->n_examples = rows->n;
    snprintf(info->snapshot_id, sizeof(info->snapshot_id), "%08x%s-%u/%u-%d-%g-%u-%llu",
             host->dataset->fingerprint, rows == &host->test ? "t" : "", o->shard,
             o->n_shards, (int)o->partition.kind, o->partition.alpha,
             o->partition.per_shard, (unsigned long long)o->seed);
    *cursor = c;
    return 0;
}

/* The picture that a row of this shape is, by --input or by itself. */
static cygnet_status wanted_shape(struct image_shape *out, const struct client_host *host,
                                  const cygnet_column *column, cygnet_error *err)
{
    const struct client_options *o = host->options;
    uint64_t dims[4];
    uint64_t wants = 1;
    cygnet_status st;

    if (o->n_input_dims == 0)
        return image_shape_of_row(out, column->row_shape, column->n_dims,
                                  host->dataset->shape, err);
    for (uint32_t d = 0; d < o->n_input_dims; d++)
        dims[d] = o->input[d];
    for (uint32_t d = 0; d < column->n_dims; d++)
        wants *= column->row_shape[d];
    st = image_shape_of_row(out, dims, o->n_input_dims, host->dataset->shape, err);
    if (st == CYGNET_OK && image_shape_size(*out) != wants)
        st = complain(err, CYGNET_ESHAPE, 0,
                      "--input has %zu numbers, but the task asks for %llu",
                      image_shape_size(*out), (unsigned long long)wants);
    return st;
}

static cygnet_status prepare(struct cursor *c, const cygnet_column *column,
                             cygnet_error *err)
{
    struct image_shape to;
    cygnet_status st = wanted_shape(&to, c->host, column, err);

    if (st != CYGNET_OK || (c->plan && memcmp(&to, &c->to, sizeof(to)) == 0))
        return st;
    image_plan_destroy(c->plan);
    c->to = to;
    return image_plan_create(&c->plan, c->host->dataset->shape, to, err);
}

static cygnet_status read_column(struct cursor *c, const uint64_t *indices,
                                 uint64_t n_rows, const cygnet_column *column,
                                 cygnet_error *err)
{
    const struct dataset *dataset = c->host->dataset;
    int is_x = strcmp(column->name, "x") == 0 && column->dtype == CYGNET_F32;
    int is_y = strcmp(column->name, "y") == 0 && column->dtype == CYGNET_I64;
    cygnet_status st = CYGNET_OK;

    if (!is_x && !is_y)
        return complain(err, CYGNET_EDATA, 0, "there is no column \"%.40s\" of this type",
                        column->name);
    if (is_x)
        st = prepare(c, column, err);
    for (uint64_t i = 0; i < n_rows && st == CYGNET_OK; i++) {
        uint32_t row = c->rows->index[indices[i]];

        if (is_x)
            image_plan_apply(c->plan, (float *)column->data + i * image_shape_size(c->to),
                             dataset_pixels(dataset, row));
        else
            ((int64_t *)column->data)[i] = dataset->labels[row];
    }
    return st;
}

static int data_read(void *cursor, const uint64_t *indices, const cygnet_batch *batch,
                     void *user)
{
    struct client_host *host = user;
    cygnet_error err;

    for (uint32_t i = 0; i < batch->n_columns; i++)
        if (read_column(cursor, indices, batch->n_rows, &batch->columns[i], &err) !=
            CYGNET_OK)
            return give_up(host, EINVAL, &err);
    return 0;
}

static void data_close(void *cursor, void *user)
{
    struct cursor *c = cursor;

    (void)user;
    image_plan_destroy(c->plan);
    free(c);
}

static cygnet_status read_assumed(cygnet_device_state *out, const char *path,
                                  cygnet_error *err)
{
    uint8_t *text;
    size_t len;
    cygnet_status st = file_read(&text, &len, path, ASSUME_MAX_BYTES, err);

    if (st != CYGNET_OK)
        return st;
    text[strcspn((const char *)text, "\r\n")] = '\0';
    st = client_assume(out, path, (const char *)text, err);
    free(text);
    return st;
}

static int device_state(cygnet_device_state *state, void *user)
{
    struct client_host *host = user;
    cygnet_device_state assume = host->options->assume;
    const char *path = host->options->assume_file;
    cygnet_error err;

    if (path && read_assumed(&assume, path, &err) != CYGNET_OK)
        return give_up(host, EINVAL, &err);
    state->charging = assume.charging;
    state->idle = assume.idle;
    state->unmetered = assume.unmetered;
    state->battery_percent = assume.battery_percent;
    state->thermal = assume.thermal;
    return 0;
}

static int auth_token(char *token, size_t size, int refresh, void *user)
{
    struct client_host *host = user;
    const struct client_options *o = host->options;
    cygnet_error err;
    uint8_t *data = NULL;
    const char *text = o->token;
    size_t len;

    (void)refresh;
    if (o->token_file) {
        if (file_read(&data, &len, o->token_file, TOKEN_MAX_BYTES, &err) != CYGNET_OK)
            return give_up(host, EIO, &err);
        text = (const char *)data;
    }
    len = strcspn(text, "\r\n");
    if (len < size) {
        memcpy(token, text, len);
        token[len] = '\0';
    }
    free(data);
    return len < size ? 0 : E2BIG;
}

static void on_event(const cygnet_report *event, void *user)
{
    struct client_host *host = user;

    if (event->phase == host->last_phase && event->round == host->last_round)
        return;
    host->last_phase = event->phase;
    host->last_round = event->round;
    client_print(host->options, event);
}

static void on_log(cygnet_log_level level, const char *message, void *user)
{
    const struct client_host *host = user;

    /* errors come back as a status, which main prints once */
    if (level == CYGNET_LOG_WARN || (level > CYGNET_LOG_WARN && host->options->verbose))
        fprintf(stderr, "cygnet-client: %s\n", message);
}

cygnet_status client_host_open(struct client_host *out, cygnet_host *hooks,
                               const struct client_options *options, cygnet_error *err)
{
    cygnet_status st;

    memset(out, 0, sizeof(*out));
    out->options = options;
    st = dataset_open(&out->dataset, options->data, options->classes, err);
    if (st == CYGNET_OK)
        st = partition_shard(&out->rows, out->dataset, &options->partition, options->seed,
                             options->shard, options->n_shards, err);
    cygnet_host_init(hooks);
    hooks->data_open = data_open;
    hooks->data_read = data_read;
    hooks->data_close = data_close;
    hooks->device_state = options->assumed || options->assume_file ? device_state : NULL;
    hooks->auth_token = options->token || options->token_file ? auth_token : NULL;
    hooks->event = on_event;
    hooks->log = on_log;
    hooks->user = out;
    return st;
}

void client_host_close(struct client_host *host)
{
    rows_clear(&host->rows);
    rows_clear(&host->test);
    dataset_destroy(host->dataset);
}

/* ---- Lines -------------------------------------------------------------- */

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_json_number(const char *name, double value)
{
    if (isfinite(value))
        printf(",\"%s\":%.9g", name, value);
    else
        printf(",\"%s\":null", name);
}

static void print_json(const cygnet_report *r)
{
    printf("{\"phase\":\"%s\",\"outcome\":\"%s\",\"status\":\"%s\"",
           cygnet_phase_name(r->phase), cygnet_outcome_name(r->outcome),
           r->status == CYGNET_OK ? "OK" : cygnet_status_name(r->status));
    printf(",\"round\":%llu,\"step\":%llu,\"n_steps\":%llu,\"examples\":%llu",
           (unsigned long long)r->round, (unsigned long long)r->step,
           (unsigned long long)r->n_steps, (unsigned long long)r->examples);
    printf(",\"bytes_up\":%llu,\"bytes_down\":%llu,\"train_ms\":%lld",
           (unsigned long long)r->bytes_up, (unsigned long long)r->bytes_down,
           (long long)r->train_ms);
    print_json_number("loss_first", r->loss_first);
    print_json_number("loss_last", r->loss_last);
    print_json_number("accuracy", r->accuracy);
    printf(",\"message\":");
    print_json_text(r->message);
    printf("}\n");
}

static void print_text(const cygnet_report *r)
{
    if (r->round > 0)
        printf("round %llu: ", (unsigned long long)r->round);
    printf("%s", cygnet_phase_name(r->phase));
    if (r->outcome != CYGNET_OUTCOME_NONE)
        printf(", %s", cygnet_outcome_name(r->outcome));
    if (r->phase >= CYGNET_PHASE_TRAINING && r->n_steps > 0)
        printf(", step %llu of %llu", (unsigned long long)r->step,
               (unsigned long long)r->n_steps);
    if (r->phase >= CYGNET_PHASE_TRAINED && isfinite(r->loss_last))
        printf(", loss %.4f", r->loss_last);
    if (r->bytes_up > 0)
        printf(", %llu bytes up", (unsigned long long)r->bytes_up);
    if (r->message[0])
        printf(": %s", r->message);
    printf("\n");
}

void client_print(const struct client_options *options, const cygnet_report *report)
{
    if (options->log_json)
        print_json(report);
    else
        print_text(report);
    fflush(stdout);
}
