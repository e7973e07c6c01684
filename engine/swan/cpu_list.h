/* Sets of CPUs as the kernel writes them: "0-3,7". */
#ifndef ENGINE_SWAN_CPU_LIST_H
#define ENGINE_SWAN_CPU_LIST_H

#include "engine/pool/affinity.h"

/* What is known of a set. A file that is not there is ABSENT; one that cannot be read,
 * is longer than CPU_LIST_BYTES or holds no list is BAD. */
enum cpu_list { CPU_LIST_GOOD, CPU_LIST_ABSENT, CPU_LIST_BAD };

#define CPU_LIST_BYTES 4096

/* Numbers and ranges between commas or blanks; "" is the empty set. Numbers from
 * AFFINITY_MAX_CPUS on are left out.
 * highest  (may be NULL) the highest number named, left out or not; 0 of none
 * False: no list, *out is unspecified. */
bool cpu_list_parse(struct affinity *out, uint64_t *highest, const char *text);

/* The same of a file's whole text; `key` NULL, or of its line "key:\tlist". */
enum cpu_list cpu_list_read(struct affinity *out, uint64_t *highest, const char *path,
                            const char *key);

size_t cpu_list_count(const struct affinity *set);

#endif
