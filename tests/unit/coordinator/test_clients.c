/* The draw among known clients: fair, repeatable, blind to the order of arrival. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "examples/coordinator/clients.h"

#include <stdio.h>
#include <string.h>

#define N 100

/* Client i * step mod N for i = 0, 1, ...: another order for another step. */
static void fill(struct clients *c, unsigned step)
{
    for (unsigned i = 0; i < N; i++) {
        char id[CLIENT_ID_MAX + 1];
        struct client *client = NULL;
        snprintf(id, sizeof id, "client-%u", i * step % N);
        assert_int_equal(clients_add(&client, c, id, NULL), CYGNET_OK);
        assert_string_equal(client->id, id);
    }
}

static void draw(char out[][CLIENT_ID_MAX + 1], int n, struct clients *c,
                 const struct lottery *lottery)
{
    clients_deal(c, lottery);
    for (int i = 0; i < n; i++) {
        struct client *client = clients_next(c);
        assert_non_null(client);
        client->seated = true;
        memcpy(out[i], client->id, sizeof out[i]);
    }
}

static void test_the_draw_is_blind_to_the_order_of_arrival(void **state)
{
    struct clients one = {0};
    struct clients two = {0};
    char a[10][CLIENT_ID_MAX + 1];
    char b[10][CLIENT_ID_MAX + 1];
    struct lottery lottery = {7, 3, 1};

    (void)state;
    fill(&one, 1);
    fill(&two, 37);
    draw(a, 10, &one, &lottery);
    draw(b, 10, &two, &lottery);
    assert_memory_equal(a, b, sizeof a);
    clients_clear(&one);
    clients_clear(&two);
}

static void test_seed_round_and_attempt_each_change_the_draw(void **state)
{
    static const struct lottery lotteries[] = {{7, 3, 1},
                                               {8, 3, 1},
                                               {7, 4, 1},
                                               {7, 3, 2}};
    struct clients c = {0};
    char drawn[4][5][CLIENT_ID_MAX + 1] = {0};

    (void)state;
    fill(&c, 1);
    for (int i = 0; i < 4; i++)
        draw(drawn[i], 5, &c, &lotteries[i]);
    for (int i = 1; i < 4; i++)
        assert_memory_not_equal(drawn[0], drawn[i], sizeof drawn[0]);
    clients_clear(&c);
}

/* 400 rounds of 10 out of 100: 40 each in the mean, standard deviation 6. */
static void test_every_client_is_drawn_about_equally_often(void **state)
{
    struct clients c = {0};
    int n_drawn[N] = {0};

    (void)state;
    fill(&c, 1);
    for (uint64_t round = 1; round <= 400; round++) {
        struct lottery lottery = {1, round, 1};
        clients_deal(&c, &lottery);
        for (int i = 0; i < 10; i++) {
            struct client *client = clients_next(&c);
            client->seated = true;
            n_drawn[client - c.items]++;
        }
    }
    for (int i = 0; i < N; i++)
        assert_in_range(n_drawn[i], 10, 70);
    clients_clear(&c);
}

static void test_absent_and_seated_clients_are_not_drawn(void **state)
{
    struct clients c = {0};
    struct lottery lottery = {1, 1, 1};
    struct client *client;

    (void)state;
    fill(&c, 1);
    clients_deal(&c, &lottery);
    for (size_t i = 0; i < c.n; i++)
        c.items[i].present = i == 42;
    assert_int_equal(clients_present(&c), 1);
    client = clients_next(&c);
    assert_ptr_equal(client, &c.items[42]);
    client->seated = true;
    assert_null(clients_next(&c));
    clients_clear(&c);
}

static void test_ids_are_found_and_checked(void **state)
{
    struct clients c = {0};

    (void)state;
    fill(&c, 7);
    assert_non_null(clients_find(&c, "client-99"));
    assert_null(clients_find(&c, "client-100"));
    assert_true(client_id_is_valid("A-z_0.9"));
    assert_false(client_id_is_valid(""));
    assert_false(client_id_is_valid("a b"));
    assert_false(client_id_is_valid("../x"));
    assert_false(client_id_is_valid("12345678901234567890123456789012345678901234567890"
                                    "123456789012345"));
    clients_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_draw_is_blind_to_the_order_of_arrival),
        cmocka_unit_test(test_seed_round_and_attempt_each_change_the_draw),
        cmocka_unit_test(test_every_client_is_drawn_about_equally_often),
        cmocka_unit_test(test_absent_and_seated_clients_are_not_drawn),
        cmocka_unit_test(test_ids_are_found_and_checked),
    };
    return cmocka_run_group_tests_name("coordinator clients", tests, NULL, NULL);
}
