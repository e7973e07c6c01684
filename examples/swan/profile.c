/* cygnet-swan profile and explain: a stored profile as a table, and what the policy
 * makes of it. */
#include "command.h"
#include "complain.h"
#include "options.h"
#include "subject.h"

#include <cygnet/swan.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELL_BYTES 64

static const char PROFILE_HELP[] =
    "usage: cygnet-swan profile PROFILE.json [options]\n"
    "\n"
    "Shows what the engine knows of each execution choice: a line a choice, the one "
    "that\n"
    "costs the device's user least first.\n"
    "\n"
    "  --json   the same for programs\n"
    "  --help\n"
    "\n"
    "A ~ stands before what is predicted, not measured. A choice is pruned by one that\n"
    "costs no more, is no slower and takes no more energy; the others are the frontier\n"
    "that the policy chooses from. Exit status: 0 done, 1 an error, 2 a bad command "
    "line.\n";

static const char EXPLAIN_HELP[] =
    "usage: cygnet-swan explain STATE_DIR [options]\n"
    "\n"
    "Says which execution choice the policy takes while nothing disturbs training, why,\n"
    "and why not another of the frontier. STATE_DIR is a client's, or its file profile.\n"
    "\n"
    "  --policy NAME   swan, greedy or efficient (swan)\n"
    "  --steps N       training steps that are left of the round (unknown)\n"
    "  --seconds S     to the deadline (none)\n"
    "  --root DIR      only with the cores that may be used there now: / is this device\n"
    "  --json          the same for programs\n"
    "  --help\n"
    "\n"
    "Exit status: 0 done, 1 an error, 2 a bad command line.\n";

struct profile_options {
    cygnet_swan_question question;
    bool json;
    bool help;
};

#define AT(field) offsetof(struct profile_options, field)

static cygnet_status read_policy(void *options, const char *name, const char *text,
                                 cygnet_error *err)
{
    struct profile_options *o = options;

    return option_policy(&o->question.policy, name, text, err);
}

static const struct option_row profile_rows[] = {
    {"json", OPTION_FLAG, AT(json), 0, 0, NULL},
    {"help", OPTION_FLAG, AT(help), 0, 0, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

static const struct option_row explain_rows[] = {
    {"policy", OPTION_READ, 0, 0, 0, read_policy},
    {"steps", OPTION_U64, AT(question.steps_left), 0, 0, NULL},
    {"seconds", OPTION_REAL, AT(question.seconds_left), 0, 1e9, NULL},
    {"root", OPTION_TEXT, AT(question.root), 0, 0, NULL},
    {"json", OPTION_FLAG, AT(json), 0, 0, NULL},
    {"help", OPTION_FLAG, AT(help), 0, 0, NULL},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL},
};

static bool is_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name)) != 0;
}

/* "~12.3", "-" where it is not known. */
static void format(char out[CELL_BYTES], double value, bool measured)
{
    if (isnan(value))
        snprintf(out, CELL_BYTES, "-");
    else
        snprintf(out, CELL_BYTES, "%s%.4g", measured ? "" : "~", value);
}

static void print_choice(const cJSON *row)
{
    char ms[CELL_BYTES], spread[CELL_BYTES], mj[CELL_BYTES];

    format(ms, subject_number(row, "step_ms"), is_true(row, "measured"));
    format(spread, subject_number(row, "spread_ms"), true);
    format(mj, subject_number(row, "step_mj"), is_true(row, "energy_measured"));
    printf("%4.0f  %-28s %9s %8s %6.0f %9s  %-8s %s%s\n",
           subject_number(row, "cost_rank"), subject_text(row, "choice"), ms, spread,
           subject_number(row, "steps"), mj, subject_text(row, "energy_source"),
           is_true(row, "kept") ? "kept" : "pruned by ",
           is_true(row, "kept") ? "" : subject_text(row, "pruned_by"));
}

static int show_profile(const cJSON *root)
{
    const cJSON *explored = cJSON_GetObjectItemCaseSensitive(root, "explored");
    const cJSON *row;

    printf("%4s  %-28s %9s %8s %6s %9s  %-8s %s\n", "cost", "choice", "ms/step", "spread",
           "steps", "mJ/step", "source", "frontier");
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(root, "choices"))
        print_choice(row);
    printf("\n%s; %.0f steps so far, tries cost %.3g of them\n",
           is_true(root, "complete") ? "the frontier is measured"
                                     : "the frontier is not measured yet",
           subject_number(explored, "steps"), subject_number(explored, "lost"));
    printf("model %s, SoC %s, engine %s\n", subject_text(root, "model"),
           subject_text(root, "soc"), subject_text(root, "engine"));
    return say("");
}

static int show_explanation(const cJSON *root)
{
    double step_mj = subject_number(root, "step_mj");
    char mj[CELL_BYTES];
    const cJSON *row;

    printf("%s (%s)\n%s\n", subject_text(root, "choice"), subject_text(root, "reason"),
           subject_text(root, "why"));
    format(mj, step_mj, is_true(root, "energy_measured"));
    if (!isnan(step_mj))
        printf("%s mJ a step (%s)\n", mj, subject_text(root, "energy_source"));
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(root, "others"))
        printf("  not %-28s %s\n", subject_text(row, "choice"),
               subject_text(row, "why_not"));
    return say("");
}

static int show(const char *command, const char *json, int (*print)(const cJSON *root))
{
    cygnet_error err;
    cJSON *root = cJSON_Parse(json);
    int status;

    if (!root) {
        complain(&err, CYGNET_ENOMEM, 0, "no memory for the answer");
        return give_up(command, 0, &err);
    }
    status = print(root);
    cJSON_Delete(root);
    return status;
}

static int answer(const struct subject *subject, const struct profile_options *options,
                  bool explains, const char *command)
{
    cygnet_error err;
    char *json;
    cygnet_status st;
    int status;

    st = explains ? cygnet_swan_explain(&json, subject->text, subject->len,
                                        &options->question, NULL, &err)
                  : cygnet_swan_profile(&json, subject->text, subject->len, NULL, &err);
    if (st != CYGNET_OK)
        return give_up(command, st == CYGNET_EINVAL, &err);
    if (options->json)
        printf("%s\n", json);
    status = options->json
                 ? say("")
                 : show(command, json, explains ? show_explanation : show_profile);
    cygnet_swan_free(json, NULL);
    return status;
}

static int run(int argc, char **argv, bool explains)
{
    const char *command = explains ? "explain" : "profile";
    struct profile_options options = {.json = false};
    cygnet_error err = {.status = CYGNET_OK};
    struct subject subject;
    cygnet_status st;
    int status;

    cygnet_swan_question_init(&options.question);
    st = subject_read(&subject, &options, explains ? explain_rows : profile_rows, argc,
                      argv, &err);
    if (st != CYGNET_OK)
        return give_up(command, st == CYGNET_EINVAL, &err);
    if (options.help)
        status = say(explains ? EXPLAIN_HELP : PROFILE_HELP);
    else if (subject.text)
        status = answer(&subject, &options, explains, command);
    else {
        complain(&err, CYGNET_EINVAL, 0, "want a profile: cygnet-swan %s STATE_DIR",
                 command);
        status = give_up(command, 1, &err);
    }
    free(subject.text);
    return status;
}

int profile_command(int argc, char **argv)
{
    return run(argc, argv, false);
}

int explain_command(int argc, char **argv)
{
    return run(argc, argv, true);
}
