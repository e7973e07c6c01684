/* The best choice of a mask of entries by a policy's own measure, whatever disturbs. */
#ifndef ENGINE_SWAN_POLICY_SELECT_H
#define ENGINE_SWAN_POLICY_SELECT_H

#include "engine/swan/policy_view.h"

/* entry   -1: the mask is empty
 * reason  why it is the best
 * values  what it is the best by: view->mj or view->ms; NULL where nothing is compared */
struct selection {
    int32_t entry;
    enum policy_reason reason;
    const double *values;
};

/* mask  entries that are thought of; those of the frontier, for `swan` and `efficient` */
struct selection policy_select(const struct view *view, const bool *mask);

/* Fills a decision with an entry and one English line. */
void policy_say(struct policy_decision *out, int32_t entry, enum policy_reason reason,
                const char *format, ...) CYGNET_PRINTF(4, 5);

/* Says a selection with its numbers. */
void policy_say_selection(struct policy_decision *out, const struct view *view,
                          const struct selection *selection);

#endif
