/* cygnet-fleet: many devices on one machine. */
#include "live.h"

#include <cygnet/cygnet.h>
#include <stdio.h>
#include <string.h>

enum exit_status { DONE = 0, FAILED = 1, USAGE = 2, STOPPED = 4 };

static const char HELP[] =
    "usage: cygnet-fleet SUBCOMMAND [options]\n"
    "\n"
    "  live    a coordinator and client processes on this machine, real training\n"
    "          over HTTPS (cygnet-fleet live --help)\n"
    "\n"
    "  --help, --version\n";

static int say(const char *text)
{
    fputs(text, stdout);
    return fflush(stdout) == 0 ? DONE : FAILED;
}

static int live(int argc, char **argv)
{
    struct fleet_options options;
    cygnet_error err = {.status = CYGNET_OK};
    cygnet_status st = fleet_options_parse(&options, argc, argv, &err);

    if (st != CYGNET_OK) {
        fprintf(stderr, "cygnet-fleet live: %s (see --help)\n", err.message);
        return USAGE;
    }
    if (options.help)
        return say(FLEET_LIVE_HELP);
    st = live_run(&options, &err);
    if (st == CYGNET_OK)
        return fflush(stdout) == 0 && !ferror(stdout) ? DONE : FAILED;
    fprintf(stderr, "cygnet-fleet live: %s (%s)\n", err.message, cygnet_status_name(st));
    return st == CYGNET_ECANCELLED ? STOPPED : FAILED;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    if (strcmp(word, "live") == 0)
        return live(argc - 1, argv + 1);
    if (strcmp(word, "--help") == 0)
        return say(HELP);
    if (strcmp(word, "--version") == 0) {
        printf("cygnet-fleet %s\n", cygnet_version());
        return fflush(stdout) == 0 ? DONE : FAILED;
    }
    if (*word)
        fprintf(stderr, "cygnet-fleet: unknown subcommand \"%.40s\" (see --help)\n",
                word);
    else
        fputs(HELP, stderr);
    return USAGE;
}
