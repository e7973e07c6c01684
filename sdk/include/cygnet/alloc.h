/* The allocator seam.
 *
 * Covers all memory that Cygnet itself asks for. The process-global hooks of
 * libcurl, cJSON and the C library are left alone.
 * Stability: stable.
 */
#ifndef CYGNET_ALLOC_H
#define CYGNET_ALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Wherever a `const cygnet_allocator *` is taken, NULL means malloc and free.
 * The struct is borrowed and must outlive every object created with it. Its
 * functions may be called from any thread, several at once.
 *
 * resize   like realloc: (NULL, n) allocates, keeps the first bytes, returns
 *          NULL on failure and leaves `ptr` alone. Never called with size 0.
 *          Memory must be aligned as malloc's is.
 * release  like free; never called with NULL. */
typedef struct cygnet_allocator {
    void *(*resize)(void *ptr, size_t size, void *user);
    void (*release)(void *ptr, void *user);
    void *user;
} cygnet_allocator;

#ifdef __cplusplus
}
#endif
#endif
