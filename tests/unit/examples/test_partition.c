/* Properties that every partition has, and what skew does. */
#include "examples/common/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N_SHARDS 10u

static int set_up(void **state)
{
    struct dataset *digits;
    cygnet_status st = dataset_open(&digits, "digits", 0, NULL);

    *state = digits;
    return st == CYGNET_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    dataset_destroy(*state);
    return 0;
}

static struct partition_spec parsed(const char *text)
{
    struct partition_spec spec;

    assert_int_equal(partition_parse(&spec, text, NULL), CYGNET_OK);
    return spec;
}

static void test_shards_are_disjoint_and_complete(void **state)
{
    static const char *const specs[] = {"dirichlet:0.01", "dirichlet:0.5",
                                        "dirichlet:100", "shards:2", "iid"};
    const struct dataset *digits = *state;
    static uint8_t owned[2000];

    for (size_t s = 0; s < sizeof(specs) / sizeof(specs[0]); s++) {
        struct partition_spec spec = parsed(specs[s]);

        memset(owned, 0, sizeof(owned));
        for (uint32_t shard = 0; shard < N_SHARDS; shard++) {
            struct rows rows;

            assert_int_equal(partition_shard(&rows, digits, &spec, 7, shard, N_SHARDS,
                                             NULL),
                             CYGNET_OK);
            assert_true(rows.n >= PARTITION_MIN_ROWS);
            for (uint32_t i = 0; i < rows.n; i++)
                owned[rows.index[i]]++;
            rows_clear(&rows);
        }
        for (uint32_t i = 0; i < digits->train.n; i++)
            assert_int_equal(owned[digits->train.index[i]], 1);
        for (uint32_t i = 0; i < digits->test.n; i++)
            assert_int_equal(owned[digits->test.index[i]], 0);
    }
}

static void test_the_seed_alone_decides(void **state)
{
    const struct dataset *digits = *state;
    struct partition_spec spec = parsed("dirichlet:0.5");
    struct rows first;
    struct rows again;
    struct rows other;

    assert_int_equal(partition_shard(&first, digits, &spec, 1, 3, N_SHARDS, NULL), 0);
    assert_int_equal(partition_shard(&again, digits, &spec, 1, 3, N_SHARDS, NULL), 0);
    assert_int_equal(partition_shard(&other, digits, &spec, 2, 3, N_SHARDS, NULL), 0);
    assert_int_equal(first.n, again.n);
    assert_memory_equal(first.index, again.index, first.n * sizeof(*first.index));
    assert_true(first.n != other.n ||
                memcmp(first.index, other.index, first.n * sizeof(*first.index)) != 0);
    rows_clear(&first);
    rows_clear(&again);
    rows_clear(&other);
}

/* The share of a client's rows that its commonest label has, averaged. */
static double skew(const struct dataset *digits, const char *text)
{
    struct partition_spec spec = parsed(text);
    double sum = 0.0;

    for (uint32_t shard = 0; shard < N_SHARDS; shard++) {
        uint32_t count[10] = {0};
        uint32_t most = 0;
        struct rows rows;

        assert_int_equal(partition_shard(&rows, digits, &spec, 5, shard, N_SHARDS, NULL),
                         CYGNET_OK);
        for (uint32_t i = 0; i < rows.n; i++)
            count[digits->labels[rows.index[i]]]++;
        for (int label = 0; label < 10; label++)
            most = count[label] > most ? count[label] : most;
        sum += (double)most / rows.n;
        rows_clear(&rows);
    }
    return sum / N_SHARDS;
}

static void test_a_smaller_alpha_is_more_skewed(void **state)
{
    const struct dataset *digits = *state;

    assert_true(skew(digits, "dirichlet:0.05") > 0.6);
    assert_true(skew(digits, "dirichlet:1000") < 0.2);
    assert_true(skew(digits, "dirichlet:0.05") > skew(digits, "dirichlet:1"));
}

static void test_label_shards_give_a_client_few_labels(void **state)
{
    const struct dataset *digits = *state;
    struct partition_spec spec = parsed("shards:2");

    for (uint32_t shard = 0; shard < N_SHARDS; shard++) {
        int seen[10] = {0};
        int labels = 0;
        struct rows rows;

        assert_int_equal(partition_shard(&rows, digits, &spec, 5, shard, N_SHARDS, NULL),
                         CYGNET_OK);
        for (uint32_t i = 0; i < rows.n; i++)
            labels += seen[digits->labels[rows.index[i]]]++ == 0;
        rows_clear(&rows);
        assert_in_range(labels, 1, 4); /* a piece may straddle a boundary */
    }
}

static void test_every_client_has_a_row_when_there_are_as_many_clients(void **state)
{
    const struct dataset *digits = *state;
    struct partition_spec spec = parsed("dirichlet:0.1");
    struct rows rows;

    assert_int_equal(partition_shard(&rows, digits, &spec, 1, digits->train.n - 1,
                                     digits->train.n, NULL),
                     CYGNET_OK);
    assert_int_equal(rows.n, 1);
    rows_clear(&rows);
}

static void test_what_cannot_be_split_is_refused(void **state)
{
    const struct dataset *digits = *state;
    struct partition_spec iid = parsed("iid");
    struct partition_spec pieces = parsed("shards:1000");
    struct rows rows;

    assert_int_equal(partition_shard(&rows, digits, &iid, 1, 2, 2, NULL), CYGNET_EINVAL);
    assert_int_equal(partition_shard(&rows, digits, &iid, 1, 0, 0, NULL), CYGNET_EINVAL);
    assert_int_equal(partition_shard(&rows, digits, &iid, 1, 0, digits->train.n + 1,
                                     NULL),
                     CYGNET_EDATA);
    assert_int_equal(partition_shard(&rows, digits, &pieces, 1, 0, 2, NULL),
                     CYGNET_EDATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_are_disjoint_and_complete),
        cmocka_unit_test(test_the_seed_alone_decides),
        cmocka_unit_test(test_a_smaller_alpha_is_more_skewed),
        cmocka_unit_test(test_label_shards_give_a_client_few_labels),
        cmocka_unit_test(test_every_client_has_a_row_when_there_are_as_many_clients),
        cmocka_unit_test(test_what_cannot_be_split_is_refused),
    };
    return cmocka_run_group_tests_name("examples partition", tests, set_up, tear_down);
}
