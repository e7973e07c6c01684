/* The table-driven reader of long options. */
#include "command_line.h"
#include "complain.h"
#include "options.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct option_row *find(const struct option_row *rows, const char *name,
                                     size_t len)
{
    for (; rows->name; rows++)
        if (strlen(rows->name) == len && memcmp(rows->name, name, len) == 0)
            return rows;
    return NULL;
}

static cygnet_status store_u32(void *field, const struct option_row *row,
                               const char *name, const char *text, cygnet_error *err)
{
    uint64_t value;
    cygnet_status st =
        option_count(&value, name, text, (uint64_t)row->low, (uint64_t)row->high, err);

    if (st == CYGNET_OK)
        *(uint32_t *)field = (uint32_t)value;
    return st;
}

static cygnet_status store(void *options, const struct option_row *row, const char *text,
                           cygnet_error *err)
{
    void *field = (char *)options + row->offset;
    char name[64];

    snprintf(name, sizeof(name), "--%s", row->name);
    switch (row->kind) {
    case OPTION_TEXT:
        memcpy(field, &text, sizeof(text));
        return CYGNET_OK;
    case OPTION_FLAG:
        *(bool *)field = true;
        return CYGNET_OK;
    case OPTION_U32:
        return store_u32(field, row, name, text, err);
    case OPTION_U64:
        return option_count(field, name, text, (uint64_t)row->low, UINT64_MAX, err);
    case OPTION_REAL:
        return option_number(field, name, text, row->low, row->high, err);
    case OPTION_READ:
        return row->read(options, name, text, err);
    }
    return complain(err, CYGNET_EINVAL, 0, "%s: cannot be read", name);
}

/* Reads the option at argv[*i] and its value; moves *i to the last word used. */
static cygnet_status take(void *options, const struct option_row *rows, char **argv,
                          int *i, cygnet_error *err)
{
    const char *word = argv[*i];
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    const struct option_row *row =
        len > 2 && strncmp(word, "--", 2) == 0 ? find(rows, word + 2, len - 2) : NULL;
    const char *value = equals ? equals + 1 : NULL;

    if (!row)
        return complain(err, CYGNET_EINVAL, 0, "unknown option \"%.80s\"", word);
    if (row->kind == OPTION_FLAG && equals)
        return complain(err, CYGNET_EINVAL, 0, "--%s takes no value", row->name);
    if (row->kind != OPTION_FLAG && !equals)
        value = argv[*i + 1] ? argv[++*i] : NULL;
    if (row->kind != OPTION_FLAG && (!value || !*value))
        return complain(err, CYGNET_EINVAL, 0, "--%s needs a value", row->name);
    return store(options, row, value, err);
}

cygnet_status command_line_parse(void *options, const struct option_row *rows, int argc,
                                 char **argv, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;

    for (int i = 1; i < argc && st == CYGNET_OK; i++)
        st = take(options, rows, argv, &i, err);
    return st;
}
