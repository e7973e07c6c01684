/* Child processes that never outlive the fleet. */
#ifndef FLEET_PROCESS_H
#define FLEET_PROCESS_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCESS_MAX_ARGS 64

/* A command line in the making; NULL-ended. */
struct args {
    char *words[PROCESS_MAX_ARGS + 1];
    size_t n;
    bool failed; /* no memory, or too many words */
};

void args_add(struct args *args, const char *format, ...) CYGNET_PRINTF(2, 3);
void args_clear(struct args *args);

/* pid      0: not started, or reaped
 * ended    it was started and has been reaped
 * wait_status  as waitpid gives it, once ended */
struct process {
    pid_t pid;
    bool ended;
    int wait_status;
};

/* Starts args->words[0] (a path) with both outputs appended to `log`, in a process group
 * of its own, `nice` steps down. It is killed should this process die. Errors: ESTORAGE,
 * ENOTFOUND, ENOMEM. */
cygnet_status process_start(struct process *out, const struct args *args, const char *log,
                            int nice, cygnet_error *err);

/* Looks, without waiting, whether it has ended; true when it is running. */
bool process_running(struct process *process);

/* Sends a signal if it is running. */
void process_signal(struct process *process, int number);

/* Waits until all have ended; those that have not after limit_ms are killed. */
void process_wait_all(struct process *processes, size_t n, int limit_ms);

/* It has ended by itself, with a status other than 0. */
bool process_failed(const struct process *process);

/* "exit status 1" or "killed by signal 9". */
void process_describe(char *out, size_t size, const struct process *process);

#endif
