/* cygnet-swan soc: clusters and cores as two tables. */
#include "answer.h"
#include "command.h"
#include "command_line.h"

#include <cygnet/swan.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CELL_BYTES 64
#define CPUS_BYTES 1024

static const char HELP[] =
    "usage: cygnet-swan soc [options]\n"
    "\n"
    "Shows the cores of this device as the Swan engine sees them: clusters of like\n"
    "cores, the most capable first; what each core could do at most and does now; and\n"
    "which of them may be used, and why not.\n"
    "\n"
    "  --json       the same for programs\n"
    "  --root DIR   another device: the folder that holds its sys and proc (/)\n"
    "  --help\n"
    "\n"
    "Capacity is what a core does, 1024 the fastest of the device. A cache that several\n"
    "CPUs share has their number behind it. Exit status: 0 done, 1 an error, 2 a bad\n"
    "command line.\n";

struct soc_options {
    const char *root;
    bool json;
    bool help;
};

#define AT(field) offsetof(struct soc_options, field)

static const struct option_row rows[] = {
    {"root", OPTION_TEXT, AT(root), 0, 0, NULL},
    {"json", OPTION_FLAG, AT(json), 0, 0, NULL},
    {"help", OPTION_FLAG, AT(help), 0, 0, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

static void format_ghz(char out[CELL_BYTES], double khz)
{
    if (khz > 0.0)
        snprintf(out, CELL_BYTES, "%.2f", khz / 1e6);
    else
        snprintf(out, CELL_BYTES, "-");
}

static void format_cache(char out[CELL_BYTES], double bytes, double n_cpus)
{
    double kib = bytes / 1024.0;
    int used;

    if (!(bytes > 0.0)) {
        snprintf(out, CELL_BYTES, "-");
        return;
    }
    if (kib < 1024.0)
        used = snprintf(out, CELL_BYTES, "%.0f KiB", kib);
    else
        used = snprintf(out, CELL_BYTES, "%.4g MiB", kib / 1024.0);
    if (n_cpus > 1.0)
        snprintf(out + used, CELL_BYTES - (size_t)used, " / %.0f", n_cpus);
}

static void add_range(char *out, unsigned first, unsigned last)
{
    size_t used = strlen(out);

    snprintf(out + used, CPUS_BYTES - used, first == last ? "%s%u" : "%s%u-%u",
             used > 0 ? "," : "", first, last);
}

/* "0-3,8" of the cluster's CPUs. */
static void format_cpus(char out[CPUS_BYTES], const cJSON *cores, const char *cluster)
{
    const cJSON *core;
    unsigned first = 0;
    unsigned next = 0; /* after the run; 0: no run yet */

    out[0] = '\0';
    cJSON_ArrayForEach(core, cores)
    {
        unsigned cpu = (unsigned)answer_number(core, "cpu");

        if (strcmp(answer_text(core, "cluster"), cluster) != 0)
            continue;
        if (next > 0 && cpu != next)
            add_range(out, first, next - 1);
        if (next == 0 || cpu != next)
            first = cpu;
        next = cpu + 1;
    }
    if (next > 0)
        add_range(out, first, next - 1);
}

static void print_cluster(const cJSON *cluster, const cJSON *cores)
{
    char ghz[CELL_BYTES];
    char l2[CELL_BYTES];
    char l3[CELL_BYTES];
    char cpus[CPUS_BYTES];

    format_ghz(ghz, answer_number(cluster, "max_khz"));
    format_cache(l2, answer_number(cluster, "l2_bytes"),
                 answer_number(cluster, "l2_n_cpus"));
    format_cache(l3, answer_number(cluster, "l3_bytes"),
                 answer_number(cluster, "l3_n_cpus"));
    format_cpus(cpus, cores, answer_text(cluster, "name"));
    printf("%-8s %5.0f %5.0f %7.0f %9.0f %8s %13s %13s   %s\n",
           answer_text(cluster, "name"), answer_number(cluster, "n_physical"),
           answer_number(cluster, "n_cores"), answer_number(cluster, "n_usable"),
           answer_number(cluster, "capacity"), ghz, l2, l3, cpus);
}

/* Why a core may not be used: all reasons. */
static void format_usable(char out[CELL_BYTES], const cJSON *core)
{
    snprintf(out, CELL_BYTES, "%s%s%s%s", answer_is_true(core, "usable") ? "yes" : "no:",
             answer_is_true(core, "online") ? "" : " offline",
             answer_is_true(core, "allowed") ? "" : " not-allowed",
             answer_is_true(core, "isolated") ? " isolated" : "");
}

static void print_core(const cJSON *core)
{
    char max[CELL_BYTES];
    char limit[CELL_BYTES];
    char now[CELL_BYTES];
    char usable[CELL_BYTES];

    format_ghz(max, answer_number(core, "max_khz"));
    format_ghz(limit, answer_number(core, "limit_khz"));
    format_ghz(now, answer_number(core, "khz"));
    format_usable(usable, core);
    printf("%5.0f  %-8s %5.0f %9.0f %8s %9s %8s   %s\n", answer_number(core, "cpu"),
           answer_text(core, "cluster"), answer_number(core, "core"),
           answer_number(core, "capacity"), max, limit, now, usable);
}

/* Says in a line what the words in the last column mean, of those that are there. */
static void print_reasons(const cJSON *cores)
{
    const cJSON *core;
    bool offline = false;
    bool barred = false;
    bool isolated = false;

    cJSON_ArrayForEach(core, cores)
    {
        offline = offline || !answer_is_true(core, "online");
        barred = barred || !answer_is_true(core, "allowed");
        isolated = isolated || answer_is_true(core, "isolated");
    }
    if (offline || barred || isolated)
        printf("\n");
    if (offline)
        printf("offline: the kernel does not run it\n");
    if (barred)
        printf("not-allowed: outside of this process's cpuset or mask\n");
    if (isolated)
        printf("isolated: the kernel keeps it for something else\n");
}

static void print_tables(const cJSON *soc)
{
    const cJSON *clusters = cJSON_GetObjectItemCaseSensitive(soc, "clusters");
    const cJSON *cores = cJSON_GetObjectItemCaseSensitive(soc, "cores");
    const cJSON *item;

    printf("%-8s %5s %5s %7s %9s %8s %13s %13s   %s\n", "cluster", "cores", "CPUs",
           "usable", "capacity", "max GHz", "L2 / CPUs", "L3 / CPUs", "which");
    cJSON_ArrayForEach(item, clusters) print_cluster(item, cores);
    printf("\n%5s  %-8s %5s %9s %8s %9s %8s   %s\n", "CPU", "cluster", "core", "capacity",
           "max GHz", "limit GHz", "now GHz", "usable");
    cJSON_ArrayForEach(item, cores) print_core(item);
    print_reasons(cores);
    printf("\nfingerprint %s\n", answer_text(soc, "fingerprint"));
}

int soc_command(int argc, char **argv)
{
    struct soc_options options = {.root = "/"};
    cygnet_error err = {.status = CYGNET_OK};
    char *json;

    if (command_line_parse(&options, rows, argc, argv, &err) != CYGNET_OK)
        return give_up("soc", 1, &err);
    if (options.help)
        return say(HELP);
    if (cygnet_swan_soc(&json, options.root, NULL, &err) != CYGNET_OK)
        return give_up("soc", 0, &err);
    return answer_show("soc", json, options.json, print_tables);
}
