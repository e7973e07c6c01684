/* Calls of FedScale's JobService over a real socket, for test_grpc.py. Each command
 * is one call; prints a line of JSON and a line with the error message for each.
 *
 *   grpc_probe [--ca FILE] [--anywhere] [--timeout-ms N] [--stall-ms N]
 *              [--max-answer N] [--cancel-ms N] [--id NAME] URL COMMAND...
 *
 *   ping               CLIENT_PING
 *   register:N         CLIENT_REGISTER with the pickle of {"size": [N]}
 *   EVENT[:FILE]       CLIENT_EXECUTE_COMPLETION of an event with the result in a file
 *   save:FILE          writes the data of the last answer into a file
 *   sleep:MS */
#include "base/bytes.h"
#include "base/stop.h"
#include "transport/fedscale_message.h"
#include "transport/grpc.h"
#include "transport/transport.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_MESSAGE (1u << 30)

struct probe {
    const char *ca;
    const char *id;
    enum url_plain plain;
    struct grpc grpc;
    int64_t cancel_ms;
    atomic_llong stopped_at_ms;
    cygnet_stop stop;
    struct bytes answer;
    struct fedscale_response response;
};

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *cancel(void *user)
{
    struct probe *p = user;

    (void)usleep((useconds_t)p->cancel_ms * 1000);
    atomic_store(&p->stopped_at_ms, now_ms());
    stop_set(&p->stop);
    return NULL;
}

static void read_file(struct bytes *out, const char *path)
{
    FILE *file = fopen(path, "rb");
    char piece[65536];
    size_t n;

    if (!file) {
        (void)fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
        (void)bytes_append(out, piece, n, NULL);
    (void)fclose(file);
}

static void save(const struct probe *p, const char *path)
{
    FILE *file = fopen(path, "wb");
    size_t len = p->response.data_len;

    if (!file || (len > 0 && fwrite(p->response.data, 1, len, file) != len)) {
        (void)fprintf(stderr, "cannot write %s\n", path);
        exit(2);
    }
    (void)fclose(file);
}

/* {"size": [n]} with n in four bytes */
static void write_info(struct bytes *out, uint32_t n)
{
    uint8_t number[4];

    store_u32le(number, n);
    (void)bytes_append(out, "\x80\x02}(X\4\0\0\0size](J", 16, NULL);
    (void)bytes_append(out, number, 4, NULL);
    (void)bytes_append(out, "eu.", 3, NULL);
}

/* Writes the message that a command stands for and returns the method. */
static const char *compose(struct bytes *out, const struct probe *p, const char *command)
{
    struct bytes result;
    char event[64];
    const char *argument = strchr(command, ':');
    const char *method = FEDSCALE_COMPLETE;

    bytes_init(&result, MAX_MESSAGE, NULL);
    (void)grpc_begin(out, NULL);
    (void)snprintf(event, sizeof(event), "%.*s",
                   (int)(argument ? argument - command : (ptrdiff_t)strlen(command)),
                   command);
    if (strcmp(event, "ping") == 0) {
        method = FEDSCALE_PING;
        (void)fedscale_ping_write(out, p->id, NULL);
    } else if (strcmp(event, "register") == 0 && argument) {
        method = FEDSCALE_REGISTER;
        write_info(&result, (uint32_t)strtoul(argument + 1, NULL, 10));
        (void)fedscale_register_write(out, p->id, &result, NULL);
    } else if (argument) {
        size_t mark;

        (void)fedscale_complete_begin(&mark, out, p->id, event, NULL);
        read_file(out, argument + 1);
        fedscale_complete_end(out, mark);
    } else {
        (void)fedscale_complete_write(out, p->id, event, NULL, NULL);
    }
    bytes_clear(&result);
    return method;
}

static void call(struct probe *p, const char *command)
{
    struct bytes message;
    struct grpc_outcome outcome;
    struct grpc_request request = {.message = &message, .stop = &p->stop};
    cygnet_error err = {0};
    long long late_ms = 0;
    cygnet_status st;

    bytes_clear(&p->answer);
    memset(&p->response, 0, sizeof(p->response));
    bytes_init(&message, MAX_MESSAGE, NULL);
    request.method = compose(&message, p, command);
    st = grpc_call(&p->answer, &outcome, &p->grpc, &request, &err);
    if (st == CYGNET_OK)
        st = fedscale_response_read(&p->response, p->answer.data, p->answer.len, &err);
    if (atomic_load(&p->stopped_at_ms))
        late_ms = now_ms() - atomic_load(&p->stopped_at_ms);
    (void)printf("{\"status\": \"%s\", \"grpc\": %d, \"sent\": %d, \"event\": \"%s\", "
                 "\"meta\": %zu, \"data\": %zu, \"up\": %llu, \"late_ms\": %lld}\n%s\n",
                 cygnet_status_name(st), outcome.status, outcome.sent, p->response.name,
                 p->response.meta_len, p->response.data_len,
                 (unsigned long long)outcome.up, late_ms,
                 st == CYGNET_OK ? "" : err.message);
    (void)fflush(stdout);
    bytes_clear(&message);
}

static void obey(struct probe *p, const char *command)
{
    if (strncmp(command, "save:", 5) == 0)
        save(p, command + 5);
    else if (strncmp(command, "sleep:", 6) == 0)
        (void)usleep((useconds_t)strtoul(command + 6, NULL, 10) * 1000);
    else
        call(p, command);
}

static int run(struct probe *p, const char *url, char *const *commands)
{
    cygnet_error err = {0};
    pthread_t thread;

    p->grpc.base_url = url;
    if (curl_http_create(&p->grpc.http, p->ca, p->plain, NULL, &err) != CYGNET_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    if (p->cancel_ms > 0 && pthread_create(&thread, NULL, cancel, p) != 0)
        return 2;
    for (; *commands; commands++)
        obey(p, *commands);
    if (p->cancel_ms > 0)
        (void)pthread_join(thread, NULL);
    bytes_clear(&p->answer);
    curl_http_destroy(p->grpc.http);
    return 0;
}

/* Takes one option; 0 when there is no such one. */
static int take(struct probe *p, int option)
{
    long long n = optarg ? strtoll(optarg, NULL, 10) : 0;

    switch (option) {
    case 'c':
        p->ca = optarg;
        break;
    case 'a':
        p->plain = URL_PLAIN_ANYWHERE;
        break;
    case 't':
        p->grpc.timeout_ms = n;
        break;
    case 's':
        p->grpc.stall_ms = n;
        break;
    case 'x':
        p->grpc.max_answer = (uint64_t)n;
        break;
    case 'k':
        p->cancel_ms = n;
        break;
    case 'i':
        p->id = optarg;
        break;
    default:
        return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"ca", required_argument, NULL, 'c'},
                                            {"anywhere", no_argument, NULL, 'a'},
                                            {"timeout-ms", required_argument, NULL, 't'},
                                            {"stall-ms", required_argument, NULL, 's'},
                                            {"max-answer", required_argument, NULL, 'x'},
                                            {"cancel-ms", required_argument, NULL, 'k'},
                                            {"id", required_argument, NULL, 'i'},
                                            {NULL, 0, NULL, 0}};
    struct probe p = {.id = "probe",
                      .plain = URL_PLAIN_LOOPBACK,
                      .grpc = {.timeout_ms = 20000, .max_answer = MAX_MESSAGE}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take(&p, option))
            return 2;
    }
    return optind < argc ? run(&p, argv[optind], argv + optind + 1) : 2;
}
