/* The names of enumerators, and the version. */
#include <cygnet/cygnet.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

static const char *const phase_names[] = {
    [CYGNET_PHASE_IDLE] = "idle",
    [CYGNET_PHASE_ELIGIBLE] = "eligible",
    [CYGNET_PHASE_CHECKED_IN] = "checked_in",
    [CYGNET_PHASE_ASSIGNED] = "assigned",
    [CYGNET_PHASE_FETCHED] = "fetched",
    [CYGNET_PHASE_TRAINING] = "training",
    [CYGNET_PHASE_TRAINED] = "trained",
    [CYGNET_PHASE_ENCODED] = "encoded",
    [CYGNET_PHASE_UPLOADING] = "uploading",
    [CYGNET_PHASE_REPORTED] = "reported",
    [CYGNET_PHASE_INTERRUPTED] = "interrupted",
};

static const char *const outcome_names[] = {
    [CYGNET_OUTCOME_NONE] = "none",
    [CYGNET_OUTCOME_COMPLETED] = "completed",
    [CYGNET_OUTCOME_NOT_ELIGIBLE] = "not_eligible",
    [CYGNET_OUTCOME_DECLINED] = "declined",
    [CYGNET_OUTCOME_TOO_LATE] = "too_late",
    [CYGNET_OUTCOME_ABORTED] = "aborted",
    [CYGNET_OUTCOME_INTERRUPTED] = "interrupted",
    [CYGNET_OUTCOME_FAILED] = "failed",
    [CYGNET_OUTCOME_FINISHED] = "finished",
    [CYGNET_OUTCOME_EVALUATED] = "evaluated",
};

static const char *name_of(const char *const *names, size_t n_names, int value)
{
    if (value < 0 || (size_t)value >= n_names)
        return "unknown";
    return names[value];
}

const char *cygnet_phase_name(cygnet_phase phase)
{
    return name_of(phase_names, sizeof(phase_names) / sizeof(*phase_names), (int)phase);
}

const char *cygnet_outcome_name(cygnet_outcome outcome)
{
    return name_of(outcome_names, sizeof(outcome_names) / sizeof(*outcome_names),
                   (int)outcome);
}

const char *cygnet_version(void)
{
    return STRINGIFY(CYGNET_VERSION_MAJOR) "." STRINGIFY(
        CYGNET_VERSION_MINOR) "." STRINGIFY(CYGNET_VERSION_PATCH);
}
