/* A few files of sysfs. */
#include "tests/bench/two_clusters.h"

#include "examples/common/complain.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAST_CAPACITY = 1024, ROOT_BYTES = TWO_CLUSTERS_BYTES };

static bool write_file(const char *root, const char *name, const char *text)
{
    char path[ROOT_BYTES + 128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    file = fopen(path, "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

static bool make_folder(const char *root, const char *name)
{
    char path[ROOT_BYTES + 128];

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    return mkdir(path, 0700) == 0;
}

static bool write_core(const char *root, uint32_t cpu, unsigned capacity)
{
    char name[128], text[32];

    (void)snprintf(name, sizeof(name), "sys/devices/system/cpu/cpu%" PRIu32, cpu);
    if (!make_folder(root, name))
        return false;
    (void)snprintf(name, sizeof(name),
                   "sys/devices/system/cpu/cpu%" PRIu32 "/cpu_capacity", cpu);
    (void)snprintf(text, sizeof(text), "%u\n", capacity);
    return write_file(root, name, text);
}

cygnet_status two_clusters_make(char root[TWO_CLUSTERS_BYTES], uint32_t fast,
                                uint32_t slow, double share, cygnet_error *err)
{
    double capacity = fmin(fmax(1.0, FAST_CAPACITY * share), FAST_CAPACITY - 1);
    const char *folder = getenv("TMPDIR");
    char cores[32];
    bool done;

    (void)snprintf(root, TWO_CLUSTERS_BYTES, "%.900s/cygnet-XXXXXX",
                   folder ? folder : "/tmp");
    if (!mkdtemp(root)) {
        root[0] = '\0';
        return complain(err, CYGNET_ESTORAGE, errno, "no folder for a topology");
    }
    (void)snprintf(cores, sizeof(cores), "%" PRIu32 ",%" PRIu32 "\n", fast, slow);
    done = make_folder(root, "sys") && make_folder(root, "sys/devices") &&
           make_folder(root, "sys/devices/system") &&
           make_folder(root, "sys/devices/system/cpu") &&
           write_file(root, "sys/devices/system/cpu/present", cores) &&
           write_file(root, "sys/devices/system/cpu/online", cores) &&
           write_core(root, fast, FAST_CAPACITY) &&
           write_core(root, slow, (unsigned)capacity);
    return done ? CYGNET_OK
                : complain(err, CYGNET_ESTORAGE, errno, "a topology in %.200s", root);
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

void two_clusters_remove(const char *root)
{
    if (root[0])
        (void)nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
