/* RAPL: the processor packages' energy counters.
 * Source: the kernel's Documentation/power/powercap/powercap.rst. The counter has 32
 * bits; its range is their greatest number of units. The processor counts about every
 * millisecond (Intel SDM, volume 3, chapter 15.10). Since CVE-2020-8694 most kernels
 * let only root read it. */
#include "base/sysfs.h"
#include "engine/swan/energy_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PERIOD_MS 1
#define UNITS 4294967295.0

/* No package draws more; a counter that seems to have was reset. */
#define MAX_PACKAGE_W 1000.0

static DIR *open_folder(const struct energy_meter *meter)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/sys/class/powercap", meter->options.root);

    return n > 0 && (size_t)n < sizeof(path) ? opendir(path) : NULL;
}

/* "intel-rapl:0" and its kind (AMD's as well); behind a second colon are parts of it,
 * and intel-rapl-mmio counts the same package again. */
static bool is_domain(const char *name)
{
    static const char prefix[] = "intel-rapl:";
    const char *digits = name + sizeof(prefix) - 1;

    return strncmp(name, prefix, sizeof(prefix) - 1) == 0 && *digits != '\0' &&
           strspn(digits, "0123456789") == strlen(digits);
}

/* The domain "psys" is the whole platform, packages among it. */
static bool is_package(int domain)
{
    char line[SYSFS_LINE_BYTES];

    return sysfs_line(line, domain, "name") && strncmp(line, "package", 7) == 0;
}

static bool read_domain(struct energy_package *out, int domain, const char *name)
{
    size_t len = strlen(name);

    if (len >= sizeof(out->name))
        return false;
    memcpy(out->name, name, len + 1);
    return sysfs_int64(&out->last_uj, domain, "energy_uj") &&
           sysfs_int64(&out->range_uj, domain, "max_energy_range_uj") &&
           out->range_uj > 0;
}

/* False: the sum would lack a package, so there is none. */
static bool add_domain(struct energy_meter *meter, int folder, const char *name)
{
    int domain = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = true;

    if (domain < 0)
        return false;
    if (is_package(domain)) {
        good = meter->n_packages < ENERGY_MAX_PACKAGES &&
               read_domain(&meter->packages[meter->n_packages], domain, name);
        meter->n_packages += good;
    }
    (void)close(domain);
    return good;
}

bool rapl_init(struct energy_meter *meter)
{
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_RAPL];
    DIR *folder = open_folder(meter);
    bool good = folder != NULL;

    meter->n_packages = 0;
    for (struct dirent *entry; good && (entry = readdir(folder));)
        if (is_domain(entry->d_name))
            good = add_domain(meter, dirfd(folder), entry->d_name);
    if (folder)
        (void)closedir(folder);
    if (!good)
        meter->n_packages = 0;
    track->period_ms = PERIOD_MS;
    for (uint32_t i = 0; i < meter->n_packages; i++)
        track->quantum_mj += (double)meter->packages[i].range_uj / UNITS * 1e-3;
    return meter->n_packages > 0;
}

static bool read_package(int64_t *out, int folder, const struct energy_package *package)
{
    char name[sizeof(package->name) + sizeof("/energy_uj")];

    (void)snprintf(name, sizeof(name), "%s/energy_uj", package->name);
    return sysfs_int64(out, folder, name);
}

/* mJ since the last reading; below 0: the counter says what cannot be. */
static double grown_mj(const struct energy_package *package, int64_t now_uj, int64_t ms)
{
    double most_mj = MAX_PACKAGE_W * (double)(ms + PERIOD_MS);
    double mj = (double)(now_uj - package->last_uj) * 1e-3;

    /* More than one turn cannot be told from less. */
    if (most_mj > (double)package->range_uj * 1e-3)
        return -1;
    if (mj < 0)
        mj += (double)package->range_uj * 1e-3;
    return mj <= most_mj ? mj : -1;
}

/* mJ of all packages since the last reading; below 0: not known (`what`). */
static double read_all(struct energy_meter *meter, const char **what, int folder,
                       int64_t ms)
{
    double sum = 0;

    for (uint32_t i = 0; i < meter->n_packages; i++) {
        struct energy_package *package = &meter->packages[i];
        double mj;
        int64_t now_uj;

        if (!read_package(&now_uj, folder, package)) {
            *what = "a package's counter cannot be read";
            return -2;
        }
        mj = grown_mj(package, now_uj, ms);
        package->last_uj = now_uj;
        if (mj < 0)
            *what = "a counter was reset, or not read for too long";
        sum = mj < 0 || sum < 0 ? -1 : sum + mj;
    }
    return sum;
}

void rapl_sample(struct energy_meter *meter, int64_t now_ms)
{
    struct energy_track *track = &meter->tracks[ENERGY_SLOT_RAPL];
    const char *what = "the counters cannot be read";
    DIR *folder = open_folder(meter);
    double mj = -2;

    if (folder) {
        mj = read_all(meter, &what, dirfd(folder), now_ms - track->read_ms);
        (void)closedir(folder);
    }
    if (track->live && mj >= 0)
        track_count(track, track->shown + mj, mj, now_ms);
    else if (track->live || mj < -1)
        track_break(track, "%s", what);
    if (!track->live && mj >= -1)
        track_start(track, 0, now_ms);
}
