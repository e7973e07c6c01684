/* See answer.h. */
#include "answer.h"

#include "command.h"
#include "complain.h"

#include <cygnet/swan.h>
#include <math.h>
#include <stdio.h>

const char *answer_text(const cJSON *object, const char *name)
{
    const char *value =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

    return value ? value : "-";
}

double answer_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

bool answer_is_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name)) != 0;
}

static int show_tree(const char *command, const char *json,
                     void (*print)(const cJSON *root))
{
    cJSON *root = cJSON_Parse(json);
    cygnet_error err;

    if (!root) {
        complain(&err, CYGNET_ENOMEM, 0, "no memory for the answer");
        return give_up(command, 0, &err);
    }
    print(root);
    cJSON_Delete(root);
    return say("");
}

int answer_show(const char *command, char *json, bool as_json,
                void (*print)(const cJSON *root))
{
    int status;

    if (as_json)
        printf("%s\n", json);
    status = as_json ? say("") : show_tree(command, json, print);
    cygnet_swan_free(json, NULL);
    return status;
}
