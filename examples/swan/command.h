/* The subcommands of cygnet-swan: each a function in a file of its own and a row of the
 * table in main.c. */
#ifndef SWAN_COMMAND_H
#define SWAN_COMMAND_H

#include <cygnet/status.h>

enum exit_status { DONE = 0, FAILED = 1, USAGE = 2 };

/* argv[0] is the subcommand's name. Each prints what it has to say and returns the exit
 * status. */
int explain_command(int argc, char **argv);
int profile_command(int argc, char **argv);
int replay_command(int argc, char **argv);
int soc_command(int argc, char **argv);

/* Prints a text: DONE, or FAILED where standard output refuses it. */
int say(const char *text);

/* One line on standard error: what went wrong with that subcommand. Returns USAGE for a
 * bad command line (`usage` is not 0), else FAILED. */
int give_up(const char *command, int usage, const cygnet_error *err);

#endif
