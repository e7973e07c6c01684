/* sysfs and proc of some device as files in a temporary folder, from the text of
 * tests/fixtures/soc: lines "path content".
 *
 * A path is relative to sys/devices/system/cpu; with a slash in front, to the root.
 * {A-B} in a path stands for A to B, one file each; the content * for that number. Lines
 * of one path are lines of one file. # begins a comment line. */
#ifndef TESTS_FAKES_FAKE_SOC_H
#define TESTS_FAKES_FAKE_SOC_H

#include <stdbool.h>
#include <stddef.h>

#define FAKE_SOC_ROOT_BYTES 64
#define FAKE_SOC_PATH_BYTES 256
#define FAKE_SOC_MAX_FILES 1024

/* files  paths below the root, as they came */
struct fake_soc {
    char root[FAKE_SOC_ROOT_BYTES];
    size_t n_files;
    char (*files)[FAKE_SOC_PATH_BYTES];
};

/* An empty root; then what a fixture of that name says. The process ends where the
 * system lets it down: these are tests. */
struct fake_soc *fake_soc_create(void);
struct fake_soc *fake_soc_load(const char *folder, const char *name);
void fake_soc_destroy(struct fake_soc *fake);

/* Adds what a text says, to what is there. */
void fake_soc_add(struct fake_soc *fake, const char *text);

/* Replaces one file (its path as in a text, without {}); NULL content removes it. */
void fake_soc_put(struct fake_soc *fake, const char *path, const void *content,
                  size_t len);
void fake_soc_set(struct fake_soc *fake, const char *path, const char *line);

/* What is in files[index]; free it with free. */
char *fake_soc_get(const struct fake_soc *fake, size_t index, size_t *len);

#endif
