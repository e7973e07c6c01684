/* An allocator over malloc that counts, and refuses its k-th request. */
#ifndef TESTS_FAKE_ALLOC_H
#define TESTS_FAKE_ALLOC_H

#include <cygnet/alloc.h>

/* n_requests  so far
 * fail_at     the request that is refused, counted from 1; 0: none
 * for_good    1: and each one after it
 * n_live      blocks not yet released */
struct fake_alloc {
    cygnet_allocator alloc;
    long n_requests;
    long fail_at;
    int for_good;
    long n_live;
};

void fake_alloc_init(struct fake_alloc *fake);

#endif
