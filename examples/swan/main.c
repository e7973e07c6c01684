/* cygnet-swan: what the Swan engine sees on a device, and why it does what it does. */
#include "command.h"

#include <cygnet/cygnet.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    const char *about;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"soc", "the cores of this device, how they differ, which may be used", soc_command},
    {"profile", "what is known of each execution choice, and which are pruned",
     profile_command},
    {"explain", "which choice the policy takes, why, and why not another",
     explain_command},
    {"replay", "what the policy decides for a trace of observations, step by step",
     replay_command},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

int say(const char *text)
{
    fputs(text, stdout);
    return fflush(stdout) == 0 && !ferror(stdout) ? DONE : FAILED;
}

int give_up(const char *command, int usage, const cygnet_error *err)
{
    if (usage)
        fprintf(stderr, "cygnet-swan %s: %s (see --help)\n", command, err->message);
    else
        fprintf(stderr, "cygnet-swan %s: %s (%s)\n", command, err->message,
                cygnet_status_name(err->status));
    return usage ? USAGE : FAILED;
}

static void print_help(FILE *file)
{
    fputs("usage: cygnet-swan SUBCOMMAND [options]\n\n", file);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(file, "  %-8s %s\n", commands[i].name, commands[i].about);
    fputs("\n  --help (also of each subcommand), --version\n", file);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (strcmp(word, "--help") == 0) {
        print_help(stdout);
        return say("");
    }
    if (strcmp(word, "--version") == 0) {
        printf("cygnet-swan %s\n", cygnet_version());
        return say("");
    }
    if (*word)
        fprintf(stderr, "cygnet-swan: unknown subcommand \"%.40s\" (see --help)\n", word);
    else
        print_help(stderr);
    return USAGE;
}
