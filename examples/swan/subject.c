/* See subject.h. */
#include "subject.h"

#include "complain.h"
#include "file.h"

#include <math.h>

#define MAX_FILE_BYTES ((size_t)4 << 20)

cygnet_status subject_read(struct subject *out, void *options,
                           const struct option_row *rows, int argc, char **argv,
                           cygnet_error *err)
{
    int has_file = argc > 1 && argv[1][0] != '-';
    cygnet_status st =
        command_line_parse(options, rows, argc - has_file, argv + has_file, err);
    uint8_t *data;

    *out = (struct subject){0};
    if (st != CYGNET_OK || !has_file)
        return st;
    st = file_read(&data, &out->len, argv[1], MAX_FILE_BYTES, err);
    if (st == CYGNET_OK)
        out->text = (char *)data;
    return st;
}

const char *subject_text(const cJSON *object, const char *name)
{
    const char *value =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

    return value ? value : "-";
}

double subject_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}
