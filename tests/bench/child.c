/* Pipes, fork and exec. */
#include "tests/bench/child.h"

#include "examples/common/complain.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READING, WRITING };

static void run_child(const char *const argv[], const int to[2], const int from[2])
{
    const char *program = argv[0] ? argv[0] : "/proc/self/exe";
    char *copy[64];
    size_t n = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(to[READING], STDIN_FILENO);
    (void)dup2(from[WRITING], STDOUT_FILENO);
    copy[n++] = (char *)(uintptr_t)program;
    for (size_t i = 1; argv[i] && n + 1 < sizeof(copy) / sizeof(copy[0]); i++)
        copy[n++] = (char *)(uintptr_t)argv[i];
    copy[n] = NULL;
    (void)execvp(program, copy);
    (void)dprintf(STDOUT_FILENO, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

static void close_both(const int pipe[2])
{
    (void)close(pipe[READING]);
    (void)close(pipe[WRITING]);
}

cygnet_status child_start(struct child *child, const char *name, const char *const argv[],
                          cygnet_error *err)
{
    int to[2], from[2];

    *child = (struct child){.name = name};
    if (pipe2(to, O_CLOEXEC) != 0)
        return complain(err, CYGNET_ENOMEM, errno, "%s: no pipe", name);
    if (pipe2(from, O_CLOEXEC) != 0) {
        close_both(to);
        return complain(err, CYGNET_ENOMEM, errno, "%s: no pipe", name);
    }
    (void)fflush(NULL);
    child->pid = fork();
    if (child->pid == 0)
        run_child(argv, to, from);
    (void)close(to[READING]);
    (void)close(from[WRITING]);
    child->to = fdopen(to[WRITING], "w");
    child->from = fdopen(from[READING], "r");
    if (child->pid > 0 && child->to && child->from)
        return CYGNET_OK;
    (void)child_end(child, true);
    return complain(err, CYGNET_ENOMEM, errno, "%s: no process", name);
}

bool child_line(struct child *child, char *line, size_t size)
{
    if (!child->from || !fgets(line, (int)size, child->from))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

cygnet_status child_expect(struct child *child, const char *word, char *line, size_t size,
                           cygnet_error *err)
{
    char instead[256] = "it ended without a word";
    size_t length = strlen(word);

    while (child_line(child, line, size)) {
        if (strncmp(line, word, length) == 0 &&
            (line[length] == ' ' || line[length] == '\0')) {
            memmove(line, line + length + (line[length] == ' '),
                    strlen(line + length) + (line[length] != ' '));
            return CYGNET_OK;
        }
        (void)snprintf(instead, sizeof(instead), "%s", line);
    }
    return complain(err, CYGNET_ESTATE, 0, "%s: %s", child->name, instead);
}

cygnet_status child_tell_window(struct child *child, double from_ms, double until_ms,
                                cygnet_error *err)
{
    if (fprintf(child->to, "%.3f %.3f\n", from_ms, until_ms) > 0 &&
        fflush(child->to) == 0)
        return CYGNET_OK;
    return complain(err, CYGNET_ESTATE, errno, "%s: it has ended", child->name);
}

int child_end(struct child *child, bool now)
{
    int status = -1;

    if (child->to)
        (void)fclose(child->to);
    if (child->from)
        (void)fclose(child->from);
    if (child->pid > 0 && now)
        (void)kill(child->pid, SIGKILL);
    if (child->pid > 0 && waitpid(child->pid, &status, 0) == child->pid &&
        WIFEXITED(status))
        status = WEXITSTATUS(status);
    else
        status = -1;
    *child = (struct child){.name = child->name};
    return status;
}

bool child_read_window(double *from_ms, double *until_ms)
{
    return scanf("%lf %lf", from_ms, until_ms) == 2;
}
