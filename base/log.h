/* The log seam. Rooms other than sdk/ log at debug only. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <cygnet/status.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* write  one line without newline; NULL: silence */
struct log {
    void (*write)(enum log_level level, const char *message, void *user);
    void *user;
};

/* Formats at most 512 bytes and hands them over; accepts NULL. */
void log_line(const struct log *log, enum log_level level, const char *format, ...)
    CYGNET_PRINTF(3, 4);

#endif
