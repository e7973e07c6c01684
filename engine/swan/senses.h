/* What the system tells a controller: run-queue waits of our own threads, what others
 * use of each core, frequency limits. Linux; elsewhere everything is unknown.
 *
 * Files below a root folder: proc/self/task/<thread>/{schedstat,stat}, proc/stat,
 * sys/devices/system/cpu/cpu<n>/cpufreq. Source: Linux, sched-stats.rst, proc(5). */
#ifndef ENGINE_SWAN_SENSES_H
#define ENGINE_SWAN_SENSES_H

#include "engine/swan/controller.h"

#include <cygnet/alloc.h>

struct senses;

/* What the senses watch. threads: the kernel's numbers, 0 for none; copied.
 * Errors: ENOMEM. */
cygnet_status senses_open(struct senses **out, const char *root, const int32_t *threads,
                          size_t n_threads, const cygnet_allocator *alloc,
                          cygnet_error *err);

/* Fills wait, foreign and clock of a sight at sight->now_ms, from what has changed since
 * the look before; the first look knows nothing yet. What others use is known only where
 * what each thread took is. in_use(n_cores) says which cores
 * training may be on. Allocates nothing. */
void senses_look(struct senses *senses, struct controller_sight *sight,
                 const struct soc *soc, const bool *in_use);

/* Accepts NULL. */
void senses_close(struct senses *senses);

#endif
