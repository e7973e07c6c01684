/* Plain lines, or the same with a live last one. */
#include "table.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ERASE "\r\033[K"

void table_init(struct table *table)
{
    const char *term = getenv("TERM");

    memset(table, 0, sizeof(*table));
    table->live = isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

void table_bytes(char out[16], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 999.5 && unit < 4) {
        value /= 1000.0;
        unit++;
    }
    snprintf(out, 16, unit > 0 && value < 99.95 ? "%.1f %s" : "%.0f %s", value,
             units[unit]);
}

void table_end(struct table *table)
{
    if (table->has_live)
        fputs(ERASE, stdout);
    table->has_live = false;
    fflush(stdout);
}

void table_note(struct table *table, const char *format, ...)
{
    va_list args;

    table_end(table);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void format_share(char out[16], double value, const char *format)
{
    if (isfinite(value))
        snprintf(out, 16, format, value);
    else
        snprintf(out, 16, "-");
}

static void print_row(const struct round_row *row)
{
    char loss[16];
    char accuracy[16];
    char up[16];
    char down[16];

    format_share(loss, row->loss, "%.4f");
    format_share(accuracy, row->accuracy * 100.0, "%.2f %%");
    table_bytes(up, row->bytes_up);
    table_bytes(down, row->bytes_down);
    printf("%5u %8u %6u %9s %10s %9s %9s %8.1f\n", row->round, row->participants,
           row->failed, loss, accuracy, up, down, row->seconds);
}

static void print_header(struct table *table)
{
    if (table->has_header)
        return;
    printf("%5s %8s %6s %9s %10s %9s %9s %8s\n", "round", "devices", "failed", "loss",
           "accuracy", "up", "down", "seconds");
    table->has_header = true;
}

void table_show(struct table *table, const struct status *status, uint32_t rounds,
                double seconds)
{
    char of[16] = "";

    if (table->n_rows < status->n_rows) {
        table_end(table);
        print_header(table);
    }
    for (; table->n_rows < status->n_rows; table->n_rows++)
        print_row(&status->rows[table->n_rows]);
    if (table->live && !status->finished) {
        print_header(table);
        if (rounds > 0)
            snprintf(of, sizeof(of), " of %u", rounds);
        printf(ERASE "%5u %5u/%-2u  running: round %u%s, %u devices known %8.1f",
               status->round, status->accepted, status->participants, status->round, of,
               status->checked_in, seconds);
        table->has_live = true;
    }
    fflush(stdout);
}
