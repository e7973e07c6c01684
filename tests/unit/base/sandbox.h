/* A folder of its own for a test, with an exclusive store two folders deep in it. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "base/store.h"

struct sandbox {
    char folder[64];
    char path[96];
    struct store *store;
};

/* cmocka's set-up and tear-down; *state is the sandbox. Tear-down removes it all. */
int sandbox_set_up(void **state);
int sandbox_tear_down(void **state);

/* Fails unless the file holds exactly `want`. */
void assert_content(struct store *s, const char *name, const char *want);

/* Files of every name in the folder of that path, left-overs among them. */
int count_files(const char *path);

#define SANDBOXED(test)                                                                  \
    cmocka_unit_test_setup_teardown(test, sandbox_set_up, sandbox_tear_down)

#endif
