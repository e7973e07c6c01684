/* What the subcommands that read a file share: the file is the one word that is no
 * option. */
#ifndef SWAN_SUBJECT_H
#define SWAN_SUBJECT_H

#include "command_line.h"

#include <cjson/cJSON.h>
#include <cygnet/status.h>

/* text  (len) of the file; free() releases it. NULL: no file was named */
struct subject {
    char *text;
    size_t len;
};

/* Reads argv[1] whole where it is not an option, and the options behind it. Errors:
 * EINVAL (the command line), else of the file. */
cygnet_status subject_read(struct subject *out, void *options,
                           const struct option_row *rows, int argc, char **argv,
                           cygnet_error *err);

/* Members of an answer; "-" and NAN where they are null or absent. */
const char *subject_text(const cJSON *object, const char *name);
double subject_number(const cJSON *object, const char *name);

#endif
