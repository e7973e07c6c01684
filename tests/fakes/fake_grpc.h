/* gRPC answers on a scripted HTTP stack, and the messages in them. */
#ifndef TESTS_FAKE_GRPC_H
#define TESTS_FAKE_GRPC_H

#include "tests/fakes/fake_http.h"

/* Bytes or a string of a protobuf message; data NULL: the field is left out. */
struct fake_field {
    unsigned number;
    const void *data;
    size_t len;
};

/* Queues a whole message of these fields, with status 0. */
struct fake_reply *fake_grpc_reply(struct fake_http *http,
                                   const struct fake_field *fields, size_t n);

/* Queues what an exception in a Python server becomes: status 2, before any message. */
struct fake_reply *fake_grpc_exception(struct fake_http *http);

#endif
