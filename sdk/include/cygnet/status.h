/* Status codes and the error record that every fallible call can fill.
 *
 * Stability: stable. The enum is append-only and cygnet_error is frozen.
 */
#ifndef CYGNET_STATUS_H
#define CYGNET_STATUS_H

#include <stdint.h>

#if defined(__GNUC__)
#define CYGNET_API __attribute__((visibility("default")))
#define CYGNET_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define CYGNET_API
#define CYGNET_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a call can answer. CYGNET_OK is 0; every other value is a failure and
 * comes with one English line in cygnet_error.message. "The server said no" is
 * not a failure: see cygnet_outcome in <cygnet/cygnet.h>. */
typedef enum cygnet_status {
    CYGNET_OK = 0,
    CYGNET_EINVAL = 1,    /* an argument or option is outside its documented range */
    CYGNET_ENOMEM = 2,    /* the allocator refused, or a stated memory limit was hit */
    CYGNET_ESTORAGE = 3,  /* reading or writing the state or cache directory failed */
    CYGNET_ENOSPC = 4,    /* the disk is full */
    CYGNET_EBUSY = 5,     /* another client holds the state directory */
    CYGNET_ENOTFOUND = 6, /* a named thing (file, tensor, model) does not exist */
    CYGNET_EFORMAT = 7,   /* a file or message is damaged or malformed */
    CYGNET_ELIMIT = 8,    /* well formed, but larger than a stated limit */
    CYGNET_ESHAPE = 9,    /* a tensor has the wrong shape or dtype */
    CYGNET_EUNSUPPORTED = 10, /* valid, but this build cannot do it */
    CYGNET_EDATA = 11,        /* the host's training data is unusable */
    CYGNET_ENUMERIC = 12,     /* NaN or infinity appeared in the data, loss or weights */
    CYGNET_ENETWORK = 13,     /* name resolution, connection or transfer failed */
    CYGNET_ETLS = 14,       /* the peer's certificate or the TLS handshake was refused */
    CYGNET_EPROTOCOL = 15,  /* the peer broke the protocol */
    CYGNET_ESERVER = 16,    /* the server answered 5xx or 429; worth trying later */
    CYGNET_EREFUSED = 17,   /* the server answered another 4xx; trying again is no use */
    CYGNET_EAUTH = 18,      /* the server wants credentials that the host did not give */
    CYGNET_ETIMEOUT = 19,   /* a stated time limit passed */
    CYGNET_ECANCELLED = 20, /* cygnet_client_cancel, or an abort asked by a hook */
    CYGNET_EHASH = 21, /* bytes arrived whole but their SHA-256 is not the promised one */
    CYGNET_EHOST = 22, /* a host hook failed; its own code is in cygnet_error.detail */
    CYGNET_ESTATE = 23 /* the call is not allowed in the object's present state */
} cygnet_status;

#define CYGNET_ERROR_MESSAGE_BYTES 256

/* Filled only on failure, owned by the caller, safe to reuse without clearing.
 * Each function that takes one takes it last and accepts NULL.
 *
 * status   the value the call returned
 * detail   errno, HTTP status, or a hook's own code, as status implies; else 0
 * message  one English line, NUL-terminated, no trailing newline */
typedef struct cygnet_error {
    cygnet_status status;
    int32_t detail;
    char message[CYGNET_ERROR_MESSAGE_BYTES];
} cygnet_error;

/* The enumerator's name without the prefix, for instance "ENOMEM"; "UNKNOWN"
 * for a value this build does not know. Static storage. Any thread. */
CYGNET_API const char *cygnet_status_name(cygnet_status status);

#ifdef __cplusplus
}
#endif
#endif
