/* Files that tools/embed.py has put into the programs. */
#ifndef PROGRAMS_EMBEDDED_H
#define PROGRAMS_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name;
    const unsigned char *data;
    size_t len;
};

/* examples/data/digits; ends with a NULL name. */
extern const struct embedded_file embedded_digits[];

#endif
