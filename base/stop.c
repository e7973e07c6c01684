/* The stop word, as the public interfaces see it. */
#include "base/stop.h"

int cygnet_stopped(const cygnet_stop *stop)
{
    return stop && atomic_load(&stop->word) != 0;
}
