/* cygnet-swan replay: a line for each step of a trace. */
#include "answer.h"
#include "command.h"
#include "complain.h"
#include "subject.h"

#include <cygnet/swan.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const char HELP[] =
    "usage: cygnet-swan replay TRACE.json [options]\n"
    "\n"
    "Puts what was observed, step by step, to the policy and prints what it decides: a\n"
    "line a step with its time, the choice, the reason and why. The format of a trace "
    "is\n"
    "in <cygnet/swan.h>, at cygnet_swan_replay.\n"
    "\n"
    "  --json   the same for programs\n"
    "  --help\n"
    "\n"
    "Exit status: 0 done, 1 an error, 2 a bad command line.\n";

struct replay_options {
    bool json;
    bool help;
};

static const struct option_row rows[] = {
    {"json", OPTION_FLAG, offsetof(struct replay_options, json), 0, 0, NULL},
    {"help", OPTION_FLAG, offsetof(struct replay_options, help), 0, 0, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

static void print_steps(const cJSON *root)
{
    const cJSON *step;

    cJSON_ArrayForEach(step, cJSON_GetObjectItemCaseSensitive(root, "steps"))
    {
        const char *choice = answer_text(step, "choice");

        printf("%10.1f ms  %-28s %-12s  %s\n", answer_number(step, "at_ms"),
               choice[0] == '-' ? "(pause)" : choice, answer_text(step, "reason"),
               answer_text(step, "why"));
    }
}

static int replay(const struct subject *trace, bool as_json, cygnet_error *err)
{
    char *json;

    if (cygnet_swan_replay(&json, trace->text, trace->len, NULL, err) != CYGNET_OK)
        return give_up("replay", 0, err);
    return answer_show("replay", json, as_json, print_steps);
}

int replay_command(int argc, char **argv)
{
    struct replay_options options = {.json = false};
    cygnet_error err = {.status = CYGNET_OK};
    struct subject trace;
    cygnet_status st = subject_read(&trace, &options, rows, argc, argv, &err);
    int status;

    if (st != CYGNET_OK)
        return give_up("replay", st == CYGNET_EINVAL, &err);
    if (options.help)
        status = say(HELP);
    else if (trace.text)
        status = replay(&trace, options.json, &err);
    else {
        complain(&err, CYGNET_EINVAL, 0, "want a trace: cygnet-swan replay TRACE.json");
        status = give_up("replay", 1, &err);
    }
    free(trace.text);
    return status;
}
