/* Any bytes as a pickle: refused, or a value whose parts can all be looked at. */
#include "transport/pickle.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VISITS 100000 /* values may be shared, so that walks grow without end */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk {
    const uint8_t *begin;
    const uint8_t *end;
    size_t n_visits;
};

static void visit_bytes(const struct walk *w, const struct pickle_value *v)
{
    if (v->as.bytes < w->begin || v->n > (size_t)(w->end - v->as.bytes))
        abort();
}

static void visit(struct walk *w, const struct pickle_value *v, int depth)
{
    if (w->n_visits++ > MAX_VISITS)
        return;
    if (depth > PICKLE_MAX_DEPTH || v->depth > PICKLE_MAX_DEPTH)
        abort();
    if (v->kind == PICKLE_STRING || v->kind == PICKLE_BYTES)
        visit_bytes(w, v);
    if (v->kind < PICKLE_LIST || v->kind == PICKLE_GLOBAL)
        return;
    for (size_t i = 0; i < v->n; i++) {
        if (v->as.items[i]->depth >= v->depth)
            abort();
        visit(w, v->as.items[i], depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pickle_global globals[] = {
        {"torch._utils", "_rebuild_tensor_v2"},
        {"torch.storage", "_load_from_bytes"},
        {"collections", "OrderedDict"},
    };
    static const struct pickle_rules rules = {globals, 3, true};
    struct walk w = {data, data + size, 0};
    struct pickle *pickle;
    cygnet_error err;
    size_t used = 0;

    if (pickle_load(&pickle, data, size, &used, &rules, NULL, &err) == CYGNET_OK) {
        if (used > size)
            abort();
        visit(&w, pickle_root(pickle), 0);
    } else if (pickle || memchr(err.message, '\n', strlen(err.message))) {
        abort();
    }
    pickle_destroy(pickle);
    return 0;
}
