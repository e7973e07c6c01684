/* What the tests of the client share: a sandbox folder, a host with four examples,
 * and options that need no network. */
#ifndef TESTS_UNIT_SDK_SDK_TEST_H
#define TESTS_UNIT_SDK_SDK_TEST_H

#include <cygnet/cygnet.h>

#define SANDBOX_BYTES 64

/* A folder below $TMPDIR that is removed with all in it. */
void sandbox_make(char path[SANDBOX_BYTES]);
void sandbox_remove(const char *path);

/* Writes folder/name, making the folders on the way. */
void sandbox_write(const char *folder, const char *name, const char *text);

/* Hooks over four examples of two numbers, on a device that qualifies; `user` is the
 * count of device_state calls (an atomic_int), or NULL. */
void test_host(cygnet_host *host, void *user);

/* Options for these hooks and a server that nobody asks. */
void test_options(cygnet_options *options, const cygnet_host *host, const char *state);

#endif
