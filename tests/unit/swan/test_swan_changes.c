/* What the engine does when the machine changes in the middle of a training: on a
 * made-up phone, whose files say what the test wants. */
#include "engine/swan/swan.h"

#include "base/json.h"
#include "engine/swan/controller.h"
#include "engine/swan/profile.h"
#include "swan_fixture.h"
#include "tests/fakes/fake_soc.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BLOCKS = 50, REST_MS = 100 };

struct bench {
    struct fake_soc *phone;
    struct swan *swan;
    atomic_uint n_blocks;
    atomic_bool is_over;
    struct log log;
    pthread_t driver;
    atomic_uint n_misplaced; /* lines on another thread */
    unsigned n_lines;
    unsigned n_pauses; /* lines that tell of one */
    unsigned n_refused;
};

static void note_line(enum log_level level, const char *message, void *user)
{
    struct bench *b = user;

    if (!pthread_equal(pthread_self(), b->driver) || level != LOG_DEBUG)
        atomic_fetch_add(&b->n_misplaced, 1);
    b->n_lines++;
    b->n_refused += strstr(message, "does not exist or is not for this process") != NULL;
    b->n_pauses += strstr(message, "swan: pause (") == message;
}

static int setup(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof(b));
    b.log = (struct log){note_line, &b};
    b.driver = pthread_self();
    b.phone = fake_soc_load(SOC_DIR, "pixel_3");
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    swan_destroy(b->swan);
    fake_soc_destroy(b->phone);
    return 0;
}

/* The phone's cores are not this machine's: threads are left where they are. */
static struct swan_options an_engine(const struct bench *b, cygnet_policy policy)
{
    return (struct swan_options){.root = b->phone->root,
                                 .policy = policy,
                                 .max_threads = 2,
                                 .placement = PLACEMENT_NONE,
                                 .engine = "test",
                                 .log = &b->log};
}

static void create(struct bench *b, const struct swan_options *options)
{
    cygnet_error err;

    if (swan_create(&b->swan, options, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
}

static void begin(struct bench *b)
{
    const struct swan_training training = {.model = "a model",
                                           .n_steps = 100,
                                           .ms_left = (double)INFINITY,
                                           .mj_left = (double)INFINITY};
    cygnet_error err;

    if (swan_begin(b->swan, &training, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
}

static void step(struct bench *b, void (*call)(void *arg))
{
    swan_step(b->swan, call, b, 0.1, 100, (double)INFINITY);
}

static void allow(struct bench *b, const char *cpus)
{
    char line[64];

    (void)snprintf(line, sizeof(line), "Cpus_allowed_list:\t%s", cpus);
    fake_soc_set(b->phone, "/proc/self/status", line);
}

/* 0: training pauses. */
static uint32_t n_threads(struct bench *b)
{
    struct swan_peek peek;

    swan_peek(&peek, b->swan);
    return peek.n_threads;
}

static void wait_until_paused(struct bench *b, bool is_paused)
{
    while (swan_is_paused(b->swan) != is_paused)
        sched_yield();
}

static void count_block(void *arg, size_t block, size_t worker)
{
    (void)block;
    (void)worker;
    atomic_fetch_add(&((struct bench *)arg)->n_blocks, 1);
}

static void run_blocks(void *arg)
{
    struct bench *b = arg;
    struct nn_executor *executor = swan_executor(b->swan);

    executor->run(executor, count_block, b, BLOCKS);
}

static void take_a_while(void *arg)
{
    const struct timespec while_ = {0, 2000000};

    (void)arg;
    (void)nanosleep(&while_, NULL);
}

/* ---- Cores ------------------------------------------------------------------- */

static void lose_all_cores(void *arg)
{
    struct bench *b = arg;

    allow(b, "63");
    while (n_threads(b) > 0)
        sched_yield();
    run_blocks(b);
}

static void check_loss_of_cores(struct bench *b, cygnet_policy policy)
{
    const struct swan_options options = an_engine(b, policy);

    atomic_store(&b->n_blocks, 0);
    create(b, &options);
    begin(b);
    step(b, lose_all_cores);
    assert_int_equal(atomic_load(&b->n_blocks), BLOCKS);
    assert_true(swan_is_paused(b->swan));
    allow(b, "0-7");
    wait_until_paused(b, false);
    swan_destroy(b->swan);
    b->swan = NULL;
}

static void test_a_step_ends_although_no_core_is_left(void **state)
{
    for (int policy = CYGNET_POLICY_SWAN; policy <= CYGNET_POLICY_EFFICIENT; policy++)
        check_loss_of_cores(*state, (cygnet_policy)policy);
}

static void test_a_training_begins_on_the_cores_that_there_are(void **state)
{
    struct bench *b = *state;
    const struct swan_options options = an_engine(b, CYGNET_POLICY_GREEDY);

    create(b, &options);
    allow(b, "0");
    begin(b);
    assert_int_equal(n_threads(b), 1);
    swan_end(b->swan);
    allow(b, "0-7");
    begin(b);
    assert_int_equal(n_threads(b), 2);
}

/* Two cores that no machine has. */
static void be_elsewhere(struct bench *b)
{
    fake_soc_destroy(b->phone);
    b->phone = fake_soc_create();
    fake_soc_add(b->phone, "present 1000-1001\nonline 1000-1001\n");
    allow(b, "1000");
}

static uint64_t n_measured(struct bench *b)
{
    struct profile *profile = test_malloc(sizeof(*profile));
    struct bytes text;
    uint64_t n = 0;

    bytes_init(&text, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(swan_save(b->swan, &text, NULL), CYGNET_OK);
    assert_int_equal(profile_read(profile, text.data, text.len, NULL), CYGNET_OK);
    for (uint32_t i = 0; i < profile->n_entries; i++)
        n += profile->entries[i].n_measured;
    bytes_clear(&text);
    test_free(profile);
    return n;
}

static void test_cores_that_cannot_be_had_are_said_once(void **state)
{
    struct bench *b = *state;
    struct swan_options options;

    be_elsewhere(b);
    options = an_engine(b, CYGNET_POLICY_FIXED);
    options.placement = PLACEMENT_MASK;
    options.max_threads = 1;
    create(b, &options);
    begin(b);
    while (n_measured(b) < 5) /* steps count, wherever they ran */
        step(b, take_a_while);
    assert_int_equal(b->n_refused, 1);
    allow(b, "1000-1001"); /* then it is worth another try */
    while (b->n_refused < 2)
        step(b, take_a_while);
    swan_end(b->swan);
    assert_int_equal(b->n_refused, 2);
}

static double slowdown(struct bench *b)
{
    struct json *document;
    struct bytes text;
    double told;

    bytes_init(&text, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(swan_explain(b->swan, &text, NULL), CYGNET_OK);
    assert_int_equal(json_parse(&document, text.data, text.len, &JSON_DEFAULT_LIMITS,
                                NULL),
                     CYGNET_OK);
    told = json_number(json_member(document, "slowdown"), NAN);
    json_destroy(document);
    bytes_clear(&text);
    return told;
}

static void use_cores(struct bench *b, const char *cpus, uint32_t n)
{
    allow(b, cpus);
    while (n_threads(b) != n)
        sched_yield();
}

static void measure_on(struct bench *b, const char *cpus, uint32_t n)
{
    uint64_t n_wanted = n_measured(b) + 5;

    use_cores(b, cpus, n);
    while (n_measured(b) < n_wanted)
        step(b, take_a_while);
}

static void lose_a_core(void *arg)
{
    const struct timespec while_ = {0, 100000000};

    use_cores(arg, "1000", 1);
    (void)nanosleep(&while_, NULL);
}

static void test_a_step_on_two_choices_is_slow_on_neither(void **state)
{
    struct bench *b = *state;
    struct swan_options options;

    be_elsewhere(b);
    allow(b, "1000-1001");
    options = an_engine(b, CYGNET_POLICY_GREEDY);
    create(b, &options);
    begin(b);
    measure_on(b, "1000", 1);
    measure_on(b, "1000-1001", 2);
    step(b, lose_a_core);
    assert_true(slowdown(b) == 1.0);
}

/* ---- Heat -------------------------------------------------------------------- */

static void get_too_hot(void *arg)
{
    struct bench *b = arg;

    swan_set_heat(b->swan, 3);
    while (n_threads(b) > 0)
        sched_yield();
}

static void test_the_log_is_told_on_the_callers_thread(void **state)
{
    struct bench *b = *state;
    const struct swan_options options = an_engine(b, CYGNET_POLICY_SWAN);

    create(b, &options);
    begin(b);
    step(b, run_blocks);
    assert_true(b->n_lines > 0);
    assert_int_equal(b->n_pauses, 0);
    step(b, get_too_hot);
    assert_int_equal(b->n_pauses, 1);
    swan_set_heat(b->swan, 0);
    wait_until_paused(b, false);
    swan_set_heat(b->swan, 3);
    wait_until_paused(b, true); /* between steps */
    assert_int_equal(b->n_pauses, 2);
    assert_int_equal(atomic_load(&b->n_misplaced), 0);
}

static void test_a_training_that_begins_too_hot_waits(void **state)
{
    struct bench *b = *state;
    const struct swan_options options = an_engine(b, CYGNET_POLICY_FIXED);

    create(b, &options);
    swan_set_heat(b->swan, 3);
    begin(b);
    assert_true(swan_is_paused(b->swan));
    swan_set_heat(b->swan, 0);
    wait_until_paused(b, false);
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void rest(struct bench *b)
{
    const struct timespec while_ = {0, REST_MS * 1000000L};

    swan_set_heat(b->swan, 3);
    wait_until_paused(b, true);
    (void)nanosleep(&while_, NULL);
}

static void test_a_pause_is_no_time_of_training(void **state)
{
    struct bench *b = *state;
    const struct swan_options options = an_engine(b, CYGNET_POLICY_SWAN);
    int64_t began_ms = now_ms();
    struct swan_draw draw;

    create(b, &options);
    begin(b);
    for (int i = 0; i < 2; i++) {
        rest(b);
        swan_look_at_draw(&draw, b->swan); /* in the middle of it */
        assert_in_range(draw.ms, 0, now_ms() - began_ms - REST_MS + 2);
        swan_set_heat(b->swan, 0);
        wait_until_paused(b, false);
        swan_look_at_draw(&draw, b->swan);
        assert_in_range(draw.ms, 0, now_ms() - began_ms - REST_MS + 2);
        swan_mark_draw(b->swan);
        began_ms = now_ms();
    }
}

static uint64_t n_explored(struct bench *b)
{
    struct swan_counters counters;

    swan_count(&counters, b->swan);
    return counters.n_explored;
}

static void test_a_pause_after_a_tried_choice_ends(void **state)
{
    struct bench *b = *state;
    const struct swan_options options = an_engine(b, CYGNET_POLICY_SWAN);
    uint64_t before;

    create(b, &options);
    begin(b);
    do {
        before = n_explored(b);
        step(b, take_a_while);
    } while (n_explored(b) == before);
    swan_set_heat(b->swan, 3);
    wait_until_paused(b, true);
    swan_set_heat(b->swan, 0);
    wait_until_paused(b, false);
}

/* ---- Others who ask ------------------------------------------------------------ */

static void *ask_on(void *arg)
{
    struct bench *b = arg;

    while (!atomic_load(&b->is_over)) {
        swan_set_heat(b->swan, 0);
        atomic_fetch_add(&b->n_blocks, n_threads(b) > 2); /* not even for a moment */
    }
    return NULL;
}

/* The rest is for ThreadSanitizer to see. */
static void test_any_thread_may_ask_at_any_time(void **state)
{
    struct bench *b = *state;
    const struct swan_options options = an_engine(b, CYGNET_POLICY_SWAN);
    pthread_t thread;

    create(b, &options);
    assert_int_equal(pthread_create(&thread, NULL, ask_on, b), 0);
    for (int i = 0; i < 10; i++) {
        begin(b);
        step(b, take_a_while);
        swan_end(b->swan);
    }
    atomic_store(&b->is_over, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&b->n_blocks), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_step_ends_although_no_core_is_left),
        TEST(test_a_training_begins_on_the_cores_that_there_are),
        TEST(test_cores_that_cannot_be_had_are_said_once),
        TEST(test_a_step_on_two_choices_is_slow_on_neither),
        TEST(test_the_log_is_told_on_the_callers_thread),
        TEST(test_a_training_that_begins_too_hot_waits),
        TEST(test_a_pause_is_no_time_of_training),
        TEST(test_a_pause_after_a_tried_choice_ends),
        TEST(test_any_thread_may_ask_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
