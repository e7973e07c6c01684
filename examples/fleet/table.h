/* The table that the fleet shows: a line per finished round, and on a terminal
 * a last line for the running one that is redrawn in place. */
#ifndef FLEET_TABLE_H
#define FLEET_TABLE_H

#include "status.h"

struct table {
    bool live;       /* standard output is a terminal that can redraw */
    bool has_header; /* printed already */
    bool has_live;   /* the last line is the running round */
    uint32_t n_rows; /* finished rounds printed */
};

/* Decides whether to redraw: a terminal, and TERM is neither unset nor dumb. */
void table_init(struct table *table);

/* Prints rounds that have finished since, and the running one. `seconds` it has
 * run for; rounds 0: nobody knows how many there are. */
void table_show(struct table *table, const struct status *status, uint32_t rounds,
                double seconds);

/* Prints one line above the running one. */
void table_note(struct table *table, const char *format, ...) CYGNET_PRINTF(2, 3);

/* Removes the running line. */
void table_end(struct table *table);

/* "1.2 MB" and the like, decimal. */
void table_bytes(char out[16], uint64_t bytes);

#endif
