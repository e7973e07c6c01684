#include "tests/fakes/fake_clock.h"

#include <string.h>

static int64_t wall_ms(void *user)
{
    return ((struct fake_clock *)user)->wall_ms;
}

static int64_t mono_ms(void *user)
{
    return ((struct fake_clock *)user)->mono_ms;
}

static void wait_ms(int64_t ms, const cygnet_stop *stop, void *user)
{
    struct fake_clock *fake = user;

    if (fake->on_wait)
        fake->on_wait(fake->user);
    if (cygnet_stopped(stop))
        return;
    fake->waited_ms += ms;
    fake_clock_advance(fake, ms);
}

void fake_clock_init(struct fake_clock *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->clock = (struct clock){wall_ms, mono_ms, wait_ms, fake};
    fake->wall_ms = INT64_C(1700000000000);
    fake->mono_ms = 5000000;
}

void fake_clock_advance(struct fake_clock *fake, int64_t ms)
{
    fake->wall_ms += ms;
    fake->mono_ms += ms;
}
