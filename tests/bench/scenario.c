/* From names to trainers. */
#include "tests/bench/scenario.h"

#include "examples/common/complain.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WORDS = 32 };

#define START_MS 50.0 /* for a window to reach both sides */

/* A fixed choice: threads; core -1: not on one; held on its cores. */
struct fixed {
    unsigned threads;
    int core;
    bool is_placed;
};

/* "fixed-2", "fixed-1-core-0", "fixed-2-placed". */
static bool parse_fixed(struct fixed *out, const char *name)
{
    unsigned threads, core;
    int used = -1;

    *out = (struct fixed){.core = -1};
    if (sscanf(name, "fixed-%u%n", &threads, &used) != 1 || threads < 1 || threads > 64)
        return false;
    out->threads = threads;
    name += used;
    if (*name == '\0')
        return true;
    out->is_placed = strcmp(name, "-placed") == 0;
    if (out->is_placed)
        return true;
    used = -1;
    if (sscanf(name, "-core-%u%n", &core, &used) != 1 || name[used] != '\0' ||
        core > 1023)
        return false;
    out->core = (int)core;
    return true;
}

static bool is_known(const char *name)
{
    static const char *const names[] = {"alone",  "pytorch",     "pytorch-idle",
                                        "greedy", "greedy-idle", "swan"};
    struct fixed fixed;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return parse_fixed(&fixed, name);
}

bool scenario_is_alone(const struct scenario *scenario)
{
    return strcmp(scenario->name, "alone") == 0;
}

bool scenario_is_fixed(const struct scenario *scenario)
{
    return strncmp(scenario->name, "fixed-", 6) == 0;
}

static void list_all(char *out, size_t size)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    int used = snprintf(out, size,
                        "alone,pytorch,pytorch-idle,greedy,greedy-idle,"
                        "fixed-1,fixed-1-core-0");

    if (n > 1 && used > 0)
        (void)snprintf(out + used, size - (size_t)used,
                       ",fixed-1-core-%ld,fixed-%ld,fixed-%ld-placed,swan", n - 1, n, n);
    else if (used > 0)
        (void)snprintf(out + used, size - (size_t)used, ",swan");
}

static cygnet_status add(struct scenario out[SCENARIO_MAX], size_t *n, const char *name,
                         size_t length, cygnet_error *err)
{
    struct scenario *s = &out[*n];

    if (*n == SCENARIO_MAX || length >= sizeof(s->name))
        return complain(err, CYGNET_EINVAL, 0, "--set: too much");
    *s = (struct scenario){.child = {.pid = 0}};
    memcpy(s->name, name, length);
    if (!is_known(s->name))
        return complain(err, CYGNET_EINVAL, 0, "--set: no scenario \"%s\"", s->name);
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(out[i].name, s->name) == 0)
            return complain(err, CYGNET_EINVAL, 0, "--set: %s twice", s->name);
    }
    (*n)++;
    return CYGNET_OK;
}

cygnet_status scenario_parse(struct scenario out[SCENARIO_MAX], size_t *n,
                             const char *list, cygnet_error *err)
{
    char all[256];
    cygnet_status st = CYGNET_OK;

    *n = 0;
    if (!list) {
        list_all(all, sizeof(all));
        list = all;
    }
    while (st == CYGNET_OK && *list) {
        size_t length = strcspn(list, ",");

        st = add(out, n, list, length, err);
        list += length + (list[length] == ',');
    }
    return st;
}

/* ---- Starting ---------------------------------------------------------------- */

struct words {
    const char *word[MAX_WORDS];
    size_t n;
    char text[2][16];
};

static void say(struct words *words, const char *name, const char *value)
{
    if (name)
        words->word[words->n++] = name;
    if (value)
        words->word[words->n++] = value;
}

static void say_work(struct words *words, const struct scenario_work *work)
{
    say(words, "--model", work->model);
    if (work->input)
        say(words, "--input", work->input);
    say(words, "--batch", work->batch);
}

static void say_fixed(struct words *words, const struct fixed *fixed)
{
    (void)snprintf(words->text[0], sizeof(words->text[0]), "%u", fixed->threads);
    (void)snprintf(words->text[1], sizeof(words->text[1]), "%d", fixed->core);
    say(words, "--policy", "fixed");
    say(words, "--threads", words->text[0]);
    if (fixed->core >= 0)
        say(words, "--core", words->text[1]);
    if (fixed->is_placed)
        say(words, "--placed", NULL);
}

static void say_cygnet(struct words *words, const char *name,
                       const struct scenario_work *work)
{
    struct fixed fixed;

    words->n = 1; /* word 0: this program */
    say(words, "trainer", NULL);
    say_work(words, work);
    if (parse_fixed(&fixed, name))
        say_fixed(words, &fixed);
    else if (strcmp(name, "swan") == 0) {
        say(words, "--policy", "swan");
        say(words, "--placed", NULL);
    } else {
        say(words, "--policy", "greedy");
        if (strcmp(name, "greedy") == 0)
            say(words, "--normal", NULL);
    }
}

static void say_pytorch(struct words *words, const char *name,
                        const struct scenario_work *work)
{
    say(words, work->python, work->program);
    say_work(words, work);
    if (strcmp(name, "pytorch-idle") == 0)
        say(words, "--idle", NULL);
}

/* What the first word says of a trainer that is not ready. */
static cygnet_status wait_until_ready(struct scenario *s, cygnet_error *err)
{
    char line[512];

    if (!child_line(&s->child, line, sizeof(line)))
        return complain(err, CYGNET_ESTATE, 0, "%s: it ended without a word", s->name);
    if (strncmp(line, "ready ", 6) == 0) {
        (void)snprintf(s->engine, sizeof(s->engine), "%.150s", line + 6);
        return CYGNET_OK;
    }
    if (strncmp(s->name, "pytorch", 7) != 0)
        return complain(err, CYGNET_ESTATE, 0, "%s: %s", s->name, line);
    (void)snprintf(s->absent, sizeof(s->absent), "%.150s",
                   strncmp(line, "skip: ", 6) == 0 ? line + 6 : line);
    (void)child_end(&s->child, false);
    return CYGNET_OK;
}

cygnet_status scenario_start(struct scenario *scenario, const struct scenario_work *work,
                             cygnet_error *err)
{
    struct words words = {.n = 0};
    cygnet_status st;

    if (scenario_is_alone(scenario))
        return CYGNET_OK;
    if (strncmp(scenario->name, "pytorch", 7) == 0)
        say_pytorch(&words, scenario->name, work);
    else
        say_cygnet(&words, scenario->name, work);
    st = child_start(&scenario->child, scenario->name, words.word, err);
    return st == CYGNET_OK ? wait_until_ready(scenario, err) : st;
}

void scenario_end(struct scenario *scenarios, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)child_end(&scenarios[i].child, false);
}

cygnet_status scenario_run(struct record *record, struct scenario *scenario,
                           struct child *foreground, double lead_ms, double window_ms,
                           cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;
    bool trains = scenario->child.pid > 0;

    *record = (struct record){.from_ms = record_now_ms() + START_MS + lead_ms};
    record->until_ms = record->from_ms + window_ms;
    if (foreground)
        st = child_tell_window(foreground, record->from_ms, record->until_ms, err);
    if (st == CYGNET_OK && trains)
        st = child_tell_window(&scenario->child, record->from_ms, record->until_ms, err);
    if (st == CYGNET_OK && foreground)
        st = record_read_frames(record, foreground, err);
    if (st == CYGNET_OK && trains)
        st = record_read_steps(record, &scenario->child, err);
    return st;
}
