/* Long options from a table: --name VALUE, --name=VALUE, --flag. Unknown options
 * and bad values are one clear line. */
#ifndef PROGRAMS_COMMAND_LINE_H
#define PROGRAMS_COMMAND_LINE_H

#include <cygnet/status.h>
#include <stddef.h>

/* What an option's field is: const char *, bool, uint32_t, uint64_t, double; or
 * something that `read` understands. */
enum option_kind {
    OPTION_TEXT,
    OPTION_FLAG,
    OPTION_U32,
    OPTION_U64,
    OPTION_REAL,
    OPTION_READ
};

/* One option. A table of them ends with a NULL name.
 *
 * name      without the dashes
 * offset    of the field in the options struct
 * low, high of numbers, inclusive (U64: low only)
 * read      OPTION_READ: stores the text itself; `name` has its dashes */
struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset;
    double low;
    double high;
    cygnet_status (*read)(void *options, const char *name, const char *text,
                          cygnet_error *err);
};

/* Fills `options` from argv[1..]; texts are borrowed from argv.
 * Errors: EINVAL. */
cygnet_status command_line_parse(void *options, const struct option_row *rows, int argc,
                                 char **argv, cygnet_error *err);

#endif
