/* The engine as a whole, on this machine: trainings on it are bitwise those without it,
 * whatever the policy; what it learns is kept; what it does is told. */
#include "engine/swan/swan.h"

#include "base/json.h"
#include "engine/pool/affinity.h"
#include "engine/swan/controller.h"
#include "engine/swan/profile.h"
#include "tests/unit/engine/fixture.h"

#include <math.h>
#include <sched.h>
#include <string.h>
#include <time.h>

/* Where nothing of the machine is seen, nothing disturbs but slow steps. */
#define NOWHERE "/nowhere"

enum { BATCH = 13, STEPS = 25 };

static struct swan *make_engine_at(const char *root, cygnet_policy policy,
                                   uint32_t max_threads, enum placement placement)
{
    const struct swan_options options = {
        .root = root,
        .policy = policy,
        .max_threads = max_threads,
        .placement = placement,
        .yields = false, /* they would starve on a machine that is busy with tests */
        .engine = "test",
    };
    struct swan *swan;
    cygnet_error err;

    if (swan_create(&swan, &options, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
    return swan;
}

static struct swan *make_engine(cygnet_policy policy, uint32_t max_threads,
                                enum placement placement)
{
    return make_engine_at("/", policy, max_threads, placement);
}

struct lesson {
    cygnet_model *model;
    uint64_t step;
    int scheduler;
};

static void train(void *arg)
{
    static const cygnet_sgd rule = {sizeof(cygnet_sgd), 0.05f, 0.9f, 5e-4f};
    struct lesson *l = arg;
    float x[BATCH * 28 * 28];
    int64_t y[BATCH];

    l->scheduler = my_scheduler();
    hash_fill_f32(x, FIXTURE_SEED + l->step, "x", BATCH * 28 * 28, 1.0);
    hash_fill_labels(y, FIXTURE_SEED + l->step, BATCH, 10);
    assert_int_equal(cygnet_model_train_step(l->model, NULL, x, y, BATCH, &rule, NULL),
                     CYGNET_OK);
}

static cygnet_model *make_lenet(struct nn_executor *executor)
{
    return make_zoo_model("lenet5", &(struct shape){0}, 10, BATCH,
                          kernels_at(kernels_count() - 1), executor);
}

static struct swan_training a_training(void)
{
    return (struct swan_training){.model = "lenet5",
                                  .n_steps = STEPS,
                                  .ms_left = (double)INFINITY,
                                  .mj_left = (double)INFINITY};
}

/* A training on the engine beside the same one without. */
static void check_training(struct swan *swan, cygnet_model *model, cygnet_model *plain)
{
    struct lesson l = {.model = model};

    for (l.step = 0; l.step < STEPS; l.step++) {
        assert_false(swan_is_paused(swan));
        swan_step(swan, train, &l, 0.1, STEPS - l.step, (double)INFINITY);
        assert_int_equal(l.scheduler, SCHED_OTHER);
        train(&(struct lesson){.model = plain, .step = l.step});
        assert_true(same_state(model, plain));
    }
}

static void check_policy(cygnet_policy policy, uint32_t max_threads,
                         enum placement placement)
{
    struct swan *swan = make_engine(policy, max_threads, placement);
    cygnet_model *model = make_lenet(swan_executor(swan));
    cygnet_model *plain = make_lenet(&nn_serial_executor);
    struct swan_training training = a_training();

    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    check_training(swan, model, plain);
    swan_end(swan);
    cygnet_model_destroy(plain);
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

static void test_no_policy_changes_a_bit(void **state)
{
    (void)state;
    for (int policy = CYGNET_POLICY_SWAN; policy <= CYGNET_POLICY_EFFICIENT; policy++) {
        check_policy((cygnet_policy)policy, 0, PLACEMENT_MASK);
        check_policy((cygnet_policy)policy, 1, PLACEMENT_NONE);
    }
}

static void test_the_caller_is_left_alone(void **state)
{
    struct affinity before, after;

    (void)state;
    assert_int_equal(affinity_get(&before, 0), 0);
    check_policy(CYGNET_POLICY_FIXED, 1, PLACEMENT_MASK);
    assert_int_equal(affinity_get(&after, 0), 0);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(my_scheduler(), SCHED_OTHER);
}

/* Steps taken by the entry of a profile; of all entries together. */
static uint64_t measured_steps(const struct bytes *text)
{
    struct profile *profile = test_malloc(sizeof(*profile));
    uint64_t n = 0;

    assert_int_equal(profile_read(profile, text->data, text->len, NULL), CYGNET_OK);
    for (uint32_t i = 0; i < profile->n_entries; i++)
        n += profile->entries[i].n_measured;
    test_free(profile);
    return n;
}

static void save(struct bytes *out, struct swan *swan)
{
    bytes_init(out, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(swan_save(swan, out, NULL), CYGNET_OK);
}

/* Until a step was measured. Returns what was known at the beginning. */
static uint64_t train_until_measured(struct swan *swan, cygnet_model *model,
                                     const char *name, struct bytes *profile)
{
    struct swan_training training = a_training();
    struct lesson l = {.model = model};
    uint64_t n_before;

    training.model = name;
    training.profile = profile->data;
    training.profile_len = profile->len;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    bytes_clear(profile);
    save(profile, swan);
    n_before = measured_steps(profile);
    while (measured_steps(profile) == n_before) {
        swan_step(swan, train, &l, 0.1, STEPS, (double)INFINITY);
        l.step++;
        bytes_clear(profile);
        save(profile, swan);
    }
    assert_in_range(measured_steps(profile) - n_before, 1, l.step);
    swan_end(swan);
    return n_before;
}

static void test_what_was_measured_is_kept_for_the_same_model(void **state)
{
    struct swan *swan = make_engine_at(NOWHERE, CYGNET_POLICY_FIXED, 1, PLACEMENT_NONE);
    cygnet_model *model = make_lenet(swan_executor(swan));
    struct bytes profile;

    (void)state;
    bytes_init(&profile, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(train_until_measured(swan, model, "lenet5", &profile), 0);
    assert_int_equal(train_until_measured(swan, model, "lenet5", &profile), 1);
    assert_int_equal(train_until_measured(swan, model, "another model", &profile), 0);
    assert_int_equal(train_until_measured(swan, model, "another model", &profile), 1);
    profile.data[0] = 'x';
    assert_int_equal(train_until_measured(swan, model, "another model", &profile), 0);
    bytes_clear(&profile);
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

static struct json *explain(struct swan *swan)
{
    struct json *document;
    struct bytes text;

    bytes_init(&text, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(swan_explain(swan, &text, NULL), CYGNET_OK);
    assert_int_equal(json_parse(&document, text.data, text.len, &JSON_DEFAULT_LIMITS,
                                NULL),
                     CYGNET_OK);
    bytes_clear(&text);
    return document;
}

static void test_the_engine_explains_its_choice(void **state)
{
    struct swan *swan = make_engine_at(NOWHERE, CYGNET_POLICY_FIXED, 1, PLACEMENT_NONE);
    cygnet_model *model = make_lenet(swan_executor(swan));
    struct json *document;
    struct bytes profile;

    (void)state;
    bytes_init(&profile, PROFILE_MAX_BYTES, NULL);
    assert_int_equal(train_until_measured(swan, model, "lenet5", &profile), 0);
    bytes_clear(&profile);
    document = explain(swan);
    assert_string_equal(json_text(json_member(document, "policy"), ""), "fixed");
    assert_string_equal(json_text(json_member(document, "disturbance"), ""), "none");
    assert_true(strlen(json_text(json_member(document, "why"), "")) > 10);
    assert_true(json_count(json_member(document, "cores")) > 0);
    json_destroy(document);
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

/* What explain says of the policy of a training that asks for one. */
static void check_asked(cygnet_policy own, cygnet_policy asked, const char *expected)
{
    struct swan *swan = make_engine(own, 1, PLACEMENT_MASK);
    struct swan_training training = a_training();
    struct json *document;

    training.policy = asked;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    document = explain(swan);
    swan_end(swan);
    assert_string_equal(json_text(json_member(document, "policy"), ""), expected);
    json_destroy(document);
    swan_destroy(swan);
}

static void test_a_training_chooses_the_policy_where_it_may(void **state)
{
    (void)state;
    check_asked(CYGNET_POLICY_TASK, CYGNET_POLICY_SWAN, "swan");
    check_asked(CYGNET_POLICY_TASK, CYGNET_POLICY_GREEDY, "greedy");
    check_asked(CYGNET_POLICY_TASK, CYGNET_POLICY_FIXED, "fixed");
    check_asked(CYGNET_POLICY_TASK, CYGNET_POLICY_EFFICIENT, "efficient");
    check_asked(CYGNET_POLICY_TASK, CYGNET_POLICY_TASK, "swan");
    check_asked(CYGNET_POLICY_TASK, (cygnet_policy)77, "swan");
    check_asked(CYGNET_POLICY_SWAN, CYGNET_POLICY_GREEDY, "swan");
    check_asked(CYGNET_POLICY_FIXED, CYGNET_POLICY_EFFICIENT, "fixed");
}

static uint32_t threads_in_use(struct swan *swan, uint32_t asked)
{
    struct swan_training training = a_training();
    struct swan_peek peek;

    training.policy = CYGNET_POLICY_FIXED;
    training.n_threads = asked;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    swan_peek(&peek, swan);
    swan_end(swan);
    return peek.n_threads;
}

static void test_a_training_fixes_threads_up_to_the_most(void **state)
{
    struct swan *swan = make_engine(CYGNET_POLICY_TASK, 2, PLACEMENT_MASK);
    uint32_t most = (uint32_t)swan_executor(swan)->n_workers;

    (void)state;
    assert_int_equal(threads_in_use(swan, 1), 1);
    assert_int_equal(threads_in_use(swan, 0), most);
    assert_int_equal(threads_in_use(swan, 1000), most);
    swan_destroy(swan);
    swan = make_engine(CYGNET_POLICY_FIXED, 2, PLACEMENT_MASK);
    assert_int_equal(threads_in_use(swan, 1), most);
    swan_destroy(swan);
}

static void test_one_training_at_a_time(void **state)
{
    struct swan *swan = make_engine(CYGNET_POLICY_SWAN, 0, PLACEMENT_MASK);
    struct swan_training training = a_training();
    cygnet_error err;

    (void)state;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    assert_int_equal(swan_begin(swan, &training, &err), CYGNET_EINVAL);
    assert_non_null(strstr(err.message, "under way"));
    swan_end(swan);
    swan_end(swan);
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    swan_destroy(swan); /* ends it */
}

static double now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* However long it takes: never more looks than the time has room for. */
static void test_looks_are_spread_over_time(void **state)
{
    struct swan *swan = make_engine(CYGNET_POLICY_SWAN, 0, PLACEMENT_MASK);
    struct swan_training training = a_training();
    const struct timespec pause = {0, 200000000};
    struct swan_counters counters;
    double began_ms = now_ms();

    (void)state;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    (void)nanosleep(&pause, NULL);
    swan_count(&counters, swan);
    assert_in_range(counters.n_looks, 1,
                    (now_ms() - began_ms) / CONTROLLER_LOOK_MS + 2.0);
    swan_destroy(swan);
}

static void test_a_hot_device_pauses(void **state)
{
    struct swan *swan = make_engine(CYGNET_POLICY_SWAN, 0, PLACEMENT_MASK);
    struct swan_training training = a_training();

    (void)state;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    assert_false(swan_is_paused(swan));
    swan_set_heat(swan, 7); /* beyond the scale */
    while (!swan_is_paused(swan))
        sched_yield();
    swan_set_heat(swan, 0);
    while (swan_is_paused(swan))
        sched_yield();
    swan_end(swan);
    swan_destroy(swan);
}

/* Every core of this machine at 100 W. */
static struct energy_model a_model(void)
{
    struct energy_model model;
    struct soc soc;

    assert_int_equal(soc_read(&soc, NOWHERE, NULL), CYGNET_OK);
    energy_model_init(&model, &soc);
    for (uint32_t k = 0; k < model.n_clusters; k++)
        model.core_w[k] = 100;
    model.spread = 0;
    return model;
}

static struct swan *make_metered_engine(cygnet_policy policy, energy_hook *hook)
{
    const struct energy_model model = a_model();
    struct swan_options options = {.root = NOWHERE, .policy = policy, .engine = "test"};
    struct swan *swan;

    options.energy.model = &model;
    options.energy.hook = hook;
    assert_int_equal(swan_create(&swan, &options, NULL), CYGNET_OK);
    return swan;
}

static struct swan *make_powered_engine(cygnet_policy policy)
{
    return make_metered_engine(policy, NULL);
}

static void step(struct swan *swan, struct lesson *l, uint64_t n_steps)
{
    for (uint64_t i = 0; i < n_steps; i++, l->step++)
        swan_step(swan, train, l, 0.1, 1000, (double)INFINITY);
}

static void test_what_is_drawn_can_be_booked_and_settled(void **state)
{
    struct swan *swan = make_powered_engine(CYGNET_POLICY_FIXED);
    cygnet_model *model = make_lenet(swan_executor(swan));
    struct swan_training training = a_training();
    struct lesson l = {.model = model};
    struct swan_draw draw;

    (void)state;
    swan_look_at_draw(&draw, swan);
    assert_true(draw.is_measured && isnan(draw.step_mj) && isnan(draw.drawn_mj));
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    step(swan, &l, STEPS);
    swan_look_at_draw(&draw, swan);
    assert_true(draw.step_mj > 0 && draw.step_ms > 0);
    /* 100 W and whole milliseconds: of each core at least one of them */
    assert_true(draw.drawn_mj >= 100 && draw.ms >= 1);
    assert_false(draw.is_spent);
    swan_mark_draw(swan);
    step(swan, &l, 5 * STEPS);
    swan_look_at_draw(&draw, swan);
    assert_true(draw.drawn_mj >= 100 * (double)draw.ms);
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

static int show_a_watt(struct energy_figure *out, void *user)
{
    (void)user;
    out->power_uw = 1000000;
    return 0;
}

static void test_without_a_baseline_nothing_will_be_known(void **state)
{
    struct swan_options options = {.root = "/", .max_threads = 1, .engine = "test"};
    struct swan_training training = a_training();
    struct swan_draw draw;
    struct swan *swan;

    (void)state;
    options.energy.hook = show_a_watt;
    assert_int_equal(swan_create(&swan, &options, NULL), CYGNET_OK);
    swan_look_at_draw(&draw, swan);
    assert_true(swan_has_meter(swan) && draw.is_measured);
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    swan_look_at_draw(&draw, swan);
    assert_false(draw.is_measured);
    assert_string_equal(draw.why, "what the device draws idle is not known");
    assert_false(swan_idle(swan)); /* not now */
    swan_destroy(swan);
}

static double thread_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Works for a while, and then has nothing to say. */
static int take_time(struct energy_figure *out, void *user)
{
    double began_ms = thread_ms();

    (void)out;
    (void)user;
    while (thread_ms() < began_ms + 2)
        continue;
    return 1;
}

/* Looks come while a step's end is being measured. */
static void test_a_slow_meter_does_not_turn_the_clock_back(void **state)
{
    struct swan *swan = make_metered_engine(CYGNET_POLICY_SWAN, take_time);
    cygnet_model *model = make_lenet(swan_executor(swan));
    struct swan_training training = a_training();
    struct lesson l = {.model = model};
    struct swan_draw draw;

    (void)state;
    training.mj_left = 1e12; /* counted after each step, in a second look */
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    for (int i = 0; i < 10; i++) {
        step(swan, &l, 10);
        swan_look_at_draw(&draw, swan);
        if (isnan(draw.drawn_mj))
            fail_msg("after %d steps: %s", 10 * (i + 1), draw.why);
    }
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

static void test_a_spent_budget_is_said(void **state)
{
    struct swan *swan = make_powered_engine(CYGNET_POLICY_SWAN);
    cygnet_model *model = make_lenet(swan_executor(swan));
    struct swan_training training = a_training();
    struct lesson l = {.model = model};
    struct swan_draw draw = {.is_spent = false};

    (void)state;
    training.mj_left = 500;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    assert_false(swan_is_paused(swan));
    while (!draw.is_spent) {
        step(swan, &l, 1);
        swan_look_at_draw(&draw, swan);
    }
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

static void check_energy(struct swan *swan, double step_mj, const char *source,
                         double budget_left_mj)
{
    struct json *document = explain(swan);
    const struct json *energy = json_member(document, "energy");

    assert_string_equal(json_text(json_member(energy, "source"), ""), source);
    assert_true(json_number(json_member(energy, "step_mj"), -1) >= step_mj);
    assert_true(json_number(json_member(energy, "budget_left_mj"), -1) >= budget_left_mj);
    assert_int_equal(json_is_null(json_member(energy, "budget_left_mj")),
                     budget_left_mj < 0);
    json_destroy(document);
}

static void test_energy_is_explained_with_its_source(void **state)
{
    struct swan *swan = make_powered_engine(CYGNET_POLICY_FIXED);
    cygnet_model *model = make_lenet(swan_executor(swan));
    struct swan_training training = a_training();
    struct lesson l = {.model = model};

    (void)state;
    training.mj_left = 1e9;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    check_energy(swan, -1, "unknown", 1e9);
    step(swan, &l, STEPS);
    check_energy(swan, 1e-3, "model", 0.9e9);
    swan_end(swan);
    training.mj_left = (double)INFINITY;
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    check_energy(swan, -1, "unknown", -1);
    cygnet_model_destroy(model);
    swan_destroy(swan);
}

static void test_a_peek_tells_what_is_going_on(void **state)
{
    struct swan *swan = make_engine(CYGNET_POLICY_SWAN, 1, PLACEMENT_MASK);
    struct swan_training training = a_training();
    struct swan_peek peek;

    (void)state;
    swan_peek(&peek, swan);
    assert_int_equal(peek.n_threads, 0);
    assert_int_equal(swan_begin(swan, &training, NULL), CYGNET_OK);
    swan_peek(&peek, swan);
    assert_int_equal(peek.n_threads, 1);
    swan_set_heat(swan, 3);
    do {
        sched_yield();
        swan_peek(&peek, swan);
    } while (peek.n_threads > 0);
    assert_int_equal(peek.disturbance, DISTURBANCE_THERMAL);
    swan_end(swan);
    swan_peek(&peek, swan);
    assert_int_equal(peek.n_threads, 0);
    swan_destroy(swan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_policy_changes_a_bit),
        cmocka_unit_test(test_the_caller_is_left_alone),
        cmocka_unit_test(test_what_was_measured_is_kept_for_the_same_model),
        cmocka_unit_test(test_the_engine_explains_its_choice),
        cmocka_unit_test(test_a_training_chooses_the_policy_where_it_may),
        cmocka_unit_test(test_a_training_fixes_threads_up_to_the_most),
        cmocka_unit_test(test_one_training_at_a_time),
        cmocka_unit_test(test_looks_are_spread_over_time),
        cmocka_unit_test(test_a_hot_device_pauses),
        cmocka_unit_test(test_what_is_drawn_can_be_booked_and_settled),
        cmocka_unit_test(test_without_a_baseline_nothing_will_be_known),
        cmocka_unit_test(test_a_slow_meter_does_not_turn_the_clock_back),
        cmocka_unit_test(test_a_spent_budget_is_said),
        cmocka_unit_test(test_energy_is_explained_with_its_source),
        cmocka_unit_test(test_a_peek_tells_what_is_going_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
