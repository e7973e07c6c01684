/* What holds of every schedule; test_optimizer.c has PyTorch's numbers. */
#include "fixture.h"

#include <math.h>

static void test_schedules_rise_to_their_rate_and_fall_to_their_least(void **state)
{
    cygnet_schedule s;

    (void)state;
    cygnet_schedule_init(&s);
    s.kind = CYGNET_SCHEDULE_COSINE;
    s.lr = 2, s.min_lr = 0.5, s.warmup_steps = 7, s.total_steps = 40;
    for (uint64_t i = 0; i < 60; i++) {
        double lr = cygnet_schedule_lr(&s, i), next = cygnet_schedule_lr(&s, i + 1);

        assert_true(i < 7 ? lr < next : lr >= next);
        assert_true(lr > 0 && lr <= 2 && (i < 7 || lr >= 0.5));
    }
    assert_true(cygnet_schedule_lr(&s, 7) == 2);
    assert_true(cygnet_schedule_lr(&s, 40) == 0.5);
    assert_true(cygnet_schedule_lr(&s, UINT64_MAX) == 0.5);
    s.total_steps = 3; /* over before the warm-up is */
    assert_true(cygnet_schedule_lr(&s, 7) == 0.5);
    s.kind = CYGNET_SCHEDULE_CONSTANT;
    assert_true(cygnet_schedule_lr(&s, 3) == 1);
    assert_true(cygnet_schedule_lr(&s, UINT64_MAX) == 2);
}

static void test_what_is_no_schedule_has_no_rate(void **state)
{
    cygnet_schedule s, sound;

    (void)state;
    cygnet_schedule_init(&sound);
    sound.kind = CYGNET_SCHEDULE_STEP;
    assert_true(cygnet_schedule_lr(&sound, 1) == 0.01 * 0.1);
    assert_true(isnan(cygnet_schedule_lr(NULL, 0)));
    s = sound, s.step_size = 0;
    assert_true(isnan(cygnet_schedule_lr(&s, 0)));
    s = sound, s.struct_size = 0;
    assert_true(isnan(cygnet_schedule_lr(&s, 0)));
    s = sound, s.lr = -1;
    assert_true(isnan(cygnet_schedule_lr(&s, 0)));
    s = sound, s.gamma = NAN;
    assert_true(isnan(cygnet_schedule_lr(&s, 0)));
    s = sound, s.kind = (cygnet_schedule_kind)3;
    assert_true(isnan(cygnet_schedule_lr(&s, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules_rise_to_their_rate_and_fall_to_their_least),
        cmocka_unit_test(test_what_is_no_schedule_has_no_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
