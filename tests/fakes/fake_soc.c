/* See fake_soc.h. */
#include "tests/fakes/fake_soc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CPU_FOLDER "sys/devices/system/cpu/"
#define MAX_TEXT 65536

static void must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

struct fake_soc *fake_soc_create(void)
{
    struct fake_soc *fake = calloc(1, sizeof(*fake));

    must(fake != NULL, "fake_soc");
    fake->files = calloc(FAKE_SOC_MAX_FILES, sizeof(*fake->files));
    must(fake->files != NULL, "fake_soc");
    /* Thousands of small files: in memory where there is such a folder. */
    (void)snprintf(fake->root, sizeof(fake->root), "/dev/shm/cygnet-soc-XXXXXX");
    if (mkdtemp(fake->root))
        return fake;
    (void)snprintf(fake->root, sizeof(fake->root), "/tmp/cygnet-soc-XXXXXX");
    must(mkdtemp(fake->root) != NULL, fake->root);
    return fake;
}

void fake_soc_destroy(struct fake_soc *fake)
{
    char command[FAKE_SOC_ROOT_BYTES + 16];

    (void)snprintf(command, sizeof(command), "rm -rf %s", fake->root);
    must(system(command) == 0, command);
    free(fake->files);
    free(fake);
}

/* The path below the root. */
static void resolve(char out[FAKE_SOC_PATH_BYTES], const char *path)
{
    int n = snprintf(out, FAKE_SOC_PATH_BYTES, "%s%s", path[0] == '/' ? "" : CPU_FOLDER,
                     path[0] == '/' ? path + 1 : path);

    must(n > 0 && n < FAKE_SOC_PATH_BYTES, path);
}

static void make_folders(const char *path)
{
    char part[FAKE_SOC_ROOT_BYTES + FAKE_SOC_PATH_BYTES];

    for (const char *slash = strchr(path + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        (void)mkdir(part, 0700);
    }
}

static void write_file(const struct fake_soc *fake, const char *name, const char *mode,
                       const void *content, size_t len)
{
    char path[FAKE_SOC_ROOT_BYTES + FAKE_SOC_PATH_BYTES];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", fake->root, name);
    /* A new file: some file systems write a truncated one out when it is closed. */
    if (mode[0] == 'w')
        (void)unlink(path);
    file = fopen(path, mode);
    if (!file) {
        make_folders(path);
        file = fopen(path, mode);
    }
    must(file != NULL, path);
    must(fwrite(content, 1, len, file) == len, path);
    must(fclose(file) == 0, path);
}

static void remember(struct fake_soc *fake, const char *name)
{
    for (size_t i = 0; i < fake->n_files; i++) {
        if (strcmp(fake->files[i], name) == 0)
            return;
    }
    must(fake->n_files < FAKE_SOC_MAX_FILES, "more files than FAKE_SOC_MAX_FILES");
    (void)snprintf(fake->files[fake->n_files++], FAKE_SOC_PATH_BYTES, "%s", name);
}

static void append_line(struct fake_soc *fake, const char *path, const char *line)
{
    char name[FAKE_SOC_PATH_BYTES], text[1024];
    int n = snprintf(text, sizeof(text), "%s\n", line);

    must(n > 0 && n < (int)sizeof(text), line);
    resolve(name, path);
    remember(fake, name);
    write_file(fake, name, "ab", text, (size_t)n);
}

static void add_line(struct fake_soc *fake, char *line)
{
    char *content = strchr(line, ' '), *brace = strchr(line, '{');
    char path[FAKE_SOC_PATH_BYTES], number[16];
    unsigned low, high;

    if (line[0] == '#' || line[0] == '\0')
        return;
    if (content)
        *content++ = '\0';
    else
        content = line + strlen(line);
    if (!brace || brace > content) {
        append_line(fake, line, content);
        return;
    }
    must(sscanf(brace, "{%u-%u}", &low, &high) == 2 && strchr(brace, '}'), line);
    for (unsigned i = low; i <= high; i++) {
        (void)snprintf(path, sizeof(path), "%.*s%u%s", (int)(brace - line), line, i,
                       strchr(brace, '}') + 1);
        (void)snprintf(number, sizeof(number), "%u", i);
        append_line(fake, path, strcmp(content, "*") == 0 ? number : content);
    }
}

void fake_soc_add(struct fake_soc *fake, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        char line[1024];

        must(len < sizeof(line), text);
        (void)snprintf(line, sizeof(line), "%.*s", (int)len, text);
        add_line(fake, line);
        text += len + (text[len] == '\n');
    }
}

struct fake_soc *fake_soc_load(const char *folder, const char *name)
{
    struct fake_soc *fake = fake_soc_create();
    static char text[MAX_TEXT];
    char path[1024];
    FILE *file;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/%s.txt", folder, name);
    file = fopen(path, "rb");
    must(file != NULL, path);
    n = fread(text, 1, sizeof(text) - 1, file);
    must(n > 0 && n < sizeof(text) - 1 && fclose(file) == 0, path);
    text[n] = '\0';
    fake_soc_add(fake, text);
    return fake;
}

void fake_soc_put(struct fake_soc *fake, const char *path, const void *content,
                  size_t len)
{
    char name[FAKE_SOC_PATH_BYTES], whole[FAKE_SOC_ROOT_BYTES + FAKE_SOC_PATH_BYTES];

    resolve(name, path);
    if (content) {
        write_file(fake, name, "wb", content, len);
        return;
    }
    (void)snprintf(whole, sizeof(whole), "%s/%s", fake->root, name);
    must(unlink(whole) == 0, whole);
}

void fake_soc_set(struct fake_soc *fake, const char *path, const char *line)
{
    char text[4096];
    int n;

    if (!line) {
        fake_soc_put(fake, path, NULL, 0);
        return;
    }
    n = snprintf(text, sizeof(text), "%s\n", line);
    must(n > 0 && n < (int)sizeof(text), path);
    fake_soc_put(fake, path, text, (size_t)n);
}

char *fake_soc_get(const struct fake_soc *fake, size_t index, size_t *len)
{
    char path[FAKE_SOC_ROOT_BYTES + FAKE_SOC_PATH_BYTES];
    char *content = calloc(1, MAX_TEXT);
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", fake->root, fake->files[index]);
    file = fopen(path, "rb");
    must(file != NULL && content != NULL, path);
    *len = fread(content, 1, MAX_TEXT - 1, file);
    must(fclose(file) == 0, path);
    return content;
}
