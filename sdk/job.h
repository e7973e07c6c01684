/* The job that was agreed on beforehand (cygnet_options.job), checked and made the
 * client's own. */
#ifndef SDK_JOB_H
#define SDK_JOB_H

#include <cygnet/sys/coordinator.h>

/* Copies `given` with its strings.
 * out  receives the job; free with job_destroy. NULL when `given` is
 * Errors: EINVAL "job.field: what is wrong with it", ENOMEM. On failure *out is NULL. */
cygnet_status job_adopt(const cygnet_job **out, const cygnet_job *given,
                        const cygnet_allocator *alloc, cygnet_error *err);
void job_destroy(const cygnet_job *job, const cygnet_allocator *alloc); /* accepts NULL */

#endif
