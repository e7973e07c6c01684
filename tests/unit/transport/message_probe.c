/* For test_openapi.py. Without an argument: prints the bodies that the native dialect
 * sends, one per line behind the schema's name. With one: reads an answer to a
 * check-in from each line of the standard input and prints what is thought of it. */
#include "base/bytes.h"
#include "transport/native_message.h"
#include "transport/native_task.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int print(const char *schema, struct bytes *body, cygnet_status st)
{
    if (st == CYGNET_OK)
        (void)printf("%s %s\n", schema, bytes_text(body));
    bytes_clear(body);
    return st != CYGNET_OK;
}

static int check_in(int known)
{
    static const char *const names[] = {"mlp", "lenet5", NULL};
    cygnet_check_in hello = {.population = "digits", .client_id = "9f2c"};
    struct bytes body;

    hello.device.battery_percent = -1;
    if (known) {
        hello.architectures = hello.codecs = names;
        hello.n_examples = 143;
        hello.n_cpus = 2;
        hello.last_round = 2;
        hello.last_utility = 81.5;
        hello.samples_per_s = (double)NAN;
        hello.device.charging = CYGNET_TRUE;
        hello.device.battery_percent = 80;
    }
    bytes_init(&body, 4096, NULL);
    return print("CheckIn", &body, native_check_in_write(&body, &hello, NULL));
}

static int report(cygnet_outcome outcome, double value)
{
    cygnet_round_report what = {.outcome = outcome,
                                .reason = "why",
                                .loss_first = value,
                                .loss_last = value,
                                .accuracy = value,
                                .utility = value};
    struct bytes body;

    bytes_init(&body, 4096, NULL);
    return print("Report", &body, native_report_write(&body, &what, NULL));
}

static int judge_answers(void)
{
    static char line[65536];

    while (fgets(line, sizeof(line), stdin)) {
        cygnet_answer answer;
        cygnet_error err = {0};
        cygnet_status st = native_answer_parse(&answer, line, strlen(line), &err);

        (void)printf("%s %s\n", cygnet_status_name(st), err.message);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int bad;

    (void)argv;
    if (argc > 1)
        return judge_answers();
    bad = check_in(0) | check_in(1);
    for (int i = CYGNET_OUTCOME_NONE; i <= CYGNET_OUTCOME_FINISHED; i++)
        bad |= report((cygnet_outcome)i, i % 2 ? 0.5 : (double)NAN);
    return bad;
}
