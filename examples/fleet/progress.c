/* The JSON lines of cygnet-client --log json, added up by round. */
#include "progress.h"
#include "complain.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* loss, correct, tested  sums over evaluations
 * began, ended           when its first task was given, its last update accepted */
struct progress_round {
    uint32_t n_completed;
    uint32_t n_failed;
    double loss;
    double correct;
    double tested;
    uint64_t bytes_up;
    uint64_t bytes_down;
    double began;
    double ended;
};

/* at     how far the log has been read
 * told   the last outcome has been counted: it comes in several lines
 * known  it has been given a task */
struct reader {
    long at;
    bool told;
    bool known;
};

struct progress {
    struct reader *readers;
    uint32_t n_readers;
    struct progress_round *rounds;
    uint32_t n_rounds;
    uint32_t room;
};

cygnet_status progress_create(struct progress **out, uint32_t n_clients,
                              cygnet_error *err)
{
    struct progress *p = calloc(1, sizeof(*p));

    if (p)
        p->readers = calloc(n_clients, sizeof(*p->readers));
    if (p && p->readers) {
        p->n_readers = n_clients;
        *out = p;
        return CYGNET_OK;
    }
    progress_destroy(p);
    return complain(err, CYGNET_ENOMEM, 0, "no memory for the progress");
}

void progress_destroy(struct progress *progress)
{
    if (!progress)
        return;
    free(progress->readers);
    free(progress->rounds);
    free(progress);
}

/* ---- Lines ------------------------------------------------------------------ */

static double number(const cJSON *line, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);

    return cJSON_IsNumber(item) ? item->valuedouble : 0.0;
}

static bool text_is(const cJSON *line, const char *name, const char *wanted)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);

    return cJSON_IsString(item) && strcmp(item->valuestring, wanted) == 0;
}

/* NULL: no memory. */
static struct progress_round *find_round(struct progress *p, uint32_t n, double now_s)
{
    if (n > p->room) {
        uint32_t room = n + 64;
        struct progress_round *more = realloc(p->rounds, room * sizeof(*more));

        if (!more)
            return NULL;
        p->rounds = more;
        p->room = room;
    }
    for (; p->n_rounds < n; p->n_rounds++)
        p->rounds[p->n_rounds] = (struct progress_round){.began = now_s, .ended = now_s};
    return &p->rounds[n - 1];
}

static void count_end(struct progress_round *round, const cJSON *line, double now_s)
{
    double examples = number(line, "examples");

    round->bytes_up += (uint64_t)number(line, "bytes_up");
    round->bytes_down += (uint64_t)number(line, "bytes_down");
    if (text_is(line, "outcome", "completed")) {
        round->n_completed++;
        round->ended = now_s;
    } else if (text_is(line, "outcome", "evaluated")) {
        round->loss += examples * number(line, "loss_last");
        round->correct += examples * number(line, "accuracy");
        round->tested += examples;
    } else {
        round->n_failed++;
    }
}

static cygnet_status take_line(struct progress *p, struct reader *reader,
                               const cJSON *line, double now_s, cygnet_error *err)
{
    double n = number(line, "round");
    bool ends = text_is(line, "phase", "idle");
    struct progress_round *round;

    if (!(n >= 1.0 && n <= PROGRESS_MAX_ROUNDS) || (ends && reader->told))
        return CYGNET_OK;
    round = find_round(p, (uint32_t)n, now_s);
    if (!round)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for the progress");
    reader->known = true;
    reader->told = ends;
    if (ends)
        count_end(round, line, now_s);
    return CYGNET_OK;
}

static cygnet_status take_lines(struct progress *p, struct reader *reader, FILE *file,
                                double now_s, cygnet_error *err)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t len;
    cygnet_status st = CYGNET_OK;

    while (st == CYGNET_OK && (len = getline(&text, &room, file)) > 0 &&
           text[len - 1] == '\n') { /* else it is still being written */
        cJSON *line = cJSON_Parse(text);

        reader->at += (long)len;
        if (line)
            st = take_line(p, reader, line, now_s, err);
        cJSON_Delete(line);
    }
    free(text);
    return st;
}

cygnet_status progress_read(struct progress *progress, uint32_t client, const char *log,
                            double now_s, cygnet_error *err)
{
    struct reader *reader = &progress->readers[client];
    FILE *file = fopen(log, "r");
    cygnet_status st = CYGNET_OK;

    if (!file)
        return CYGNET_OK;
    if (fseek(file, reader->at, SEEK_SET) == 0)
        st = take_lines(progress, reader, file, now_s, err);
    fclose(file);
    return st;
}

/* ---- Status ----------------------------------------------------------------- */

static void fill_row(struct round_row *out, const struct progress_round *round,
                     uint32_t n)
{
    *out = (struct round_row){
        .round = n,
        .participants = round->n_completed,
        .failed = round->n_failed,
        .loss = round->tested > 0.0 ? round->loss / round->tested : (double)NAN,
        .accuracy = round->tested > 0.0 ? round->correct / round->tested : (double)NAN,
        .bytes_up = round->bytes_up,
        .bytes_down = round->bytes_down,
        .seconds = round->ended - round->began,
    };
}

cygnet_status progress_status(struct status *out, const struct progress *progress,
                              bool finished, cygnet_error *err)
{
    const struct progress_round *rounds = progress->rounds;
    uint32_t n = progress->n_rounds;
    struct status fresh = {.finished = finished, .round = n};

    fresh.rows = calloc((size_t)n + 1, sizeof(*fresh.rows));
    if (!fresh.rows)
        return complain(err, CYGNET_ENOMEM, 0, "no memory for the history");
    for (uint32_t i = 0; i < n; i++)
        fill_row(&fresh.rows[i], &rounds[i], i + 1);
    fresh.n_rows = finished || n == 0 ? n : n - 1;
    fresh.accepted = n > 0 ? rounds[n - 1].n_completed : 0;
    for (uint32_t i = 0; i < progress->n_readers; i++)
        fresh.checked_in += progress->readers[i].known;
    fresh.participants = progress->n_readers;
    status_clear(out);
    *out = fresh;
    return CYGNET_OK;
}
