/* The stop word: how a blocking call learns, from any thread, that it should
 * end. Handed to the interfaces of this tier.
 *
 * Stability: sys tier. It may change in a minor release.
 */
#ifndef CYGNET_SYS_STOP_H
#define CYGNET_SYS_STOP_H

#include <cygnet/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cygnet_stop cygnet_stop;

/* 1 when the call that was given `stop` should return ECANCELLED as soon as it
 * can, else 0. NULL never stops. Any thread. */
CYGNET_API int cygnet_stopped(const cygnet_stop *stop);

#ifdef __cplusplus
}
#endif
#endif
