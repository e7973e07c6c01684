/* Reading golden files: what PyTorch computes, as tools/make_golden.py writes it. */
#ifndef TESTS_ENGINE_GOLDEN_H
#define TESTS_ENGINE_GOLDEN_H

#include "fixture.h"

#include <stdio.h>

#define GOLDEN_MAX_PARAMS 20

/* found_in  the case, for messages */
struct golden {
    FILE *file;
    char word[160];
    char found_in[128];
    struct kernels kernels;
};

struct golden_case {
    char kind[32];
    char spec[64];
    size_t params[GOLDEN_MAX_PARAMS];
    size_t n_params;
};

/* Checks v against the file's next tensor, which has to have that name: off by at
 * most `tolerance` of its norm. */
void golden_check(struct golden *g, const char *want_name, const real *v, size_t n,
                  double tolerance);

/* Reads the file's next word, which has to be there, into g->word; as a number. */
void golden_next(struct golden *g);
double golden_number(struct golden *g);

/* All cases of a file, of which there have to be n_cases. `check` reads the tensors
 * of its case, all of them. */
void golden_check_file(const char *name, const struct kernels *kernels, size_t n_cases,
                       void (*check)(struct golden *, const struct golden_case *));

#endif
