/* A complete Cygnet client: lends its own examples to one federated round.
 * The data is a CSV file, one example a line: its class, then its numbers. */
#include <cygnet/cygnet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXAMPLES 10000
#define MAX_NUMBERS 784

static uint64_t n_examples;
static int64_t labels[MAX_EXAMPLES];
static float numbers[MAX_EXAMPLES][MAX_NUMBERS];

static int load(const char *path)
{
    static char line[16 * MAX_NUMBERS];
    FILE *file = fopen(path, "r");

    while (file && n_examples < MAX_EXAMPLES && fgets(line, sizeof(line), file)) {
        char *at = line;
        labels[n_examples] = strtol(at, &at, 10);
        for (size_t i = 0; i < MAX_NUMBERS && *at == ','; i++)
            numbers[n_examples][i] = strtof(at + 1, &at);
        n_examples++;
    }
    return file ? fclose(file) : -1;
}

static int data_open(void **cursor, cygnet_dataset_info *info, const char *collection,
                     const char *selector, void *user)
{
    (void)cursor, (void)collection, (void)selector, (void)user; /* one set of data */
    info->n_examples = n_examples;
    return 0;
}

static int data_read(void *cursor, const uint64_t *indices, const cygnet_batch *batch,
                     void *user)
{
    (void)cursor, (void)user;
    for (uint32_t c = 0; c < batch->n_columns; c++) {
        const cygnet_column *column = &batch->columns[c];
        int is_x = strcmp(column->name, "x") == 0;
        size_t width = 1; /* of a row; "y" is a scalar */

        for (uint32_t d = 0; d < column->n_dims; d++)
            width *= column->row_shape[d];
        if (width > MAX_NUMBERS)
            return 1; /* the model wants more than there is */
        for (uint64_t r = 0; r < batch->n_rows; r++)
            if (is_x)
                memcpy((float *)column->data + r * width, numbers[indices[r]],
                       width * sizeof(float));
            else
                ((int64_t *)column->data)[r] = labels[indices[r]];
    }
    return 0;
}

static void data_close(void *cursor, void *user)
{
    (void)cursor, (void)user;
}

static void event(const cygnet_report *e, void *user)
{
    (void)user;
    printf("%s %d/%d\n", cygnet_phase_name(e->phase), (int)e->step, (int)e->n_steps);
}

int main(int argc, char **argv)
{
    cygnet_host host;
    cygnet_options options;
    cygnet_client *client;
    cygnet_report report;
    cygnet_error err = {CYGNET_OK, 0, ""};

    if (argc < 5 || load(argv[4]) != 0)
        return fputs("usage: minimal URL POPULATION STATE_DIR CSV [CA]\n", stderr), 2;
    cygnet_host_init(&host);
    host.data_open = data_open, host.data_read = data_read, host.data_close = data_close;
    host.event = event;
    cygnet_options_init(&options);
    options.server_url = argv[1], options.population = argv[2];
    options.state_dir = argv[3], options.ca_file = argv[5];
    options.unmetered = CYGNET_PREFERRED; /* a desktop cannot tell */
    options.host = &host;
    cygnet_report_init(&report);
    if (cygnet_client_create(&client, &options, &err) == CYGNET_OK &&
        cygnet_client_run_once(client, &report, &err) == CYGNET_OK)
        printf("%s %s\n", cygnet_outcome_name(report.outcome), report.message);
    else
        fprintf(stderr, "minimal: %s\n", err.message);
    cygnet_client_destroy(client);
    return err.status != CYGNET_OK;
}
