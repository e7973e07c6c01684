/* See seats.h. */
#include "seats.h"

#include "../common/complain.h"

#include <stdlib.h>
#include <string.h>

struct seat *seat_of_client(const struct round *round, const char *id)
{
    for (size_t i = 0; i < round->n_seats; i++)
        if (strcmp(round->seats[i].client_id, id) == 0)
            return &round->seats[i];
    return NULL;
}

struct seat *seat_of_token(const struct round *round, const char *token)
{
    for (size_t i = 0; i < round->n_seats; i++)
        if (round->seats[i].token[0] && strcmp(round->seats[i].token, token) == 0)
            return &round->seats[i];
    return NULL;
}

uint32_t rounds_count(const struct round *round, enum seat_state state)
{
    uint32_t n = 0;

    for (size_t i = 0; i < round->n_seats; i++)
        n += round->seats[i].state == state;
    return n;
}

bool seat_is_taken(const struct seat *seat)
{
    return seat->state == SEAT_INVITED || seat->state == SEAT_ASSIGNED ||
           seat->state == SEAT_ACCEPTED;
}

uint32_t rounds_count_failed(const struct round *round)
{
    uint32_t n = 0;

    for (size_t i = 0; i < round->n_seats; i++) {
        const struct seat *seat = &round->seats[i];
        n += !seat_is_taken(seat) ||
             (seat->state != SEAT_ACCEPTED && (seat->overdue || round->by_deadline));
    }
    return n;
}

bool has_overdue_seat(const struct round *round)
{
    for (size_t i = 0; i < round->n_seats; i++)
        if (round->seats[i].state != SEAT_ACCEPTED && seat_is_taken(&round->seats[i]) &&
            round->seats[i].overdue)
            return true;
    return false;
}

bool has_active_seat(const struct round *round)
{
    for (size_t i = 0; i < round->n_seats; i++) {
        const struct seat *seat = &round->seats[i];
        if ((seat->state == SEAT_INVITED || seat->state == SEAT_ASSIGNED) &&
            !seat->overdue)
            return true;
    }
    return false;
}

cygnet_status round_add_seat(struct round *round, const struct seat *seat,
                             cygnet_error *err)
{
    if (round->n_seats == round->cap_seats) {
        size_t cap = round->cap_seats ? 2 * round->cap_seats : 16;
        struct seat *seats = realloc(round->seats, cap * sizeof *seats);
        if (!seats)
            return complain(err, CYGNET_ENOMEM, 0, "out of memory for %zu participants",
                            cap);
        round->seats = seats;
        round->cap_seats = cap;
    }
    round->seats[round->n_seats++] = *seat;
    return CYGNET_OK;
}
