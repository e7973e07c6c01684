/* Formatting for the log seam. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES 512

void log_line(const struct log *log, enum log_level level, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;

    if (!log || !log->write)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log->write(level, line, log->user);
}
