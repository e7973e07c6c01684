/* See clients.h. */
#include "clients.h"

#include "../common/complain.h"
#include "hash.h"

#include <stdlib.h>
#include <string.h>

bool client_id_is_valid(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "0123456789._-");
    return n >= 1 && n <= CLIENT_ID_MAX && id[n] == '\0';
}

/* Index of the first id that is not below `id`. */
static size_t lower_bound(const struct clients *c, const char *id)
{
    size_t low = 0;
    size_t high = c->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(c->items[mid].id, id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct client *clients_find(const struct clients *c, const char *id)
{
    size_t i = lower_bound(c, id);

    return i < c->n && strcmp(c->items[i].id, id) == 0 ? &c->items[i] : NULL;
}

static cygnet_status grow(struct clients *c, cygnet_error *err)
{
    size_t cap = c->cap ? 2 * c->cap : 64;
    struct client *items = realloc(c->items, cap * sizeof *items);

    if (!items)
        return complain(err, CYGNET_ENOMEM, 0, "out of memory for %zu clients", cap);
    c->items = items;
    c->cap = cap;
    return CYGNET_OK;
}

cygnet_status clients_add(struct client **out, struct clients *c, const char *id,
                          cygnet_error *err)
{
    size_t i = lower_bound(c, id);
    cygnet_status st = CYGNET_OK;

    if (c->n >= CLIENTS_MAX)
        return complain(err, CYGNET_ELIMIT, 0, "more than %d clients", CLIENTS_MAX);
    if (c->n == c->cap)
        st = grow(c, err);
    if (st != CYGNET_OK)
        return st;
    memmove(&c->items[i + 1], &c->items[i], (c->n - i) * sizeof *c->items);
    c->items[i] = (struct client){.present = true};
    memcpy(c->items[i].id, id, strlen(id) + 1);
    c->n++;
    *out = &c->items[i];
    return CYGNET_OK;
}

struct client *clients_stalest(const struct clients *c)
{
    struct client *worst = NULL;

    for (size_t i = 0; i < c->n; i++) {
        struct client *one = &c->items[i];
        if (!one->seated && (!worst || one->seen_ms < worst->seen_ms))
            worst = one;
    }
    return worst;
}

void clients_remove(struct clients *c, struct client *client)
{
    size_t i = (size_t)(client - c->items);

    c->n--;
    memmove(client, client + 1, (c->n - i) * sizeof *client);
}

size_t clients_present(const struct clients *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        n += c->items[i].present;
    return n;
}

void clients_clear(struct clients *c)
{
    free(c->items);
    *c = (struct clients){0};
}

uint64_t lottery_draw(const struct lottery *lottery, const char *id)
{
    return hash_draw(lottery->seed, "select", lottery->round, lottery->attempt, id);
}

void clients_deal(struct clients *c, const struct lottery *lottery)
{
    for (size_t i = 0; i < c->n; i++) {
        c->items[i].draw = lottery_draw(lottery, c->items[i].id);
        c->items[i].seated = false;
    }
}

struct client *clients_next(const struct clients *c)
{
    struct client *best = NULL;

    for (size_t i = 0; i < c->n; i++) {
        struct client *one = &c->items[i];
        if (one->present && !one->seated && (!best || one->draw < best->draw))
            best = one;
    }
    return best;
}
