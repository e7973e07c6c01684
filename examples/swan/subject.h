/* What the subcommands that read a file share: the file is the one word that is no
 * option. */
#ifndef SWAN_SUBJECT_H
#define SWAN_SUBJECT_H

#include "command_line.h"

#include <cygnet/status.h>

/* text  (len) of the file; free() releases it. NULL: no file was named */
struct subject {
    char *text;
    size_t len;
};

/* Reads argv[1] whole where it is not an option, and the options behind it. Of a folder,
 * which is a client's state_dir, its file "profile" is read. Errors: EINVAL (the command
 * line), else of the file. */
cygnet_status subject_read(struct subject *out, void *options,
                           const struct option_row *rows, int argc, char **argv,
                           cygnet_error *err);

#endif
