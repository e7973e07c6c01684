/* What transport/ offers to sdk/: the built-in HTTP stack and the dialects. */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "base/clock.h"
#include "base/log.h"
#include "base/store.h"
#include "transport/fedscale_pickle.h"
#include "transport/url.h"

#include <cygnet/sys/coordinator.h>
#include <cygnet/sys/http.h>

/* The libcurl stack.
 * ca_file  PEM bundle; NULL: the system's store
 * plain    where http:// may lead
 * out      receives the stack; destroy with curl_http_destroy
 * The environment's proxies, cookies and .netrc are not used; neither is HTTP/2
 * unless a request asks for it. Destroying a stack after a cancel
 * may leave a name look-up of libcurl's behind that ends by itself. Errors: ENOMEM,
 * EINVAL (ca_file cannot be read), EUNSUPPORTED (a libcurl without TLS, without a
 * threaded resolver or without thread-safe start-up). */
cygnet_status curl_http_create(cygnet_http **out, const char *ca_file,
                               enum url_plain plain, const cygnet_allocator *alloc,
                               cygnet_error *err);
void curl_http_destroy(cygnet_http *http); /* accepts NULL */

/* Everything is borrowed for the coordinator's life.
 *
 * cache       blobs by hash, bounded by max_cache_bytes (least recently used go)
 * clock       bounds a download by the round's deadline
 * auth_token  as cygnet_host.auth_token; may be NULL */
struct native_config {
    const char *server_url;
    cygnet_http *http;
    struct store *cache;
    uint64_t max_cache_bytes;
    uint64_t max_model_bytes;
    int allow_loopback_http;
    const struct clock *clock;
    const struct log *log;
    int (*auth_token)(char *token, size_t size, int refresh, void *user);
    void *auth_user;
    const cygnet_allocator *alloc;
};

/* The native dialect (docs/protocol.md).
 * Errors: EINVAL (server_url: not https, no host, credentials in it), ENOMEM. */
cygnet_status native_coordinator_create(cygnet_coordinator **out,
                                        const struct native_config *config,
                                        cygnet_error *err);
void native_coordinator_destroy(cygnet_coordinator *coordinator); /* accepts NULL */

/* Everything is borrowed for the coordinator's life.
 *
 * store   keeps what the aggregator has asked for until it is answered; must survive
 * job     what the aggregator does not say
 * layout  of the model's state_dict; empty: there is no such architecture */
struct fedscale_config {
    const char *server_url;
    cygnet_http *http;
    struct store *store;
    uint64_t max_model_bytes;
    const cygnet_job *job;
    struct fedscale_layout layout;
    const struct clock *clock;
    const struct log *log;
    const cygnet_allocator *alloc;
};

/* "fedscale://..." or "fedscales://...". */
bool fedscale_is_url(const char *url);

/* Where that is, in terms of http and https. Errors: EINVAL. */
cygnet_status fedscale_url_parse(struct url *out, const char *text, cygnet_error *err);

/* The FedScale dialect (docs/fedscale.md).
 * Errors: EINVAL (server_url, job), ENOMEM. */
cygnet_status fedscale_coordinator_create(cygnet_coordinator **out,
                                          const struct fedscale_config *config,
                                          cygnet_error *err);
void fedscale_coordinator_destroy(cygnet_coordinator *coordinator); /* accepts NULL */

#endif
