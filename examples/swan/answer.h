/* What the library answers, as JSON: its members, and printing it. */
#ifndef SWAN_ANSWER_H
#define SWAN_ANSWER_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Members of an answer; "-", NAN and false where they are null or absent. */
const char *answer_text(const cJSON *object, const char *name);
double answer_number(const cJSON *object, const char *name);
bool answer_is_true(const cJSON *object, const char *name);

/* Prints an answer as it is, or with `print`, and releases it. Returns the subcommand's
 * exit status. */
int answer_show(const char *command, char *json, bool as_json,
                void (*print)(const cJSON *root));

#endif
