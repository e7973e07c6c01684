/* Folders of a run: one temporary, one that may be kept. */
#include "places.h"
#include "complain.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static cygnet_status failed(cygnet_error *err, const char *path)
{
    int number = errno;

    return complain(err, status_of_errno(number), number, "%s: %s", path,
                    strerror(number));
}

/* The folder of this program. */
static cygnet_status own_folder(char out[FILE_MAX_PATH], cygnet_error *err)
{
    ssize_t n = readlink("/proc/self/exe", out, FILE_MAX_PATH - 1);
    char *slash;

    if (n <= 0)
        return failed(err, "/proc/self/exe");
    out[n] = '\0';
    slash = strrchr(out, '/');
    if (slash)
        *slash = '\0';
    return CYGNET_OK;
}

/* Beside this program as installed, or in a build tree's neighbour folder. */
static cygnet_status find_program(char out[FILE_MAX_PATH], const char *folder,
                                  const char *neighbour, const char *name,
                                  cygnet_error *err)
{
    char other[FILE_MAX_PATH];
    cygnet_status st = file_path(out, folder, name, err);

    if (st != CYGNET_OK || access(out, X_OK) == 0)
        return st;
    st = file_path(other, folder, neighbour, err);
    if (st == CYGNET_OK)
        st = file_path(out, other, name, err);
    if (st == CYGNET_OK && access(out, X_OK) != 0)
        st = complain(err, CYGNET_ENOTFOUND, 0,
                      "%s is not in %.150s (--bin-dir says where)", name, folder);
    return st;
}

static cygnet_status find_programs(struct places *p, const struct fleet_options *options,
                                   cygnet_error *err)
{
    const char *bin_dir = options->bin_dir;
    char folder[FILE_MAX_PATH];
    cygnet_status st = CYGNET_OK;

    if (!bin_dir) {
        st = own_folder(folder, err);
        bin_dir = folder;
    }
    if (st == CYGNET_OK)
        st = find_program(p->client, bin_dir, "../client", "cygnet-client", err);
    if (st == CYGNET_OK && !options->coordinator)
        st = find_program(p->coordinator, bin_dir, "../coordinator", "cygnet-coordinator",
                          err);
    return st;
}

static cygnet_status make_folder(const char *path, cygnet_error *err)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return CYGNET_OK;
    return failed(err, path);
}

static cygnet_status make_folders(struct places *p, const char *out, cygnet_error *err)
{
    const char *base = getenv("TMPDIR");
    char clients[FILE_MAX_PATH];
    cygnet_status st =
        file_path(p->work, base && *base ? base : "/tmp", "cygnet-fleet-XXXXXX", err);

    if (st != CYGNET_OK)
        return st;
    if (!mkdtemp(p->work)) {
        st = failed(err, p->work);
        p->work[0] = '\0';
        return st;
    }
    if (snprintf(p->keep, sizeof(p->keep), "%s", out ? out : p->work) >=
        (int)sizeof(p->keep))
        return complain(err, CYGNET_EINVAL, 0, "--out: the path is too long");
    st = make_folder(p->keep, err);
    if (st == CYGNET_OK)
        st = file_path(clients, p->keep, "clients", err);
    return st == CYGNET_OK ? make_folder(clients, err) : st;
}

static cygnet_status name_files(struct places *p, cygnet_error *err)
{
    struct {
        char *out;
        const char *folder;
        const char *name;
    } files[] = {
        {p->ca, p->work, "ca.pem"},
        {p->cert, p->work, "server.pem"},
        {p->key, p->work, "server.key"},
        {p->port, p->work, "port"},
        {p->model, p->keep, "model.safetensors"},
        {p->summary, p->keep, "summary.json"},
        {p->log, p->keep, "coordinator.log"},
    };
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && st == CYGNET_OK; i++)
        st = file_path(files[i].out, files[i].folder, files[i].name, err);
    /* an earlier run's results are not this one's */
    if (st == CYGNET_OK) {
        unlink(p->model);
        unlink(p->summary);
        unlink(p->log);
    }
    return st;
}

cygnet_status places_open(struct places *out, const struct fleet_options *options,
                          cygnet_error *err)
{
    cygnet_status st;

    memset(out, 0, sizeof(*out));
    st = find_programs(out, options, err);
    if (st == CYGNET_OK)
        st = make_folders(out, options->out, err);
    if (st == CYGNET_OK)
        st = name_files(out, err);
    if (st != CYGNET_OK)
        places_close(out);
    return st;
}

cygnet_status places_client_log(char out[FILE_MAX_PATH], const struct places *places,
                                uint32_t client, cygnet_error *err)
{
    char name[32];

    snprintf(name, sizeof(name), "clients/client-%u.log", client);
    return file_path(out, places->keep, name, err);
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    remove(path);
    return 0;
}

void places_close(struct places *places)
{
    if (places->work[0])
        nftw(places->work, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    places->work[0] = '\0';
}
