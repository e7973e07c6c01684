/* Power as /sys/class/power_supply tells it. */
#include "base/sysfs.h"
#include "sdk/host_linux.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the supplies say together. */
struct power {
    int n_batteries;
    bool online;      /* a supply delivers, or a battery fills or is full */
    bool discharging; /* a battery runs down */
    int n_offline;    /* supplies that could deliver and do not */
    int n_percent;
    long percent_sum;
};

static bool is_battery(const char *type)
{
    return strcmp(type, "Battery") == 0 || strcmp(type, "UPS") == 0;
}

/* USB supplies are named by what was negotiated: USB, USB_C, USB_PD, USB_DCP... */
static bool is_charger(const char *type)
{
    return strcmp(type, "Mains") == 0 || strcmp(type, "Wireless") == 0 ||
           strncmp(type, "USB", 3) == 0;
}

static void add_battery(struct power *power, int supply)
{
    char status[SYSFS_LINE_BYTES];
    long value;

    if (sysfs_number(&value, supply, "present") && value == 0)
        return;
    power->n_batteries++;
    if (sysfs_line(status, supply, "status")) {
        power->online |= strcmp(status, "Charging") == 0 || strcmp(status, "Full") == 0;
        power->discharging |= strcmp(status, "Discharging") == 0;
    }
    if (sysfs_number(&value, supply, "capacity") && value >= 0 && value <= 100) {
        power->percent_sum += value;
        power->n_percent++;
    }
}

static void add_charger(struct power *power, int supply)
{
    long online;

    if (!sysfs_number(&online, supply, "online"))
        return;
    if (online > 0)
        power->online = true;
    else
        power->n_offline++;
}

/* Scope "Device" is the battery of a mouse or a headset, not ours. */
static void add_supply(struct power *power, int folder, const char *name)
{
    int supply = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char line[SYSFS_LINE_BYTES];
    bool foreign;

    if (supply < 0)
        return;
    foreign = sysfs_line(line, supply, "scope") && strcmp(line, "Device") == 0;
    if (!foreign && sysfs_line(line, supply, "type")) {
        if (is_battery(line))
            add_battery(power, supply);
        else if (is_charger(line))
            add_charger(power, supply);
    }
    (void)close(supply);
}

/* A machine without a battery that runs at all runs on external power. */
static cygnet_tristate charging_of(const struct power *power)
{
    if (power->online || power->n_batteries == 0)
        return CYGNET_TRUE;
    if (power->discharging || power->n_offline > 0)
        return CYGNET_FALSE;
    return CYGNET_UNKNOWN;
}

void linux_read_power(cygnet_device_state *state, const char *root)
{
    struct power power = {0};
    char path[PATH_MAX];
    DIR *folder;
    int n = snprintf(path, sizeof(path), "%s/sys/class/power_supply", root);

    if (n < 0 || (size_t)n >= sizeof(path))
        return;
    folder = opendir(path);
    if (!folder)
        return;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (entry->d_name[0] != '.')
            add_supply(&power, dirfd(folder), entry->d_name);
    (void)closedir(folder);

    state->charging = charging_of(&power);
    if (power.n_percent > 0)
        state->battery_percent = (int32_t)(power.percent_sum / power.n_percent);
}
