/* Where an amount of energy is known from. */
#ifndef ENGINE_SWAN_ENERGY_SOURCE_H
#define ENGINE_SWAN_ENERGY_SOURCE_H

#include <stdbool.h>

/* The best first. Unknown is legal and is never taken for zero. */
enum energy_source {
    ENERGY_UNKNOWN = 0,
    ENERGY_HOST,    /* the app's own meter */
    ENERGY_RAPL,    /* the package's counter, powercap */
    ENERGY_BATTERY, /* the battery's fuel gauge; true only when unplugged */
    ENERGY_MODEL    /* watts per core of each cluster times time */
};

/* "host", "rapl", "battery", "model", "unknown". */
const char *energy_source_name(enum energy_source source);

/* The source of that name. False: there is none, *out is not written. */
bool energy_source_parse(enum energy_source *out, const char *name);

#endif
