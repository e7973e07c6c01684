/* Structs that the caller allocates and that grow at their end from release to
 * release: taking in a smaller one of an older header, or a larger one of a newer. */
#ifndef BASE_SIZED_H
#define BASE_SIZED_H

#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#define SIZED_MAX_BYTES 4096 /* no release will come near: larger is garbage */

/* The bytes up to the end of a member. The size of a pointer is what is asked for. */
/* NOLINTNEXTLINE(bugprone-sizeof-expression) */
#define SIZED_UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* What a struct is: its name in messages, and its sizes here.
 *
 * min_bytes  the smallest that holds what cannot have a default */
struct sized {
    const char *name;
    size_t size_bytes;
    size_t min_bytes;
    size_t align_bytes;
};

/* Copies `given` over `out`, which already holds the defaults of what `given` is
 * too old to have; out's struct_size becomes this build's.
 * Errors: EINVAL (struct_size that no release had; a field set that this build
 * does not know). */
cygnet_status sized_adopt(void *out, const void *given, const struct sized *type,
                          cygnet_error *err);

/* Checks struct_size only, for structs that are written to. */
cygnet_status sized_check(uint32_t struct_size, const struct sized *type,
                          cygnet_error *err);

/* Fills the caller's `out`, whose struct_size says how much of `own` (size_bytes of
 * it) there is room for. NULL: nothing. */
void sized_give(void *out, const void *own, size_t size_bytes);

#endif
