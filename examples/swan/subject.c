/* See subject.h. */
#include "subject.h"

#include "complain.h"
#include "file.h"

#include <string.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES ((size_t)4 << 20)

static cygnet_status find(char out[FILE_MAX_PATH], const char *path, cygnet_error *err)
{
    struct stat found;

    if (stat(path, &found) == 0 && S_ISDIR(found.st_mode))
        return file_path(out, path, "profile", err);
    if (strlen(path) >= FILE_MAX_PATH)
        return complain(err, CYGNET_EINVAL, 0, "the file's name is too long");
    memcpy(out, path, strlen(path) + 1);
    return CYGNET_OK;
}

cygnet_status subject_read(struct subject *out, void *options,
                           const struct option_row *rows, int argc, char **argv,
                           cygnet_error *err)
{
    int has_file = argc > 1 && argv[1][0] != '-';
    cygnet_status st =
        command_line_parse(options, rows, argc - has_file, argv + has_file, err);
    char path[FILE_MAX_PATH];
    uint8_t *data;

    *out = (struct subject){0};
    if (st != CYGNET_OK || !has_file)
        return st;
    st = find(path, argv[1], err);
    if (st == CYGNET_OK)
        st = file_read(&data, &out->len, path, MAX_FILE_BYTES, err);
    if (st == CYGNET_OK)
        out->text = (char *)data;
    return st;
}
