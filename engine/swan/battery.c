/* Batteries as sysfs shows them.
 * Source: the kernel's Documentation/ABI/testing/sysfs-class-power; where drivers
 * differ from it, the status decides and what no device can draw is not believed. */
#include "engine/swan/battery.h"

#include "base/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A device that is awake draws more than this; less is a current in mA. */
#define MIN_MW 20.0
#define MAX_MW 300000.0
#define MIN_VOLTS 1.0
#define MAX_VOLTS 60.0

/* What is added up over the batteries; a sum that one battery does not tell is NaN. */
struct sums {
    struct battery *out;
    double unit_ua;
    uint32_t n_discharging;
    uint32_t n_full;
    double energy_full_uwh;
    double energy_now_uwh;
    double percent;
    double capacity_mj;
};

static double number(int supply, const char *name)
{
    int64_t value;

    return sysfs_int64(&value, supply, name) ? (double)value : NAN;
}

static double volts_of(int supply, const char *name)
{
    double volts = number(supply, name) * 1e-6;

    return volts >= MIN_VOLTS && volts <= MAX_VOLTS ? volts : NAN;
}

/* The sign is the driver's own; 0 is what drivers without the figure say. */
static double power_of(char why[BATTERY_WHY_BYTES], int supply, double unit_ua)
{
    double mw = fabs(number(supply, "power_now")) * 1e-3;

    if (!(mw > 0))
        mw = fabs(number(supply, "current_now")) * unit_ua * 1e-3 *
             volts_of(supply, "voltage_now");
    if (mw >= MIN_MW && mw <= MAX_MW)
        return mw;
    if (isnan(mw) || mw == 0)
        (void)snprintf(why, BATTERY_WHY_BYTES, "the gauge tells no power");
    else
        (void)snprintf(why, BATTERY_WHY_BYTES,
                       "the gauge shows %.3g mW, which no device draws (wrong unit?)",
                       mw);
    return NAN;
}

/* Whether the charger stops here although the battery could take more. */
static bool at_limit(int supply)
{
    double limit = number(supply, "charge_control_end_threshold");

    return limit > 0 && number(supply, "capacity") >= limit - 1;
}

static void add_status(struct sums *sums, int supply)
{
    struct battery *out = sums->out;
    char status[SYSFS_LINE_BYTES];

    if (!sysfs_line(status, supply, "status"))
        return;
    if (strcmp(status, "Charging") == 0)
        out->plugged = out->charging = true;
    if (strcmp(status, "Full") == 0 ||
        (strcmp(status, "Not charging") == 0 && at_limit(supply)))
        sums->n_full++;
    if (strcmp(status, "Discharging") == 0) {
        sums->n_discharging++;
        out->power_mw += power_of(out->why, supply, sums->unit_ua);
    }
}

/* The voltage changes with the load; a capacity must not. */
static double capacity_of(int supply)
{
    double volts = volts_of(supply, "voltage_min_design");
    double uwh = number(supply, "energy_full");
    double uah = number(supply, "charge_full");

    if (isnan(volts))
        volts = volts_of(supply, "voltage_now");
    if (uwh > 0)
        return uwh * 3.6;
    return uah > 0 ? uah * 3.6 * volts : NAN;
}

static void add_amounts(struct sums *sums, int supply)
{
    struct battery *out = sums->out;
    double charge = number(supply, "charge_now");
    double percent = number(supply, "capacity");
    double charge_full = number(supply, "charge_full");

    if (charge > 0 && charge_full > 0 && charge <= charge_full)
        percent = 100 * charge / charge_full;
    if (isnan(charge))
        charge = number(supply, "charge_counter");
    out->charge_uah += charge;
    out->volts += volts_of(supply, "voltage_now");
    out->energy_uwh += number(supply, "energy_now");
    sums->energy_full_uwh += number(supply, "energy_full");
    sums->percent += percent >= 0 && percent <= 100 ? percent : NAN;
    sums->capacity_mj += capacity_of(supply);
}

static void add_battery(struct sums *sums, int supply)
{
    int64_t present;

    if (sysfs_int64(&present, supply, "present") && present == 0)
        return;
    sums->out->n++;
    add_status(sums, supply);
    add_amounts(sums, supply);
}

/* A name is "USB", "USB_PD", ... where it is a charger. */
static bool delivers(int supply, const char *type)
{
    int64_t online;

    return (strcmp(type, "Mains") == 0 || strcmp(type, "Wireless") == 0 ||
            strncmp(type, "USB", 3) == 0) &&
           sysfs_int64(&online, supply, "online") && online > 0;
}

static void add_supply(struct sums *sums, int folder, const char *name)
{
    int supply = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char line[SYSFS_LINE_BYTES];
    bool foreign;

    if (supply < 0)
        return;
    foreign = sysfs_line(line, supply, "scope") && strcmp(line, "Device") == 0;
    if (!foreign && sysfs_line(line, supply, "type")) {
        if (strcmp(line, "Battery") == 0)
            add_battery(sums, supply);
        else if (delivers(supply, line))
            sums->out->plugged = true;
    }
    (void)close(supply);
}

static void finish(struct sums *sums)
{
    struct battery *out = sums->out;

    out->discharging = !out->plugged && sums->n_discharging > 0;
    out->full = out->n > 0 && sums->n_full == out->n;
    out->plugged = out->plugged || out->full;
    if (!out->discharging)
        out->power_mw = NAN;
    if (out->n == 0) {
        out->charge_uah = out->energy_uwh = out->volts = NAN;
        out->level = out->capacity_mj = NAN;
        return;
    }
    out->volts /= out->n;
    out->level = out->energy_uwh / sums->energy_full_uwh;
    if (!(out->level >= 0 && out->level <= 1))
        out->level = sums->percent / out->n / 100;
    out->capacity_mj = sums->capacity_mj;
}

void battery_read(struct battery *out, const char *root, double unit_ua)
{
    struct sums sums = {.out = out, .unit_ua = unit_ua > 0 ? unit_ua : 1};
    char path[PATH_MAX];
    DIR *folder = NULL;
    int n = snprintf(path, sizeof(path), "%s/sys/class/power_supply", root);

    memset(out, 0, sizeof(*out));
    if (n > 0 && (size_t)n < sizeof(path))
        folder = opendir(path);
    if (folder) {
        for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
            if (entry->d_name[0] != '.')
                add_supply(&sums, dirfd(folder), entry->d_name);
        (void)closedir(folder);
    }
    finish(&sums);
}
