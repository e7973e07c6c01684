/* Execution choices: a total order, lists that stay small, cores in their order. */
#include "base/rng.h"
#include "engine/swan/choice.h"
#include "swan_fixture.h"

#include <string.h>

enum { N_TRIPLES = 20000, N_SOCS = 2000, NO_LIMIT = 1000 };

static struct choice draw_choice(struct rng *rng)
{
    struct choice choice = {{0}};

    /* Small numbers, so that equal ones are met. */
    for (size_t k = 0; k < SOC_MAX_CLUSTERS; k++)
        choice.n_cores[k] = (uint8_t)(rng_below(rng, 3) * rng_below(rng, 128));
    for (size_t k = rng_below(rng, SOC_MAX_CLUSTERS + 1); k < SOC_MAX_CLUSTERS; k++)
        choice.n_cores[k] = 0;
    return choice;
}

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void check_triple(const struct choice *a, const struct choice *b,
                         const struct choice *c)
{
    int ab = sign(choice_compare_cost(a, b));
    int bc = sign(choice_compare_cost(b, c));
    int ac = sign(choice_compare_cost(a, c));

    assert_int_equal(choice_compare_cost(a, a), 0);
    assert_int_equal(ab, -sign(choice_compare_cost(b, a)));
    assert_int_equal(ab == 0, memcmp(a, b, sizeof(*a)) == 0);
    assert_int_equal(ab == 0, choice_equal(a, b));
    if (ab <= 0 && bc <= 0)
        assert_true(ac <= 0);
    if (ab <= 0 && bc <= 0 && (ab < 0 || bc < 0))
        assert_true(ac < 0);
}

static void test_cost_is_a_total_order(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "choices", 0);
    for (int i = 0; i < N_TRIPLES; i++) {
        struct choice a = draw_choice(&rng);
        struct choice b = rng_below(&rng, 4) ? draw_choice(&rng) : a;
        struct choice c = rng_below(&rng, 4) ? draw_choice(&rng) : b;

        check_triple(&a, &b, &c);
    }
}

static void test_a_core_more_costs_more(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "one more", 0);
    for (int i = 0; i < N_TRIPLES; i++) {
        struct choice less = draw_choice(&rng), more = less;
        size_t k = rng_below(&rng, SOC_MAX_CLUSTERS);

        if (more.n_cores[k] == CHOICE_MAX_CORES)
            continue;
        more.n_cores[k]++;
        assert_true(choice_compare_cost(&less, &more) < 0);
    }
}

static void test_the_most_capable_cluster_decides_first(void **state)
{
    struct choice one_big = {{1}}, all_little = {{0, 200, 200}};
    struct choice big_and_little = {{1, 0, 1}}, big_and_mid = {{1, 1, 0}};

    (void)state;
    assert_true(choice_compare_cost(&one_big, &all_little) > 0);
    assert_true(choice_compare_cost(&big_and_mid, &big_and_little) > 0);
    assert_true(choice_compare_cost(&big_and_little, &one_big) > 0);
}

/* Sorted, within limits, none twice, none without a thread, none beyond the SoC. */
static void check_list(const struct choice *list, size_t n, const struct soc *soc,
                       uint32_t max_threads)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t n_threads = choice_n_threads(&list[i]);

        assert_in_range(n_threads, 1, max_threads);
        for (uint32_t k = 0; k < SOC_MAX_CLUSTERS; k++)
            assert_true(list[i].n_cores[k] <=
                        (k < soc->n_clusters ? soc->clusters[k].n_cores : 0));
        if (i > 0)
            assert_true(choice_compare_cost(&list[i - 1], &list[i]) < 0);
    }
}

/* How many choices the SoC has when none is left out, by counting. */
static size_t count_all(const struct soc *soc, uint32_t cluster, uint32_t n_left)
{
    size_t n = 0;

    if (cluster == soc->n_clusters)
        return 1;
    for (uint32_t i = 0; i <= soc->clusters[cluster].n_cores && i <= n_left; i++)
        n += count_all(soc, cluster + 1, n_left - i);
    return n;
}

static bool has_choice(const struct choice *list, size_t n, const struct choice *choice)
{
    for (size_t i = 0; i < n; i++) {
        if (choice_equal(&list[i], choice))
            return true;
    }
    return false;
}

static void test_lists_are_sorted_and_bounded_on_any_soc(void **state)
{
    struct choice list[CHOICE_MAX];
    struct rng rng;

    (void)state;
    rng_init(&rng, chosen_seed(), "socs", 0);
    for (int i = 0; i < N_SOCS; i++) {
        struct soc soc = draw_soc(&rng);
        uint32_t max_threads = 1 + (uint32_t)rng_below(&rng, 12);
        size_t n = choice_list(list, &soc, max_threads);
        struct choice one = {{0}};

        check_list(list, n, &soc, max_threads);
        if (count_all(&soc, 0, max_threads) - 1 <= CHOICE_MAX)
            assert_int_equal(n, count_all(&soc, 0, max_threads) - 1);
        for (uint32_t k = 0; k < soc.n_clusters; k++) {
            one = (struct choice){{0}};
            one.n_cores[k] =
                (uint8_t)(soc.clusters[k].n_cores < max_threads ? soc.clusters[k].n_cores
                                                                : max_threads);
            assert_true(has_choice(list, n, &one));
        }
    }
}

static void test_a_phone_has_every_choice(void **state)
{
    struct soc soc = make_soc((const uint32_t[]){1, 3, 4}, 3, 1);
    struct choice list[CHOICE_MAX];
    size_t n = choice_list(list, &soc, NO_LIMIT);

    (void)state;
    assert_int_equal(n, 2 * 4 * 5 - 1);
    check_list(list, n, &soc, NO_LIMIT);
    assert_memory_equal(&list[0], &((struct choice){{0, 0, 1}}), sizeof(*list));
    assert_memory_equal(&list[n - 1], &((struct choice){{1, 3, 4}}), sizeof(*list));
}

static void test_many_cores_are_taken_in_powers_of_two(void **state)
{
    struct soc soc = make_soc((const uint32_t[]){24, 16}, 2, 2);
    static const uint8_t big[] = {0, 1, 2, 4, 8, 12, 16, 24};
    static const uint8_t little[] = {0, 1, 2, 4, 8, 16};
    struct choice list[CHOICE_MAX], wanted;
    size_t n = choice_list(list, &soc, NO_LIMIT);

    (void)state;
    assert_int_equal(n, sizeof(big) * sizeof(little) - 1);
    check_list(list, n, &soc, NO_LIMIT);
    for (size_t i = 1; i <= n; i++) {
        wanted = (struct choice){{big[i / sizeof(little)], little[i % sizeof(little)]}};
        assert_true(has_choice(list, n, &wanted));
    }
}

static void test_many_clusters_are_taken_whole(void **state)
{
    struct soc five = make_soc((const uint32_t[]){4, 4, 4, 4, 4}, 5, 1);
    struct soc eight = make_soc((const uint32_t[]){2, 2, 2, 2, 2, 2, 2, 2}, 8, 1);
    struct choice list[CHOICE_MAX];

    (void)state;
    assert_int_equal(choice_list(list, &five, NO_LIMIT), 31);
    assert_true(has_choice(list, 31, &((struct choice){{4, 0, 4, 0, 4}})));
    assert_int_equal(choice_list(list, &eight, NO_LIMIT), 36);
    assert_true(has_choice(list, 36, &((struct choice){{0, 2, 2, 2}})));
    assert_false(has_choice(list, 36, &((struct choice){{2, 0, 2}})));
    check_list(list, 36, &eight, NO_LIMIT);
}

static void test_a_machine_of_256_cores_has_its_largest_choice(void **state)
{
    struct soc soc = make_soc((const uint32_t[]){256}, 1, 1);
    struct choice list[CHOICE_MAX];
    size_t n = choice_list(list, &soc, NO_LIMIT);

    (void)state;
    assert_int_equal(n, 9); /* 1, 2, 4, ..., 128, 255 */
    assert_int_equal(list[n - 1].n_cores[0], CHOICE_MAX_CORES);
    assert_int_equal(choice_list(list, &soc, 3), 3);
    assert_int_equal(choice_list(list, &soc, 0), 0);
    soc.n_clusters = 0;
    assert_int_equal(choice_list(list, &soc, NO_LIMIT), 0);
}

static void test_a_choice_is_possible_while_its_cores_are_usable(void **state)
{
    struct soc soc = make_soc((const uint32_t[]){2, 2}, 2, 1);
    struct choice both = {{2, 1}}, beyond = {{0, 0, 1}};

    (void)state;
    assert_true(choice_is_possible(&both, &soc));
    assert_false(choice_is_possible(&beyond, &soc));
    soc.cores[0].allowed = false;
    assert_false(choice_is_possible(&both, &soc));
    soc.cores[0].allowed = true;
    soc.cores[1].online = false;
    assert_false(choice_is_possible(&both, &soc));
    soc.cores[1].online = true;
    soc.cores[2].isolated = true;
    assert_true(choice_is_possible(&both, &soc));
    soc.cores[3].isolated = true;
    assert_false(choice_is_possible(&both, &soc));
}

static void check_text(const struct soc *soc, struct choice choice, const char *wanted)
{
    char text[CHOICE_TEXT_BYTES];

    choice_text(text, &choice, soc);
    assert_string_equal(text, wanted);
}

static void test_choices_are_said_in_words(void **state)
{
    struct soc phone = make_soc((const uint32_t[]){1, 3, 4}, 3, 1);
    struct soc even = make_soc((const uint32_t[]){4}, 1, 1);
    struct soc many = make_soc((const uint32_t[]){1, 1, 1, 1, 1, 1, 1, 1}, 8, 1);
    struct choice all;
    char text[CHOICE_TEXT_BYTES];

    (void)state;
    check_text(&phone, (struct choice){{1, 3, 4}}, "1 prime + 3 big + 4 LITTLE");
    check_text(&phone, (struct choice){{0, 2, 1}}, "2 big + 1 LITTLE");
    check_text(&phone, (struct choice){{0, 0, 4}}, "4 LITTLE");
    check_text(&phone, (struct choice){{0}}, "none");
    check_text(&even, (struct choice){{1}}, "1 core");
    check_text(&even, (struct choice){{4}}, "4 cores");
    for (size_t k = 0; k < SOC_MAX_CLUSTERS; k++) {
        memset(many.clusters[k].name, 'x', SOC_NAME_BYTES - 1);
        all.n_cores[k] = CHOICE_MAX_CORES;
    }
    choice_text(text, &all, &many);
    assert_int_equal(strlen(text), 8 * (4 + SOC_NAME_BYTES - 1) + 7 * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost_is_a_total_order),
        cmocka_unit_test(test_a_core_more_costs_more),
        cmocka_unit_test(test_the_most_capable_cluster_decides_first),
        cmocka_unit_test(test_lists_are_sorted_and_bounded_on_any_soc),
        cmocka_unit_test(test_a_phone_has_every_choice),
        cmocka_unit_test(test_many_cores_are_taken_in_powers_of_two),
        cmocka_unit_test(test_many_clusters_are_taken_whole),
        cmocka_unit_test(test_a_machine_of_256_cores_has_its_largest_choice),
        cmocka_unit_test(test_a_choice_is_possible_while_its_cores_are_usable),
        cmocka_unit_test(test_choices_are_said_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
