/* Waking a waiting thread. */
#include "sdk/wake.h"

#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* poll does not count suspends, so the clock is looked at again so often. */
#define SLICE_MS 10000

cygnet_status wake_init(struct wake *wake, cygnet_error *err)
{
    wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake->fd < 0)
        return fail(err, CYGNET_EHOST, errno, "no file descriptor for waking a wait");
    return CYGNET_OK;
}

/* A full counter (EAGAIN) wakes as well as one more would. */
void wake_up(const struct wake *wake)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t n = write(wake->fd, &one, sizeof(one));

    (void)n;
    errno = saved;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Takes the wake-ups so far; true when there was one. */
static int drain(const struct wake *wake)
{
    uint64_t count;

    return read(wake->fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

void wake_wait(const struct wake *wake, int64_t ms, const cygnet_stop *stop)
{
    struct pollfd entry = {.fd = wake->fd, .events = POLLIN};
    int64_t start = now_ms();
    int64_t passed = 0;

    while (!cygnet_stopped(stop) && passed < ms) {
        int64_t left = ms - passed;
        int n = poll(&entry, 1, (int)(left < SLICE_MS ? left : SLICE_MS));

        if (n > 0 && drain(wake))
            return;
        passed = now_ms() - start;
    }
}

void wake_clear(struct wake *wake)
{
    if (wake->fd >= 0)
        (void)close(wake->fd);
    wake->fd = -1;
}
