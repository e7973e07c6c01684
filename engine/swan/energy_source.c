/* Names of the sources of energy. */
#include "engine/swan/energy_source.h"

#include <string.h>

const char *energy_source_name(enum energy_source source)
{
    switch (source) {
    case ENERGY_RAPL:
        return "rapl";
    case ENERGY_BATTERY:
        return "battery";
    case ENERGY_HOST:
        return "host";
    case ENERGY_MODEL:
        return "model";
    case ENERGY_UNKNOWN:
        break;
    }
    return "unknown";
}

bool energy_source_parse(enum energy_source *out, const char *name)
{
    for (enum energy_source s = ENERGY_UNKNOWN; s <= ENERGY_MODEL; s++) {
        if (strcmp(energy_source_name(s), name) == 0) {
            *out = s;
            return true;
        }
    }
    return false;
}
