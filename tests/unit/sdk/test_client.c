/* The client's life: creation, cancel and notify from other threads, reports. */
#include "tests/fakes/blocking_coordinator.h"
#include "tests/unit/sdk/sdk_test.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define REACT_MS 200 /* what cygnet.h promises */
#define N_CLIENTS 4

static const cygnet_answer finished = {.reason = CYGNET_RETRY_FINISHED};
static const cygnet_answer busy = {.reason = CYGNET_RETRY_BUSY,
                                   .retry_min_s = 3600,
                                   .retry_max_s = 3600};

/* A client in a folder of its own, with a coordinator in process. */
struct bench {
    char folder[SANDBOX_BYTES];
    atomic_int n_looks; /* calls of device_state */
    cygnet_host host;
    cygnet_options options;
    struct blocking_coordinator coordinator;
    cygnet_client *client;
    cygnet_report report;
    cygnet_error err;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    if (!b)
        return -1;
    sandbox_make(b->folder);
    test_host(&b->host, &b->n_looks);
    test_options(&b->options, &b->host, b->folder);
    blocking_coordinator_init(&b->coordinator, NULL);
    b->options.coordinator = &b->coordinator.coordinator;
    cygnet_report_init(&b->report);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    cygnet_client_destroy(b->client);
    blocking_coordinator_clear(&b->coordinator);
    sandbox_remove(b->folder);
    free(b);
    return 0;
}

static void create(struct bench *b)
{
    if (cygnet_client_create(&b->client, &b->options, &b->err) != CYGNET_OK)
        fail_msg("create: %s", b->err.message);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Create ------------------------------------------------------------------ */

static void test_a_second_client_on_the_same_state_is_refused(void **state)
{
    struct bench *b = *state;
    cygnet_client *second = (cygnet_client *)b;

    create(b);
    assert_int_equal(cygnet_client_create(&second, &b->options, &b->err), CYGNET_EBUSY);
    assert_null(second);
    assert_non_null(strstr(b->err.message, "state_dir"));
    cygnet_client_destroy(b->client);
    create(b);
}

static void test_identity_survives_and_can_be_reset(void **state)
{
    struct bench *b = *state;
    char first[64];

    create(b);
    (void)snprintf(first, sizeof(first), "%s", cygnet_client_id(b->client));
    assert_int_equal(strlen(first), 32);
    cygnet_client_destroy(b->client);
    create(b);
    assert_string_equal(cygnet_client_id(b->client), first);
    assert_int_equal(cygnet_client_reset_identity(b->client, &b->err), CYGNET_OK);
    assert_string_not_equal(cygnet_client_id(b->client), first);
}

static void test_damaged_state_is_refused_and_left_alone(void **state)
{
    static const char damage[] = "this is not a record";
    char found[sizeof(damage)] = "";
    struct bench *b = *state;
    char path[SANDBOX_BYTES + 8];
    FILE *file;

    sandbox_write(b->folder, "round", damage);
    assert_int_equal(cygnet_client_create(&b->client, &b->options, &b->err),
                     CYGNET_EFORMAT);
    assert_null(b->client);
    (void)snprintf(path, sizeof(path), "%s/round", b->folder);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, sizeof(found) - 1, file), sizeof(found) - 1);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(found, damage);
}

static void test_null_arguments_are_refused(void **state)
{
    struct bench *b = *state;

    assert_int_equal(cygnet_client_create(NULL, &b->options, &b->err), CYGNET_EINVAL);
    assert_int_equal(cygnet_client_create(&b->client, NULL, &b->err), CYGNET_EINVAL);
    assert_int_equal(cygnet_client_create(&b->client, NULL, NULL), CYGNET_EINVAL);
    cygnet_client_destroy(NULL);
}

static void test_an_unreadable_ca_file_is_named(void **state)
{
    struct bench *b = *state;

    b->options.coordinator = NULL;
    b->options.ca_file = "/nonexistent/ca.pem";
    assert_int_equal(cygnet_client_create(&b->client, &b->options, &b->err),
                     CYGNET_EINVAL);
    assert_non_null(strstr(b->err.message, "ca_file"));
}

/* ---- Memory ------------------------------------------------------------------ */

struct counter {
    long n_requests;
    long fail_at;
    long n_live;
};

static void *counted_resize(void *ptr, size_t size, void *user)
{
    struct counter *counter = user;
    void *result;

    if (++counter->n_requests == counter->fail_at)
        return NULL;
    result = realloc(ptr, size);
    counter->n_live += result && !ptr;
    return result;
}

static void counted_release(void *ptr, void *user)
{
    struct counter *counter = user;

    counter->n_live--;
    free(ptr);
}

static void test_a_job_whose_model_cannot_be_built_is_named(void **state)
{
    struct bench *b = *state;
    cygnet_job job;

    cygnet_job_init(&job);
    b->options.job = &job;
    job.architecture = "perceptron9000";
    assert_int_equal(cygnet_client_create(&b->client, &b->options, &b->err),
                     CYGNET_EINVAL);
    assert_non_null(strstr(b->err.message, "job: "));
    assert_non_null(strstr(b->err.message, "perceptron9000"));
    job.architecture = "lenet5";
    job.n_input_dims = 3;
    job.input[0] = job.input[1] = job.input[2] = 1;
    assert_int_equal(cygnet_client_create(&b->client, &b->options, &b->err),
                     CYGNET_EINVAL);
    assert_int_equal(strncmp(b->err.message, "job: ", 5), 0);
    assert_null(b->client);
    job.n_input_dims = 0;
    b->options.max_model_bytes = 1000;
    assert_int_equal(cygnet_client_create(&b->client, &b->options, &b->err),
                     CYGNET_EINVAL);
    assert_non_null(strstr(b->err.message, "max_model_bytes is 1000"));
    b->options.max_model_bytes = 1 << 20;
    create(b);
}

static void test_each_refused_allocation_ends_create_without_a_leak(void **state)
{
    struct bench *b = *state;
    struct counter counter = {0, 0, 0};
    cygnet_allocator alloc = {counted_resize, counted_release, &counter};
    cygnet_status st = CYGNET_ENOMEM;
    cygnet_job job;

    cygnet_job_init(&job);
    job.architecture = "lenet5";
    b->options.job = &job;
    b->options.coordinator = NULL; /* the whole of it: curl, dialect, both stores */
    b->options.allocator = &alloc;
    for (long k = 1; st != CYGNET_OK; k++) {
        counter = (struct counter){0, k, 0};
        st = cygnet_client_create(&b->client, &b->options, &b->err);
        if (st == CYGNET_OK)
            assert_true(counter.n_requests < k);
        else
            assert_int_equal(st, CYGNET_ENOMEM);
        cygnet_client_destroy(b->client);
        b->client = NULL;
        assert_int_equal(counter.n_live, 0);
        assert_true(k < 1000);
    }
    assert_true(counter.n_requests > 3);
}

/* ---- Cancel and notify --------------------------------------------------------- */

static void test_cancel_before_a_run_ends_that_run_and_no_other(void **state)
{
    struct bench *b = *state;

    b->coordinator.answer = &finished;
    create(b);
    cygnet_client_cancel(b->client);
    cygnet_client_cancel(b->client);
    assert_int_equal(cygnet_client_run_once(b->client, &b->report, &b->err),
                     CYGNET_ECANCELLED);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_INTERRUPTED);
    assert_int_equal(b->report.status, CYGNET_ECANCELLED);
    assert_int_equal(b->err.status, CYGNET_ECANCELLED);
    assert_int_equal(cygnet_client_run_once(b->client, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FINISHED);
}

/* A run on a thread of its own. */
struct runner {
    struct bench *b;
    pthread_t thread;
    cygnet_status st;
    int64_t end_ms;
};

static void *run_until(void *arg)
{
    struct runner *runner = arg;
    struct bench *b = runner->b;

    runner->st = cygnet_client_run_until(b->client, 0, &b->report, &b->err);
    runner->end_ms = now_ms();
    return NULL;
}

static void start(struct runner *runner, struct bench *b)
{
    *runner = (struct runner){.b = b};
    create(b);
    assert_int_equal(pthread_create(&runner->thread, NULL, run_until, runner), 0);
}

/* Cancels, and the run has REACT_MS to return. */
static void assert_cancel_ends(struct runner *runner)
{
    int64_t start_ms = now_ms();

    cygnet_client_cancel(runner->b->client);
    assert_int_equal(pthread_join(runner->thread, NULL), 0);
    assert_int_equal(runner->st, CYGNET_ECANCELLED);
    assert_in_range((uint64_t)(runner->end_ms - start_ms), 0, REACT_MS);
}

static void test_cancel_ends_a_blocked_check_in(void **state)
{
    struct bench *b = *state;
    struct runner runner;

    start(&runner, b);
    (void)sem_wait(&b->coordinator.entered);
    assert_cancel_ends(&runner);
}

static void test_cancel_ends_the_wait_between_rounds(void **state)
{
    struct bench *b = *state;
    struct runner runner;

    b->coordinator.answer = &busy;
    start(&runner, b);
    (void)sem_wait(&b->coordinator.entered);
    assert_cancel_ends(&runner);
}

static int not_charging(cygnet_device_state *state, void *user)
{
    struct bench *b = user;

    state->charging = CYGNET_FALSE;
    atomic_fetch_add(&b->n_looks, 1);
    return 0;
}

static void wait_for_look(struct bench *b, int n)
{
    const struct timespec pause = {0, 1000000};
    int64_t start_ms = now_ms();

    while (atomic_load(&b->n_looks) < n && now_ms() - start_ms < 20 * REACT_MS)
        (void)nanosleep(&pause, NULL);
    assert_true(atomic_load(&b->n_looks) >= n);
}

static void test_notify_makes_a_waiting_run_look_at_the_device(void **state)
{
    struct bench *b = *state;
    struct runner runner;
    int64_t start_ms;

    b->host.device_state = not_charging;
    b->host.user = b;
    start(&runner, b);
    wait_for_look(b, 1);
    start_ms = now_ms();
    cygnet_client_notify(b->client);
    wait_for_look(b, 2);
    assert_in_range((uint64_t)(now_ms() - start_ms), 0, REACT_MS);
    assert_cancel_ends(&runner);
}

/* ---- Time of the host's own ----------------------------------------------------- */

#define N_WAITS 3

struct own_time {
    struct bench *b;
    int64_t ms;
    int n_waits;
};

static int64_t own_ms(void *user)
{
    const struct own_time *time = user;

    return time->ms;
}

/* An hour passes at once; the coordinator is finished after N_WAITS of them. */
static void own_wait_ms(int64_t ms, const struct cygnet_stop *stop, void *user)
{
    struct own_time *time = user;

    assert_true(ms > 0);
    assert_int_equal(cygnet_stopped(stop), 0);
    time->ms += ms;
    if (++time->n_waits == N_WAITS)
        time->b->coordinator.answer = &finished;
}

static int own_state(cygnet_device_state *device, void *user)
{
    (void)user;
    device->charging = device->idle = device->unmetered = CYGNET_TRUE;
    return 0;
}

static void test_a_host_with_clocks_of_its_own_waits_on_them(void **state)
{
    struct bench *b = *state;
    struct own_time time = {.b = b, .ms = 1};
    int64_t start_ms = now_ms();

    b->host.user = &time;
    b->host.device_state = own_state;
    b->host.wall_ms = own_ms;
    b->host.mono_ms = own_ms;
    b->host.wait_ms = own_wait_ms;
    b->coordinator.answer = &busy;
    create(b);
    assert_int_equal(cygnet_client_run_until(b->client, 0, &b->report, &b->err),
                     CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FINISHED);
    assert_true(time.n_waits >= N_WAITS);
    assert_true(time.ms >= 3600 * 1000);
    assert_true(now_ms() - start_ms < 3600 * 1000);
}

/* ---- Runs ---------------------------------------------------------------------- */

static int call_back(cygnet_device_state *state, void *user)
{
    struct bench *b = user;
    cygnet_error err;

    state->charging = CYGNET_TRUE;
    state->unmetered = CYGNET_TRUE;
    atomic_fetch_add(&b->n_looks,
                     cygnet_client_run_once(b->client, NULL, &err) == CYGNET_ESTATE);
    return 0;
}

static void test_a_hook_that_runs_its_own_client_is_refused(void **state)
{
    struct bench *b = *state;

    b->host.device_state = call_back;
    b->host.user = b;
    b->coordinator.answer = &finished;
    create(b);
    assert_int_equal(cygnet_client_run_once(b->client, NULL, NULL), CYGNET_OK);
    assert_true(atomic_load(&b->n_looks) > 0);
}

static int broken(cygnet_device_state *state, void *user)
{
    (void)state, (void)user;
    return 42;
}

static void test_a_hook_s_own_code_is_the_detail(void **state)
{
    struct bench *b = *state;

    b->host.device_state = broken;
    create(b);
    assert_int_equal(cygnet_client_run_once(b->client, &b->report, &b->err),
                     CYGNET_EHOST);
    assert_int_equal(b->err.detail, 42);
    assert_int_equal(b->report.status, CYGNET_EHOST);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FAILED);
}

static void test_a_shorter_report_is_filled_as_far_as_it_goes(void **state)
{
    struct bench *b = *state;

    b->coordinator.answer = &finished;
    create(b);
    b->report.struct_size = offsetof(cygnet_report, step);
    b->report.n_steps = 77;
    assert_int_equal(cygnet_client_run_once(b->client, &b->report, &b->err), CYGNET_OK);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_FINISHED);
    assert_int_equal(b->report.n_steps, 77);
    assert_int_equal(b->report.struct_size, offsetof(cygnet_report, step));
    b->report.struct_size = 0;
    assert_int_equal(cygnet_client_run_once(b->client, &b->report, &b->err),
                     CYGNET_EINVAL);
}

static int count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    int n = 0;

    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        n += entry->d_name[0] != '.';
    assert_int_equal(closedir(folder), 0);
    return n;
}

static void test_threads_start_with_the_first_training_and_not_before(void **state)
{
    struct bench *b = *state;
    int before = count_threads();

    b->options.n_threads = 3;
    b->coordinator.answer = &finished;
    create(b);
    assert_int_equal(count_threads(), before);
    assert_int_equal(cygnet_client_run_once(b->client, NULL, &b->err), CYGNET_OK);
    assert_int_equal(count_threads(), before); /* there was nothing to train */
}

/* Several clients in one process, each driven by a thread of its own while all are
 * notified and then cancelled from this one. */
static void test_clients_are_independent(void **state)
{
    struct runner runners[N_CLIENTS];
    void *benches[N_CLIENTS];

    (void)state;
    for (size_t i = 0; i < N_CLIENTS; i++) {
        assert_int_equal(setup(&benches[i]), 0);
        start(&runners[i], benches[i]);
    }
    for (size_t i = 0; i < N_CLIENTS; i++) {
        struct bench *b = benches[i];

        (void)sem_wait(&b->coordinator.entered);
        cygnet_client_notify(b->client);
    }
    for (size_t i = 0; i < N_CLIENTS; i++) {
        assert_cancel_ends(&runners[i]);
        assert_int_equal(teardown(&benches[i]), 0);
    }
}

int main(void)
{
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_a_second_client_on_the_same_state_is_refused),
        BENCH_TEST(test_a_host_with_clocks_of_its_own_waits_on_them),
        BENCH_TEST(test_identity_survives_and_can_be_reset),
        BENCH_TEST(test_damaged_state_is_refused_and_left_alone),
        BENCH_TEST(test_null_arguments_are_refused),
        BENCH_TEST(test_an_unreadable_ca_file_is_named),
        BENCH_TEST(test_a_job_whose_model_cannot_be_built_is_named),
        BENCH_TEST(test_each_refused_allocation_ends_create_without_a_leak),
        BENCH_TEST(test_cancel_before_a_run_ends_that_run_and_no_other),
        BENCH_TEST(test_cancel_ends_a_blocked_check_in),
        BENCH_TEST(test_cancel_ends_the_wait_between_rounds),
        BENCH_TEST(test_notify_makes_a_waiting_run_look_at_the_device),
        BENCH_TEST(test_a_hook_that_runs_its_own_client_is_refused),
        BENCH_TEST(test_a_hook_s_own_code_is_the_detail),
        BENCH_TEST(test_threads_start_with_the_first_training_and_not_before),
        BENCH_TEST(test_a_shorter_report_is_filled_as_far_as_it_goes),
        cmocka_unit_test(test_clients_are_independent),
    };

    return cmocka_run_group_tests_name("sdk client", tests, NULL, NULL);
}
