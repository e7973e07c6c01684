/* What the two directions of moves of channels share: for lower_channels*.c only. */
#ifndef ENGINE_NN_LOWER_CHANNELS_H
#define ENGINE_NN_LOWER_CHANNELS_H

#include "engine/nn/lower_parts.h"

/* Lanes of a panel that come from one panel of one source. */
struct piece {
    uint32_t source;
    uint32_t panel;
    int8_t lane[PANEL];
};

/* Panel p is made of pieces [first[p], first[p + 1]). */
struct pieces {
    size_t n_panels;
    size_t *first;
    struct piece *piece;
};

/* Where each lane of some panels comes from: source -1: from nowhere. */
struct lanes {
    size_t n;
    struct lane {
        int source;
        size_t channel;
    } * lane;
};

/* Lanes of the panels of so many channels, all from nowhere. False: out of memory, which
 * is remembered. */
bool channels_begin_lanes(struct lowering *l, struct lanes *lanes, size_t channels);
void channels_end_lanes(struct lowering *l, struct lanes *lanes);

/* Sorts the lanes into pieces. False: out of memory. */
bool channels_cut(struct lowering *l, struct pieces *out, const struct lanes *lanes);

/* plan: y, channel by channel, is what the sources are read as. */
struct gather_plan {
    struct pieces pieces;
    struct operand *source;
    size_t n_sources;
    enum activation act; /* of all of them */
};

/* The panels of a block. */
struct span channels_panels(const struct call *call, size_t block);

/* Blocks of few rows are split by panels, of which each has its own lanes to look up. */
void channels_split_panels(const struct lowering *l, struct partition *blocks,
                           const struct operand *x);

/* A call with such a plan: writes the rows of its block to the call's first buffer. */
void channels_gather(const struct call *call, const struct step *step, size_t block,
                     size_t worker);

#endif
