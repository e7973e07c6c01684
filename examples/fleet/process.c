/* fork, exec, reap. */
#include "process.h"
#include "complain.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS 20

void args_add(struct args *args, const char *format, ...)
{
    char word[4096];
    va_list values;
    int n;

    va_start(values, format);
    n = vsnprintf(word, sizeof(word), format, values);
    va_end(values);
    args->failed =
        args->failed || n < 0 || (size_t)n >= sizeof(word) || args->n >= PROCESS_MAX_ARGS;
    if (args->failed)
        return;
    args->words[args->n] = strdup(word);
    if (args->words[args->n])
        args->n++;
    else
        args->failed = true;
}

void args_clear(struct args *args)
{
    for (size_t i = 0; i < args->n; i++)
        free(args->words[i]);
    memset(args, 0, sizeof(*args));
}

/* In the child: only returns when exec fails. */
static void become(char *const *argv, int log, int nice, pid_t parent)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127); /* it died before the line above */
    setpgid(0, 0);
    setpriority(PRIO_PROCESS, 0, nice);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

cygnet_status process_start(struct process *out, const struct args *args, const char *log,
                            int nice, cygnet_error *err)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    pid_t parent = getpid();
    pid_t pid;

    memset(out, 0, sizeof(*out));
    if (fd >= 0 && args->failed) {
        close(fd);
        return complain(err, CYGNET_ENOMEM, 0, "no memory for a command line");
    }
    if (fd < 0)
        return complain(err, status_of_errno(errno), errno, "%s: %s", log,
                        strerror(errno));
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        become(args->words, fd, nice, parent);
    close(fd);
    if (pid < 0)
        return complain(err, CYGNET_ENOMEM, errno, "cannot start %s: %s", args->words[0],
                        strerror(errno));
    out->pid = pid;
    return CYGNET_OK;
}

bool process_running(struct process *process)
{
    pid_t answer;

    if (process->pid == 0)
        return false;
    answer = waitpid(process->pid, &process->wait_status, WNOHANG);
    if (answer == 0 || (answer < 0 && errno == EINTR))
        return true;
    process->pid = 0;
    process->ended = true;
    return false;
}

void process_signal(struct process *process, int number)
{
    if (process_running(process))
        kill(process->pid, number);
}

static bool any_running(struct process *processes, size_t n)
{
    bool any = false;

    for (size_t i = 0; i < n; i++)
        any |= process_running(&processes[i]);
    return any;
}

void process_wait_all(struct process *processes, size_t n, int limit_ms)
{
    const struct timespec step = {0, STEP_MS * 1000000L};

    while (any_running(processes, n) && limit_ms > 0) {
        nanosleep(&step, NULL);
        limit_ms -= STEP_MS;
    }
    for (size_t i = 0; i < n; i++)
        process_signal(&processes[i], SIGKILL);
    while (any_running(processes, n))
        nanosleep(&step, NULL);
}

bool process_failed(const struct process *process)
{
    return process->ended && WIFEXITED(process->wait_status) &&
           WEXITSTATUS(process->wait_status) != 0;
}

void process_describe(char *out, size_t size, const struct process *process)
{
    if (WIFSIGNALED(process->wait_status))
        snprintf(out, size, "killed by signal %d", WTERMSIG(process->wait_status));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(process->wait_status));
}
