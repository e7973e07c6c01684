/* The honest coordinator behind a real socket on 127.0.0.1, plain HTTP/1.1, one
 * connection at a time, on a thread of its own. It can fall silent at a chosen
 * point, for ever. */
#ifndef TESTS_LOOPBACK_SERVER_H
#define TESTS_LOOPBACK_SERVER_H

#include "tests/fakes/honest_coordinator.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

enum loopback_trouble {
    LOOPBACK_FINE,
    LOOPBACK_SILENT_WEIGHTS, /* half of the weights, and then nothing */
    LOOPBACK_SILENT_UPDATE,  /* reads a little of the update, and then nothing */
    LOOPBACK_BUSY_WEIGHTS    /* 503 for the weights, with Retry-After: 60 */
};

/* url      of the server, once started
 * reached  posted each time that the trouble begins */
struct loopback_server {
    struct honest_coordinator *coordinator;
    enum loopback_trouble trouble;
    char url[64];
    sem_t reached;
    atomic_int ends;
    int listener;
    pthread_t thread;
};

/* Returns 0 if done. */
int loopback_start(struct loopback_server *server, struct honest_coordinator *c,
                   enum loopback_trouble trouble);
void loopback_stop(struct loopback_server *server);

#endif
