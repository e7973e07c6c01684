#include "tests/fakes/fake_alloc.h"

#include <stdlib.h>
#include <string.h>

static void *resize(void *ptr, size_t size, void *user)
{
    struct fake_alloc *fake = user;
    long n = ++fake->n_requests;
    void *block;

    if (n == fake->fail_at || (fake->for_good && fake->fail_at > 0 && n > fake->fail_at))
        return NULL;
    block = realloc(ptr, size);
    fake->n_live += block && !ptr;
    return block;
}

static void release(void *ptr, void *user)
{
    ((struct fake_alloc *)user)->n_live--;
    free(ptr);
}

void fake_alloc_init(struct fake_alloc *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->alloc = (cygnet_allocator){resize, release, fake};
}
