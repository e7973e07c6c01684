/* Profiles as text: what comes back, what is stale, what is refused. */
#include "profile_fixture.h"
#include "tests/fakes/fake_alloc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PROFILES = 300, N_DAMAGES = 3000 };

static struct profile written, read, before;
static struct soc phone;
static struct bytes text;

static int setup(void **state)
{
    (void)state;
    phone = make_phone();
    bytes_init(&text, PROFILE_MAX_BYTES, NULL);
    return 0;
}

static int draw(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 1, "text", 0);
    draw_profile(&written, &phone, &rng);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bytes_clear(&text);
    return 0;
}

static void write_profile(const struct profile *profile)
{
    cygnet_error err;

    bytes_reset(&text);
    if (profile_write(&text, profile, &err) != CYGNET_OK)
        fail_msg("%s", err.message);
}

/* The choices of `written` for a reader of the same key. */
static void prepare_reader(const struct soc *soc, uint32_t max_threads)
{
    profile_init(&read, &FIXTURE_KEY, soc, max_threads);
    memcpy(&before, &read, sizeof(before));
}

static void check_refused(const char *bytes, size_t len, cygnet_status want,
                          const char *why)
{
    cygnet_error err = {0};

    assert_int_equal(profile_parse(&read, bytes, len, NULL, &err), want);
    assert_int_equal(err.status, want);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" does not hold \"%s\"", err.message, why);
    assert_memory_equal(&read, &before, sizeof(read));
}

/* The same key and choices, nothing measured. */
static void forget(struct profile *out, const struct profile *profile)
{
    memcpy(out, profile, sizeof(*out));
    for (size_t i = 0; i < out->n_entries; i++)
        out->entries[i] = (struct profile_entry){.choice = out->entries[i].choice};
    profile_update(out);
}

/* Numbers are written with 15 digits. */
static void check_close(double found, double want)
{
    assert_int_equal(isnan(found), isnan(want));
    if (!isnan(want))
        assert_true(fabs(found - want) <= 1e-9 * fabs(want));
}

static void check_entry(const struct profile_entry *found,
                        const struct profile_entry *want)
{
    assert_true(choice_equal(&found->choice, &want->choice));
    assert_int_equal(found->n_samples, want->n_samples);
    assert_int_equal(found->n_measured, want->n_measured);
    for (size_t i = 0; i < want->n_samples; i++)
        check_close(found->samples[i], want->samples[i]);
    check_close(found->step_ms, want->step_ms);
    check_close(found->measured.mean, want->measured.mean);
    check_close(found->step_mj, want->step_mj);
    assert_int_equal(found->measured.n, want->measured.n);
    assert_int_equal(found->measured.source, want->measured.source);
    assert_int_equal(found->energy_source, want->energy_source);
    assert_int_equal(found->energy_is_measured, want->energy_is_measured);
}

static void test_a_profile_comes_back_as_it_was(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "round trip", 0);
    for (int i = 0; i < N_PROFILES; i++) {
        struct soc soc = draw_soc(&rng);

        draw_profile(&written, &soc, &rng);
        write_profile(&written);
        forget(&read, &written);
        assert_int_equal(profile_parse(&read, text.data, text.len, NULL, NULL),
                         CYGNET_OK);
        assert_memory_equal(&read.key, &written.key, sizeof(read.key));
        assert_int_equal(read.n_entries, written.n_entries);
        for (size_t j = 0; j < read.n_entries; j++)
            check_entry(&read.entries[j], &written.entries[j]);
    }
}

static void test_the_largest_profile_is_within_the_limit(void **state)
{
    struct soc soc = make_soc((const uint32_t[]){6, 4, 3}, 3, 1);

    (void)state;
    profile_init(&written, &FIXTURE_KEY, &soc, 64);
    assert_true(written.n_entries > CHOICE_MAX / 2);
    for (size_t i = 0; i < written.n_entries; i++) {
        for (int j = 0; j < PROFILE_SAMPLES; j++)
            profile_add(&written, i, 1e3 / 3 + j, 1e7 / 7 + j, ENERGY_BATTERY);
    }
    write_profile(&written);
    assert_in_range(text.len, 1, PROFILE_MAX_BYTES / 2);
    prepare_reader(&soc, 64);
    assert_int_equal(profile_parse(&read, text.data, text.len, NULL, NULL), CYGNET_OK);
}

static void test_a_buffer_that_is_too_small_is_left_as_it_was(void **state)
{
    struct bytes small;
    cygnet_error err;

    (void)state;
    bytes_init(&small, 100, NULL);
    assert_int_equal(profile_write(&small, &written, &err), CYGNET_ELIMIT);
    assert_int_equal(small.len, 0);
    bytes_clear(&small);
}

static void check_stale(const char *why)
{
    memcpy(&before, &read, sizeof(before));
    check_refused((const char *)text.data, text.len, CYGNET_ENOTFOUND, why);
}

static void test_a_profile_of_something_else_is_not_found(void **state)
{
    (void)state;
    profile_init(&written, &FIXTURE_KEY, &phone, 8);
    write_profile(&written);
    prepare_reader(&phone, 8);
    (void)snprintf(read.key.model, sizeof(read.key.model), "another");
    check_stale("of another model");
    prepare_reader(&phone, 8);
    (void)snprintf(read.key.soc, sizeof(read.key.soc), "another");
    check_stale("of another SoC");
    prepare_reader(&phone, 8);
    (void)snprintf(read.key.engine, sizeof(read.key.engine), "0.2.0 avx2");
    check_stale("of another engine");
    prepare_reader(&phone, 1);
    check_stale("other execution choices");
}

struct damage {
    const char *find;
    const char *put;
    cygnet_status status;
    const char *why;
};

/* One measured entry of one cluster: a text that is easily damaged. */
static const char SMALL[] =
    "{\"format\":1,\"model\":\"m\",\"soc\":\"s\",\"engine\":\"e\","
    "\"clusters\":[{\"name\":\"all\",\"capacity\":1024,\"cores\":2}],"
    "\"explored\":{\"steps\":2,\"lost\":0.5},"
    "\"entries\":[{\"cores\":[1],\"n\":2,\"ms\":[10,11],"
    "\"energy\":{\"source\":\"host\",\"n\":1,\"mean_mj\":5,\"variance\":0}},"
    "{\"cores\":[2]}]}";

static void damage_text(char *out, size_t size, const struct damage *d)
{
    const char *at = strstr(SMALL, d->find);

    assert_non_null(at);
    (void)snprintf(out, size, "%.*s%s%s", (int)(at - SMALL), SMALL, d->put,
                   at + strlen(d->find));
}

static void prepare_small(void)
{
    static const struct profile_key key = {"m", "s", "e"};
    struct soc soc = make_soc((const uint32_t[]){2}, 1, 1);

    profile_init(&read, &key, &soc, 2);
    memcpy(&before, &read, sizeof(before));
}

static void test_damaged_texts_are_refused(void **state)
{
    static const struct damage damages[] = {
        {"\"format\":1", "\"format\":2", CYGNET_ENOTFOUND, "another version"},
        {"\"format\":1", "\"format\":-1", CYGNET_EFORMAT, "format"},
        {"\"format\":1,", "", CYGNET_EFORMAT, "format"},
        {"\"model\":\"m\"", "\"model\":5", CYGNET_EFORMAT, "model"},
        {"\"soc\":\"s\",", "", CYGNET_EFORMAT, "soc"},
        {"\"capacity\":1024", "\"capacity\":0", CYGNET_EFORMAT, "capacity"},
        {"\"cores\":2}", "\"cores\":100000}", CYGNET_EFORMAT, "cores"},
        {"{\"name\":\"all\",\"capacity\":1024,\"cores\":2}", "", CYGNET_EFORMAT,
         "there is none"},
        {"{\"name\":\"all\",\"capacity\":1024,\"cores\":2}", "7", CYGNET_EFORMAT,
         "want objects"},
        {"\"name\":\"all\"", "\"name\":\"a name that is far too long\"", CYGNET_EFORMAT,
         "name"},
        {"\"cores\":[1]", "\"cores\":[0]", CYGNET_EFORMAT, "not all 0"},
        {"\"cores\":[1]", "\"cores\":[]", CYGNET_EFORMAT, "one number a cluster"},
        {"\"cores\":[1]", "\"cores\":[1,1]", CYGNET_EFORMAT, "more than 1"},
        {"\"cores\":[1]", "\"cores\":[1.5]", CYGNET_EFORMAT, "no such number"},
        {"\"cores\":[1]", "\"cores\":[3]", CYGNET_EFORMAT, "no such number"},
        {"\"cores\":[1]", "\"cores\":[-1]", CYGNET_EFORMAT, "no such number"},
        {"\"cores\":[1]", "\"cores\":[\"1\"]", CYGNET_EFORMAT, "no such number"},
        {"\"cores\":[1]", "\"cores\":[2]", CYGNET_EFORMAT, "order of cost"},
        {"\"ms\":[10,11]", "\"ms\":[10,-11]", CYGNET_EFORMAT, "times above 0"},
        {"\"ms\":[10,11]", "\"ms\":[0,11]", CYGNET_EFORMAT, "times above 0"},
        {"\"ms\":[10,11]", "\"ms\":[1e300,11]", CYGNET_EFORMAT, "times above 0"},
        {"\"ms\":[10,11]", "\"ms\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", CYGNET_EFORMAT,
         "more than 16"},
        {"\"ms\":[10,11]", "\"ms\":{}", CYGNET_EFORMAT, "want an array"},
        {"\"n\":2", "\"n\":1", CYGNET_EFORMAT, "n"},
        {"\"n\":2,", "", CYGNET_EFORMAT, "n"},
        {"\"steps\":2", "\"steps\":-2", CYGNET_EFORMAT, "steps"},
        {"\"lost\":0.5", "\"lost\":-1", CYGNET_EFORMAT, "lost"},
        {"\"explored\":{", "\"other\":{", CYGNET_EFORMAT, "explored"},
        {"\"source\":\"host\"", "\"source\":\"unknown\"", CYGNET_EFORMAT, "no such one"},
        {"\"source\":\"host\"", "\"source\":\"thin air\"", CYGNET_EFORMAT, "no such one"},
        {"\"n\":1,\"mean_mj\"", "\"n\":0,\"mean_mj\"", CYGNET_EFORMAT, "n"},
        {"\"mean_mj\":5", "\"mean_mj\":1e99", CYGNET_EFORMAT, "mean_mj"},
        {"\"variance\":0", "\"variance\":-1", CYGNET_EFORMAT, "variance"},
        {"\"energy\":{", "\"energy\":[],\"other\":{", CYGNET_EFORMAT, "energy"},
        {",{\"cores\":[2]}", "", CYGNET_ENOTFOUND, "other execution choices"},
        {"{\"cores\":[2]}", "[]", CYGNET_EFORMAT, "want objects"},
        {"\"entries\":[{", "\"entries\":5,\"other\":[{", CYGNET_EFORMAT, "want an array"},
    };
    char damaged[sizeof(SMALL) + 64];

    (void)state;
    prepare_small();
    assert_int_equal(profile_parse(&read, SMALL, strlen(SMALL), NULL, NULL), CYGNET_OK);
    assert_float_equal(read.entries[0].step_ms, 10, 1e-9);
    assert_int_equal(read.explored.n_steps, 2);
    assert_float_equal(read.explored.n_lost, 0.5, 1e-9);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        prepare_small();
        damage_text(damaged, sizeof(damaged), &damages[i]);
        check_refused(damaged, strlen(damaged), damages[i].status, damages[i].why);
    }
}

static void test_texts_that_are_no_profile_are_refused(void **state)
{
    static const char *const texts[] = {"", "[]", "5", "{", "null", "{\"format\":{}}"};

    (void)state;
    prepare_small();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check_refused(texts[i], strlen(texts[i]), CYGNET_EFORMAT, "");
}

static void test_texts_that_are_too_large_are_refused(void **state)
{
    size_t len = PROFILE_MAX_BYTES + 1;
    char *large = calloc(1, len + 1);

    (void)state;
    assert_non_null(large);
    memset(large, ' ', len);
    prepare_small();
    check_refused(large, len, CYGNET_ELIMIT, "");
    memset(large, '[', len);
    check_refused(large, 1000, CYGNET_ELIMIT, "");
    free(large);
}

static void test_any_cut_and_any_damaged_byte_is_survived(void **state)
{
    struct rng rng;
    char damaged[sizeof(SMALL)];
    size_t len = strlen(SMALL);

    (void)state;
    prepare_small();
    for (size_t cut = 0; cut < len; cut++)
        check_refused(SMALL, cut, CYGNET_EFORMAT, "");
    rng_init(&rng, chosen_seed(), "damage", 0);
    for (int i = 0; i < N_DAMAGES; i++) {
        prepare_small();
        memcpy(damaged, SMALL, sizeof(damaged));
        damaged[rng_below(&rng, len)] = (char)rng_below(&rng, 256);
        if (profile_parse(&read, damaged, len, NULL, NULL) != CYGNET_OK)
            assert_memory_equal(&read, &before, sizeof(read));
    }
}

static void test_a_text_of_any_key_can_be_read(void **state)
{
    char name[CHOICE_TEXT_BYTES];

    (void)state;
    assert_int_equal(profile_read(&read, SMALL, strlen(SMALL), NULL), CYGNET_OK);
    assert_string_equal(read.key.model, "m");
    assert_int_equal(read.n_entries, 2);
    profile_choice_text(name, &read, 1);
    assert_string_equal(name, "2 cores");
}

static void test_without_memory_nothing_is_read(void **state)
{
    struct soc soc = make_phone();
    struct fake_alloc fake;

    (void)state;
    prepare_reader(&soc, 8);
    fake_alloc_init(&fake);
    fake.fail_at = 1;
    assert_int_equal(profile_parse(&read, SMALL, strlen(SMALL), &fake.alloc, NULL),
                     CYGNET_ENOMEM);
    assert_memory_equal(&read, &before, sizeof(read));
    assert_int_equal(fake.n_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_profile_comes_back_as_it_was),
        cmocka_unit_test(test_the_largest_profile_is_within_the_limit),
        cmocka_unit_test_setup(test_a_buffer_that_is_too_small_is_left_as_it_was, draw),
        cmocka_unit_test_setup(test_a_profile_of_something_else_is_not_found, draw),
        cmocka_unit_test(test_damaged_texts_are_refused),
        cmocka_unit_test(test_texts_that_are_no_profile_are_refused),
        cmocka_unit_test(test_texts_that_are_too_large_are_refused),
        cmocka_unit_test(test_any_cut_and_any_damaged_byte_is_survived),
        cmocka_unit_test(test_a_text_of_any_key_can_be_read),
        cmocka_unit_test(test_without_memory_nothing_is_read),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
