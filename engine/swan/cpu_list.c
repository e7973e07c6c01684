/* See cpu_list.h. No allocation: the controller reads lists many times a second. */
#include "engine/swan/cpu_list.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES 1024

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits only; false where there are none, or too many for a CPU's number. */
static bool take_number(uint64_t *out, const char **text)
{
    const char *p = *text;

    *out = 0;
    while (is_digit(*p) && *out <= UINT32_MAX)
        *out = *out * 10 + (uint64_t)(*p++ - '0');
    if (p == *text || *out > UINT32_MAX)
        return false;
    *text = p;
    return true;
}

static bool take_range(struct affinity *out, uint64_t *highest, const char **text)
{
    uint64_t low, high;

    if (!take_number(&low, text))
        return false;
    high = low;
    if (**text == '-') {
        (*text)++;
        if (!take_number(&high, text) || high < low)
            return false;
    }
    if (high > *highest)
        *highest = high;
    for (uint64_t cpu = low; cpu <= high && cpu < AFFINITY_MAX_CPUS; cpu++)
        affinity_add(out, (uint32_t)cpu);
    return true;
}

bool cpu_list_parse(struct affinity *out, uint64_t *highest, const char *text)
{
    uint64_t unused;

    highest = highest ? highest : &unused;
    *highest = 0;
    memset(out, 0, sizeof(*out));
    text += strspn(text, " \t\n");
    while (*text) {
        if (!take_range(out, highest, &text))
            return false;
        if (*text == ',' && !is_digit(*++text))
            return false;
        if (!is_digit(*text))
            text += strspn(text, " \t\n");
    }
    return true;
}

size_t cpu_list_count(const struct affinity *set)
{
    size_t n = 0;

    for (uint32_t cpu = 0; cpu < AFFINITY_MAX_CPUS; cpu++)
        n += affinity_has(set, cpu);
    return n;
}

/* Puts a file together line by line.
 *
 * text  the line so far; without a key all lines
 * len   what it would have without its limit */
struct lines {
    char text[CPU_LIST_BYTES];
    size_t len;
    const char *key;
};

/* True: the line with the key is complete. */
static bool take_byte(struct lines *lines, char c)
{
    if (c == '\n' && lines->key) {
        size_t n = strlen(lines->key);

        if (lines->len > n && memcmp(lines->text, lines->key, n) == 0 &&
            lines->text[n] == ':')
            return true;
        lines->len = 0;
        return false;
    }
    if (lines->len < CPU_LIST_BYTES - 1)
        lines->text[lines->len] = c;
    lines->len++;
    return false;
}

/* True: what is wanted has been read. */
static bool take_file(struct lines *lines, int file)
{
    char chunk[CHUNK_BYTES];
    ssize_t n;

    do {
        n = read(file, chunk, sizeof(chunk));
        for (ssize_t i = 0; i < n; i++) {
            if (take_byte(lines, chunk[i]))
                return true;
        }
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 && !lines->key;
}

enum cpu_list cpu_list_read(struct affinity *out, uint64_t *highest, const char *path,
                            const char *key)
{
    struct lines lines;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool taken;

    if (file < 0)
        return errno == ENOENT || errno == ENOTDIR ? CPU_LIST_ABSENT : CPU_LIST_BAD;
    lines.len = 0;
    lines.key = key;
    taken = take_file(&lines, file);
    (void)close(file);
    if (!taken || lines.len > CPU_LIST_BYTES - 1)
        return CPU_LIST_BAD;
    lines.text[lines.len] = '\0';
    if (strlen(lines.text) != lines.len)
        return CPU_LIST_BAD;
    return cpu_list_parse(out, highest, lines.text + (key ? strlen(key) + 1 : 0))
               ? CPU_LIST_GOOD
               : CPU_LIST_BAD;
}
