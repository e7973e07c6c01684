/* Cancel, from another thread and from a signal handler, and notify, wherever a run may
 * be: resolving a name, connecting, downloading, waiting to try again, in the middle of
 * a training step, uploading. The promise is 200 ms; what a loaded machine adds to
 * it is REACT_SLACK_MS (tests/torture/meson.build). */
#include "tests/fakes/loopback_server.h"
#include "tests/unit/sdk/sdk_test.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REACT_MS 200
#define SETTLE_MS 60 /* until a run that is about to wait does */
#define LARGE_BATCH 1024

/* A run on a thread of its own.
 *
 * step_begun   posted when the first training step is about to begin
 * interrupted  posted when a round was interrupted */
struct bench {
    char folder[SANDBOX_BYTES];
    cygnet_host host;
    cygnet_options options;
    struct honest_coordinator coordinator;
    struct loopback_server server;
    bool serves;
    cygnet_client *client;
    cygnet_report report;
    cygnet_error err;
    pthread_t thread;
    cygnet_status st;
    int64_t end_ms;
    sem_t step_begun;
    atomic_int n_looks; /* calls of device_state */
    atomic_int is_busy; /* somebody uses the device */
    sem_t interrupted;
};

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- A look-up that never ends ------------------------------------------------ */

static struct {
    sem_t begun;
    sem_t may_end;
    sem_t ended;
} look_up;

/* Takes the C library's place for libcurl. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)name, (void)service, (void)hints, (void)out;
    (void)sem_post(&look_up.begun);
    (void)sem_wait(&look_up.may_end);
    (void)sem_post(&look_up.ended);
    return EAI_AGAIN;
}

/* ---- Bench -------------------------------------------------------------------- */

static void event(const cygnet_report *report, void *user)
{
    struct bench *b = user;

    if (report->phase == CYGNET_PHASE_TRAINING && report->step == 0)
        (void)sem_post(&b->step_begun);
    if (report->phase == CYGNET_PHASE_INTERRUPTED)
        (void)sem_post(&b->interrupted);
}

static int device_state(cygnet_device_state *state, void *user)
{
    struct bench *b = user;

    state->charging = CYGNET_TRUE;
    state->unmetered = CYGNET_TRUE;
    state->idle = atomic_load(&b->is_busy) ? CYGNET_FALSE : CYGNET_TRUE;
    atomic_fetch_add(&b->n_looks, 1);
    return 0;
}

static int setup(void **state)
{
    static struct bench bench;
    struct bench *b = &bench;

    memset(b, 0, sizeof(*b));
    sandbox_make(b->folder);
    test_host(&b->host, NULL);
    b->host.event = event;
    b->host.device_state = device_state;
    b->host.user = b;
    test_options(&b->options, &b->host, b->folder);
    b->options.allow_loopback_http = 1;
    b->options.idle = CYGNET_REQUIRED;
    (void)sem_init(&b->step_begun, 0, 0);
    (void)sem_init(&b->interrupted, 0, 0);
    cygnet_report_init(&b->report);
    *state = b;
    return honest_init(&b->coordinator);
}

static int teardown(void **state)
{
    struct bench *b = *state;

    cygnet_client_destroy(b->client);
    if (b->serves)
        loopback_stop(&b->server);
    honest_clear(&b->coordinator);
    (void)sem_destroy(&b->step_begun);
    (void)sem_destroy(&b->interrupted);
    sandbox_remove(b->folder);
    return 0;
}

static void serve(struct bench *b, enum loopback_trouble trouble)
{
    assert_int_equal(loopback_start(&b->server, &b->coordinator, trouble), 0);
    b->serves = true;
    b->options.server_url = b->server.url;
}

static void *run(void *arg)
{
    struct bench *b = arg;

    b->st = cygnet_client_run_until(b->client, 0, &b->report, &b->err);
    b->end_ms = now_ms();
    return NULL;
}

static void start(struct bench *b)
{
    if (!b->client && cygnet_client_create(&b->client, &b->options, &b->err) != CYGNET_OK)
        fail_msg("create: %s", b->err.message);
    assert_int_equal(pthread_create(&b->thread, NULL, run, b), 0);
}

static void await(sem_t *sem)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    while (sem_timedwait(sem, &until) != 0)
        if (errno != EINTR)
            fail_msg("the run never came to this place");
}

static void settle(void)
{
    (void)poll(NULL, 0, SETTLE_MS);
}

/* ---- Two ways to cancel ---------------------------------------------------------- */

static cygnet_client *signalled;

static void on_signal(int number)
{
    (void)number;
    cygnet_client_cancel(signalled);
}

/* On the very thread that drives the client: nothing may be held there. */
static void cancel_from_handler(struct bench *b)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;

    signalled = b->client;
    (void)sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(pthread_kill(b->thread, SIGUSR1), 0);
    assert_int_equal(pthread_join(b->thread, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void cancel_from_thread(struct bench *b)
{
    cygnet_client_cancel(b->client);
    assert_int_equal(pthread_join(b->thread, NULL), 0);
}

static void assert_cancel_ends(struct bench *b, void (*cancel)(struct bench *))
{
    int64_t start_ms = now_ms();

    cancel(b);
    assert_int_equal(b->st, CYGNET_ECANCELLED);
    assert_int_equal(b->report.outcome, CYGNET_OUTCOME_INTERRUPTED);
    assert_in_range((uint64_t)(b->end_ms - start_ms), 0, REACT_MS + REACT_SLACK_MS);
}

/* ---- Notify ------------------------------------------------------------------------ */

static void assert_notify_makes_it_look(struct bench *b)
{
    int before = atomic_load(&b->n_looks);
    int64_t start_ms = now_ms();

    cygnet_client_notify(b->client);
    while (atomic_load(&b->n_looks) == before &&
           now_ms() - start_ms <= REACT_MS + REACT_SLACK_MS)
        (void)poll(NULL, 0, 1);
    assert_true(atomic_load(&b->n_looks) > before);
}

/* A look that finds a device as good as before changes nothing; one that does not
 * interrupts the round. */
static void assert_notify_interrupts(struct bench *b)
{
    int64_t start_ms;

    assert_notify_makes_it_look(b);
    assert_int_not_equal(sem_trywait(&b->interrupted), 0);
    atomic_store(&b->is_busy, 1);
    start_ms = now_ms();
    cygnet_client_notify(b->client);
    await(&b->interrupted);
    assert_in_range((uint64_t)(now_ms() - start_ms), 0, REACT_MS + REACT_SLACK_MS);
    atomic_store(&b->is_busy, 0);
    assert_cancel_ends(b, cancel_from_thread); /* now it rests */
}

static void assert_notify_interrupts_it(struct bench *b, sem_t *reached)
{
    start(b);
    await(reached);
    settle();
    assert_notify_interrupts(b);
}

/* Brings a run to the place twice, and cancels it in both ways. */
static void assert_cancel_ends_it(struct bench *b, sem_t *reached)
{
    start(b);
    await(reached);
    settle();
    assert_cancel_ends(b, cancel_from_thread);
    start(b);
    await(reached);
    settle();
    assert_cancel_ends(b, cancel_from_handler);
}

/* ---- The places -------------------------------------------------------------------- */

static void look_up_begin(void)
{
    (void)sem_init(&look_up.begun, 0, 0);
    (void)sem_init(&look_up.may_end, 0, 0);
    (void)sem_init(&look_up.ended, 0, 0);
}

/* The look-ups outlive their client; not the test. */
static void look_up_end(struct bench *b, int n)
{
    cygnet_client_destroy(b->client);
    b->client = NULL;
    for (int i = 0; i < n; i++)
        (void)sem_post(&look_up.may_end);
    for (int i = 0; i < n; i++)
        await(&look_up.ended);
}

static void test_cancel_ends_the_look_up_of_a_name(void **state)
{
    struct bench *b = *state;

    look_up_begin();
    b->options.server_url = "https://cygnet.invalid";
    assert_cancel_ends_it(b, &look_up.begun);
    look_up_end(b, 2);
}

#define FILL_MAX 16

/* A listener whose queue of connections is full does not answer another one. */
static void test_cancel_ends_connecting(void **state)
{
    struct bench *b = *state;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int fill[FILL_MAX];
    char url[64];

    assert_int_equal(bind(listener, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    for (int i = 0; i < FILL_MAX; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (const struct sockaddr *)&at, sizeof(at));
    }
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
    b->options.server_url = url;
    for (int i = 0; i < 2; i++) {
        start(b);
        settle();
        assert_cancel_ends(b, i == 0 ? cancel_from_thread : cancel_from_handler);
    }
    for (int i = 0; i < FILL_MAX; i++)
        (void)close(fill[i]);
    (void)close(listener);
}

static void test_cancel_ends_a_stalled_download(void **state)
{
    struct bench *b = *state;

    serve(b, LOOPBACK_SILENT_WEIGHTS);
    assert_cancel_ends_it(b, &b->server.reached);
}

static void test_cancel_ends_the_wait_before_another_try(void **state)
{
    struct bench *b = *state;

    serve(b, LOOPBACK_BUSY_WEIGHTS);
    assert_cancel_ends_it(b, &b->server.reached);
}

static void large_upload(struct bench *b)
{
    (void)snprintf(b->coordinator.input, sizeof(b->coordinator.input), "[1,1000,1000]");
    assert_int_equal(honest_draw_weights(&b->coordinator), 0);
    serve(b, LOOPBACK_SILENT_UPDATE);
}

static void test_cancel_ends_an_upload(void **state)
{
    struct bench *b = *state;

    large_upload(b);
    assert_cancel_ends_it(b, &b->server.reached);
}

static int open_many(void **cursor, cygnet_dataset_info *info, const char *collection,
                     const char *selector, void *user)
{
    (void)collection, (void)selector, (void)user;
    *cursor = NULL;
    info->n_examples = LARGE_BATCH;
    return 0;
}

static void large_step(struct bench *b)
{
    (void)snprintf(b->coordinator.architecture, sizeof(b->coordinator.architecture),
                   "mcmahan_cnn");
    (void)snprintf(b->coordinator.input, sizeof(b->coordinator.input), "[1,28,28]");
    b->coordinator.classes = 10;
    b->coordinator.batch = LARGE_BATCH;
    b->coordinator.epochs = 1000;
    b->host.data_open = open_many;
    assert_int_equal(honest_draw_weights(&b->coordinator), 0);
    serve(b, LOOPBACK_FINE);
}

static void test_cancel_ends_a_step_of_a_large_model(void **state)
{
    struct bench *b = *state;

    large_step(b);
    assert_cancel_ends_it(b, &b->step_begun);
}

static void test_notify_makes_a_look_up_look_at_the_device(void **state)
{
    struct bench *b = *state;

    look_up_begin();
    b->options.server_url = "https://cygnet.invalid";
    start(b);
    await(&look_up.begun);
    settle();
    assert_notify_makes_it_look(b);
    assert_cancel_ends(b, cancel_from_thread);
    look_up_end(b, 1);
}

static void test_notify_interrupts_a_stalled_download(void **state)
{
    struct bench *b = *state;

    serve(b, LOOPBACK_SILENT_WEIGHTS);
    assert_notify_interrupts_it(b, &b->server.reached);
}

static void test_notify_interrupts_the_wait_before_another_try(void **state)
{
    struct bench *b = *state;

    serve(b, LOOPBACK_BUSY_WEIGHTS);
    assert_notify_interrupts_it(b, &b->server.reached);
}

static void test_notify_interrupts_an_upload(void **state)
{
    struct bench *b = *state;

    large_upload(b);
    assert_notify_interrupts_it(b, &b->server.reached);
}

static void test_notify_interrupts_a_step_of_a_large_model(void **state)
{
    struct bench *b = *state;

    large_step(b);
    assert_notify_interrupts_it(b, &b->step_begun);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel_ends_the_look_up_of_a_name),
        TEST(test_cancel_ends_connecting),
        TEST(test_cancel_ends_a_stalled_download),
        TEST(test_cancel_ends_the_wait_before_another_try),
        TEST(test_cancel_ends_an_upload),
        TEST(test_cancel_ends_a_step_of_a_large_model),
        TEST(test_notify_makes_a_look_up_look_at_the_device),
        TEST(test_notify_interrupts_a_stalled_download),
        TEST(test_notify_interrupts_the_wait_before_another_try),
        TEST(test_notify_interrupts_an_upload),
        TEST(test_notify_interrupts_a_step_of_a_large_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
