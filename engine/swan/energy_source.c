/* Names of the sources of energy. */
#include "engine/swan/energy_source.h"

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
