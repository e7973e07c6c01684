/* The job: defaults, ranges and a deep copy. */
#include "sdk/job.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sized.h"

#include <math.h>
#include <string.h>

#define MAX_BATCH 65536
#define MAX_COUNT 1000000000u

static const struct sized job_type = {"job", sizeof(cygnet_job),
                                      SIZED_UP_TO(cygnet_job, seed),
                                      _Alignof(cygnet_job)};

void cygnet_job_init(cygnet_job *job)
{
    *job = (cygnet_job){
        .struct_size = sizeof(*job),
        .n_classes = 10,
        .epochs = 1,
        .steps = 20,
        .batch = 30,
        .momentum = 0.9f,
        .weight_decay = 5e-4f,
        .deadline_s = 3600,
        .collection = "",
        .evaluate_collection = "test",
    };
}

/* ---- Ranges ---------------------------------------------------------------- */

static cygnet_status check_number(const char *name, uint64_t value, uint64_t min,
                                  uint64_t max, cygnet_error *err)
{
    if (value >= min && value <= max)
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "job.%s: %llu is not in %llu..%llu", name,
                (unsigned long long)value, (unsigned long long)min,
                (unsigned long long)max);
}

static cygnet_status check_text(const char *name, const char *text, size_t max,
                                cygnet_error *err)
{
    if (!text)
        return fail(err, CYGNET_EINVAL, 0, "job.%s: is NULL", name);
    if (strlen(text) > max)
        return fail(err, CYGNET_EINVAL, 0, "job.%s: is longer than %zu bytes", name, max);
    return CYGNET_OK;
}

static cygnet_status check_texts(const cygnet_job *job, cygnet_error *err)
{
    cygnet_status st;

    if (!job->architecture || job->architecture[0] == '\0')
        return fail(err, CYGNET_EINVAL, 0,
                    "job.architecture: is required (\"lenet5\", \"resnet18\", ...)");
    st = check_text("architecture", job->architecture, CYGNET_ARCHITECTURE_MAX, err);
    if (st == CYGNET_OK)
        st = check_text("collection", job->collection, CYGNET_COLLECTION_MAX, err);
    if (st == CYGNET_OK)
        st = check_text("evaluate_collection", job->evaluate_collection,
                        CYGNET_COLLECTION_MAX, err);
    return st;
}

static cygnet_status check_input(const cygnet_job *job, cygnet_error *err)
{
    cygnet_status st = check_number("n_input_dims", job->n_input_dims, 0, 4, err);

    for (uint32_t d = 0; d < job->n_input_dims && st == CYGNET_OK; d++)
        st = check_number("input", job->input[d], 1, MAX_COUNT, err);
    return st;
}

static cygnet_status check_sgd(const cygnet_job *job, cygnet_error *err)
{
    if (!(job->momentum >= 0.0f && job->momentum < 1.0f))
        return fail(err, CYGNET_EINVAL, 0, "job.momentum: %g is not in [0, 1)",
                    (double)job->momentum);
    if (!(job->weight_decay >= 0.0f) || !isfinite(job->weight_decay))
        return fail(err, CYGNET_EINVAL, 0,
                    "job.weight_decay: %g is negative or not finite",
                    (double)job->weight_decay);
    return CYGNET_OK;
}

static cygnet_status check(const cygnet_job *job, cygnet_error *err)
{
    cygnet_status st = check_texts(job, err);

    if (st == CYGNET_OK)
        st = check_number("n_classes", job->n_classes, 1, MAX_COUNT, err);
    if (st == CYGNET_OK)
        st = check_input(job, err);
    if (st == CYGNET_OK)
        st = check_number("steps", job->steps, 0, MAX_COUNT, err);
    if (st == CYGNET_OK)
        st = check_number("epochs", job->epochs, job->steps > 0 ? 0 : 1, MAX_COUNT, err);
    if (st == CYGNET_OK)
        st = check_number("batch", job->batch, 1, MAX_BATCH, err);
    if (st == CYGNET_OK)
        st = check_number("deadline_s", job->deadline_s, 1, MAX_COUNT, err);
    return st == CYGNET_OK ? check_sgd(job, err) : st;
}

/* ---- The copy -------------------------------------------------------------- */

static cygnet_status copy(cygnet_job **out, const cygnet_job *job,
                          const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_job *own = mem_alloc(alloc, sizeof(*own));

    if (own) {
        *own = *job;
        own->architecture = mem_strdup(alloc, job->architecture);
        own->collection = mem_strdup(alloc, job->collection);
        own->evaluate_collection = mem_strdup(alloc, job->evaluate_collection);
    }
    if (own && own->architecture && own->collection && own->evaluate_collection) {
        *out = own;
        return CYGNET_OK;
    }
    job_destroy(own, alloc);
    return fail(err, CYGNET_ENOMEM, 0, "no memory for the job");
}

cygnet_status job_adopt(const cygnet_job **out, const cygnet_job *given,
                        const cygnet_allocator *alloc, cygnet_error *err)
{
    cygnet_job all;
    cygnet_job *own = NULL;
    cygnet_status st;

    *out = NULL;
    if (!given)
        return CYGNET_OK;
    cygnet_job_init(&all);
    st = sized_adopt(&all, given, &job_type, err);
    if (st == CYGNET_OK)
        st = check(&all, err);
    if (st == CYGNET_OK)
        st = copy(&own, &all, alloc, err);
    *out = own;
    return st;
}

/* Ours: made by copy(). */
static void release(const void *ptr, const cygnet_allocator *alloc)
{
    mem_free(alloc, (void *)(uintptr_t)ptr);
}

void job_destroy(const cygnet_job *job, const cygnet_allocator *alloc)
{
    if (!job)
        return;
    release(job->architecture, alloc);
    release(job->collection, alloc);
    release(job->evaluate_collection, alloc);
    release(job, alloc);
}
