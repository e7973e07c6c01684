/* IDX, the format of MNIST: strict parsing of image (magic 0x803) and label
 * (magic 0x801) files held in memory, gzip or not. */
#ifndef PROGRAMS_IDX_H
#define PROGRAMS_IDX_H

#include <cygnet/status.h>
#include <stddef.h>
#include <stdint.h>

#define IDX_MAX_ROWS (1u << 20)           /* images or labels in a file */
#define IDX_MAX_SIDE 1024u                /* pixels of a side */
#define IDX_MAX_BYTES ((size_t)512 << 20) /* pixels of a file, decompressed */

/* n images of height x width bytes, or n labels with height = width = 1. */
struct idx {
    uint32_t n;
    uint32_t height;
    uint32_t width;
    uint8_t *bytes; /* owned */
};

enum idx_kind { IDX_IMAGES, IDX_LABELS };

/* Parses a whole file. Nothing larger than the header promises (and the limits
 * above allow) is ever decompressed.
 * out   cleared by the caller with idx_clear; empty on failure
 * name  the file, for the message
 * Errors: EFORMAT (magic, truncated, trailing bytes, damaged gzip), ELIMIT,
 * ENOMEM. */
cygnet_status idx_parse(struct idx *out, enum idx_kind kind, const void *data, size_t len,
                        const char *name, cygnet_error *err);

void idx_clear(struct idx *idx);

#endif
