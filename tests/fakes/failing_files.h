/* The system calls by which files change, counted, and made to fail or to kill the
 * process at the k-th. Linked into a test they take the place of the C library's
 * for everything in it: the files themselves are real. Only one thread may use
 * them. */
#ifndef TESTS_FAILING_FILES_H
#define TESTS_FAILING_FILES_H

enum files_trouble {
    FILES_FINE,
    FILES_KILL, /* SIGKILL; a write gets half of its bytes out first */
    FILES_FAIL, /* the call fails with `error`, and works again */
    FILES_FULL  /* it fails with `error`, and so do all that follow */
};

/* at    the call that the trouble begins with, counted from 1
 * n     calls since files_begin */
struct failing_files {
    enum files_trouble trouble;
    long at;
    int error;
    long n;
};

extern struct failing_files failing_files;

/* Counts from 0 and makes this trouble from now on. */
void files_begin(enum files_trouble trouble, long at, int error);

/* No more trouble. Whether its call was reached. */
int files_end(void);

#endif
