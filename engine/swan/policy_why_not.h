/* Why the policy has not taken an entry that it could have taken: for people. */
#ifndef ENGINE_SWAN_POLICY_WHY_NOT_H
#define ENGINE_SWAN_POLICY_WHY_NOT_H

#include "engine/swan/policy_view.h"

/* Whether the policy has thought of the entry, or would have, were its cores usable. */
bool policy_thinks_of(const struct view *view, size_t entry);

/* One English line. Of an entry that policy_thinks_of, other than the decision's, which
 * was made while nothing disturbed and no choice was in use. */
void policy_why_not(char out[POLICY_WHY_BYTES], const struct view *view,
                    const struct policy_decision *decision, size_t entry);

#endif
