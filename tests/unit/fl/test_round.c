/* The state machine: its table, its page, and what entering a state does. */
#include "fl/round.h"
#include "tests/fakes/memory_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[ROUND_N_STATES] = {
    "idle",    "eligible", "checked_in", "assigned", "fetched",     "training",
    "trained", "encoded",  "uploading",  "reported", "interrupted",
};

/* The rows of the table, written down a second time. */
static const char *const next[ROUND_N_STATES] = {
    "eligible",
    "checked_in, idle",
    "assigned, reported, idle",
    "fetched, reported, idle, interrupted",
    "training, reported, idle, interrupted",
    "trained, reported, idle, interrupted",
    "encoded, reported, idle, interrupted",
    "uploading, reported, idle, interrupted",
    "reported, idle, interrupted",
    "idle",
    "assigned, encoded, reported, idle",
};

static bool lists(const char *list, const char *name)
{
    size_t len = strlen(name);
    const char *at = list;

    while ((at = strstr(at, name)) != NULL) {
        if ((at == list || at[-1] == ' ') && (at[len] == '\0' || at[len] == ','))
            return true;
        at += len;
    }
    return false;
}

static void test_every_pair_of_states_is_as_the_table_says(void **state)
{
    (void)state;
    for (int from = 0; from < ROUND_N_STATES; from++)
        for (int to = 0; to < ROUND_N_STATES; to++)
            assert_int_equal(round_allows((cygnet_phase)from, (cygnet_phase)to),
                             lists(next[from], names[to]));
    assert_false(round_allows((cygnet_phase)99, CYGNET_PHASE_IDLE));
    assert_false(round_allows(CYGNET_PHASE_IDLE, (cygnet_phase)99));
}

static void test_the_page_has_the_same_table(void **state)
{
    char path[512];
    static char text[32768];
    FILE *file;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/docs/round.md", getenv("CYGNET_SOURCE_ROOT"));
    file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    for (int s = 0; s < ROUND_N_STATES; s++) {
        char row[256];
        const char *at;

        (void)snprintf(row, sizeof(row), "\n| %s | ", names[s]);
        at = strstr(text, row);
        assert_non_null(at);
        at = strchr(at + strlen(row), '|');
        assert_non_null(at);
        (void)snprintf(row, sizeof(row), "| %s |", next[s]);
        assert_int_equal(strncmp(at, row, strlen(row)), 0);
    }
}

struct machine {
    struct round round;
    struct memory_store store;
    cygnet_host host;
    int n_events;
    cygnet_phase last;
};

static void count_event(const cygnet_report *event, void *user)
{
    struct machine *m = user;

    m->n_events++;
    m->last = event->phase;
}

static int setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));

    if (!m)
        return -1;
    memory_store_init(&m->store);
    m->host.event = count_event;
    m->host.user = m;
    m->round.store = &m->store.store;
    m->round.host = &m->host;
    memset(m->round.record.client_id, 'a', CLIENT_ID_HEX);
    round_clear_report(&m->round.report);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct machine *m = *state;

    memory_store_clear(&m->store);
    free(m);
    return 0;
}

static void test_a_step_out_of_order_changes_nothing(void **state)
{
    struct machine *m = *state;
    cygnet_error err;

    assert_int_equal(round_enter(&m->round, CYGNET_PHASE_TRAINING, &err), CYGNET_ESTATE);
    assert_int_equal(m->round.record.state, CYGNET_PHASE_IDLE);
    assert_int_equal(m->n_events, 0);
    assert_int_equal(m->store.n_ops, 0);
}

static void test_a_durable_state_is_on_disk_before_the_event(void **state)
{
    struct machine *m = *state;
    struct round_record read;

    m->round.record.state = CYGNET_PHASE_CHECKED_IN;
    memcpy(m->round.record.task.token, "tok", 4);
    assert_int_equal(round_enter(&m->round, CYGNET_PHASE_ASSIGNED, NULL), CYGNET_OK);
    assert_int_equal(m->last, CYGNET_PHASE_ASSIGNED);
    assert_int_equal(journal_load(&read, &m->store.store, NULL, NULL), CYGNET_OK);
    assert_int_equal(read.state, CYGNET_PHASE_ASSIGNED);
    assert_string_equal(read.task.token, "tok");
}

static void test_a_step_forward_that_cannot_be_written_does_not_happen(void **state)
{
    struct machine *m = *state;
    cygnet_error err;

    m->round.record.state = CYGNET_PHASE_TRAINED;
    m->store.fail_at = 1;
    m->store.fail_with = CYGNET_ENOSPC;
    assert_int_equal(round_enter(&m->round, CYGNET_PHASE_ENCODED, &err), CYGNET_ENOSPC);
    assert_int_equal(m->round.record.state, CYGNET_PHASE_TRAINED);
    assert_int_equal(m->n_events, 0);
}

static void test_a_retreat_happens_even_if_it_cannot_be_written(void **state)
{
    struct machine *m = *state;
    cygnet_error err;

    m->round.record.state = CYGNET_PHASE_TRAINING;
    m->store.fail_at = 1;
    m->store.fail_with = CYGNET_ENOSPC;
    assert_int_equal(round_enter(&m->round, CYGNET_PHASE_INTERRUPTED, &err),
                     CYGNET_ENOSPC);
    assert_int_equal(m->round.record.state, CYGNET_PHASE_INTERRUPTED);
    assert_int_equal(round_reached(&m->round), CYGNET_PHASE_TRAINING);
    assert_int_equal(m->last, CYGNET_PHASE_INTERRUPTED);
}

static void test_idle_forgets_the_task_and_keeps_the_identity(void **state)
{
    struct machine *m = *state;

    m->round.record.state = CYGNET_PHASE_REPORTED;
    memcpy(m->round.record.task.token, "tok", 4);
    m->round.record.last_round = 4;
    m->round.record.next_check_in_ms = 77;
    assert_int_equal(round_enter(&m->round, CYGNET_PHASE_IDLE, NULL), CYGNET_OK);
    assert_false(round_has_task(&m->round));
    assert_int_equal(m->round.record.client_id[0], 'a');
    assert_int_equal(m->round.record.last_round, 4);
    assert_int_equal(m->round.record.next_check_in_ms, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair_of_states_is_as_the_table_says),
        cmocka_unit_test(test_the_page_has_the_same_table),
        cmocka_unit_test_setup_teardown(test_a_step_out_of_order_changes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_durable_state_is_on_disk_before_the_event,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_step_forward_that_cannot_be_written_does_not_happen, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_retreat_happens_even_if_it_cannot_be_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_forgets_the_task_and_keeps_the_identity,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
