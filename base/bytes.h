/* A growable byte buffer that is born with a maximum. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <cygnet/alloc.h>
#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

/* data  NULL while cap is 0; bytes_text keeps a NUL behind data[len - 1] */
struct bytes {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max;
    const cygnet_allocator *alloc;
};

/* An empty buffer that refuses to hold more than `max` bytes. Cannot fail. */
void bytes_init(struct bytes *bytes, size_t max, const cygnet_allocator *alloc);

/* Appends; on failure the content is as before. Errors: ELIMIT, ENOMEM. */
cygnet_status bytes_append(struct bytes *bytes, const void *data, size_t len,
                           cygnet_error *err);
cygnet_status bytes_printf(struct bytes *bytes, cygnet_error *err, const char *format,
                           ...) CYGNET_PRINTF(3, 4);

/* Makes room for `len` more bytes and returns where they go in *out; the caller
 * writes them and adds to bytes->len. Errors: ELIMIT, ENOMEM. */
cygnet_status bytes_reserve(uint8_t **out, struct bytes *bytes, size_t len,
                            cygnet_error *err);

/* The content as a NUL-terminated string, "" when empty; borrowed until the next
 * change. NULL when there is no room for the NUL. */
const char *bytes_text(struct bytes *bytes);

/* Hands the content over as a NUL-terminated string, which the caller frees with the
 * buffer's allocator; the buffer is then empty. On failure it stays, and *out too.
 * Errors: ENOMEM. */
cygnet_status bytes_give(char **out, struct bytes *bytes, cygnet_error *err);

/* Forgets the content, keeps the memory. */
void bytes_reset(struct bytes *bytes);

/* Frees; the buffer may be used again with the same maximum. */
void bytes_clear(struct bytes *bytes);

/* Little-endian loads and stores, any alignment. */
uint32_t load_u32le(const uint8_t *p);
uint64_t load_u64le(const uint8_t *p);
void store_u32le(uint8_t *p, uint32_t value);
void store_u64le(uint8_t *p, uint64_t value);

#endif
