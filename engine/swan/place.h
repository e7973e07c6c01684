/* From a choice, which is a number of cores of each cluster, to cores. */
#ifndef ENGINE_SWAN_PLACE_H
#define ENGINE_SWAN_PLACE_H

#include "engine/pool/pool.h"
#include "engine/swan/controller.h"

/* Picks usable cores: of each cluster those that nobody else wants, then those that
 * are in use already, then whole physical cores before siblings, then the first. The
 * threads of a cluster share its cores (PLACEMENT_MASK); with PLACEMENT_NONE only their
 * number is granted. Where no core is usable one thread is granted, and left to the
 * system.
 *
 * controller  NULL: as if nobody else wanted any
 * before      what is granted now */
void place_choice(struct pool_grant *out, const struct choice *choice,
                  enum placement placement, const struct soc *soc,
                  const struct controller *controller, const struct pool_grant *before);

/* Whether the grants name the same threads and cpus. */
bool place_equal(const struct pool_grant *a, const struct pool_grant *b);

#endif
