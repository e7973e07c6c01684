/* One request on its way through a route. */
#ifndef COORDINATOR_REQUEST_H
#define COORDINATOR_REQUEST_H

#include "rounds.h"

#include <cJSON.h>
#include <microhttpd.h>

struct visit;

/* round, token  from the path of round routes
 * sha256        from the path of a blob
 * body          len bytes, with a NUL behind them; NULL when empty */
struct request {
    struct rounds *rounds;
    struct MHD_Connection *connection;
    struct visit *visit;
    uint64_t round;
    char token[TOKEN_MAX + 1];
    char sha256[HASH_HEX + 1];
    char *body;
    size_t len;
};

typedef enum MHD_Result (*handler)(struct request *q);

enum MHD_Result check_in_post(struct request *q);
enum MHD_Result update_put(struct request *q);
enum MHD_Result lease_post(struct request *q);
enum MHD_Result report_post(struct request *q);
enum MHD_Result blob_get(struct request *q);
enum MHD_Result status_get(struct request *q);

/* Consumes `json`; NULL is answered as out of memory. */
enum MHD_Result reply_json(struct request *q, unsigned status, cJSON *json);
enum MHD_Result reply_empty(struct request *q, unsigned status);

/* The protocol's error object. */
enum MHD_Result reply_error(struct request *q, unsigned status, const char *code,
                            const char *message);
/* 507 for a full disk, 503 for no memory, 500 else; also a line on stderr. */
enum MHD_Result reply_fault(struct request *q, const cygnet_error *err);
/* 409 or 410, as the protocol says. */
enum MHD_Result reply_verdict(struct request *q, enum verdict verdict);

/* The body as a JSON object within the protocol's limits; NULL with *reason. */
cJSON *request_json(const struct request *q, const char **reason);

/* This request's answer is a long download: only inactivity ends it. */
void visit_allow_download(struct visit *visit);

#endif
