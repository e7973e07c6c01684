/* A folder that looks like a device's root: sysfs as files. */
#ifndef TESTS_SWAN_TREE_H
#define TESTS_SWAN_TREE_H

#include <stdint.h>

struct tree {
    char root[64];
};

void tree_init(struct tree *tree);
void tree_clear(struct tree *tree);

/* Writes one line to a file below the root, with its folders. */
void tree_put(const struct tree *tree, const char *path, const char *line);
void tree_put_number(const struct tree *tree, const char *path, int64_t value);

/* The file is gone; the file is there and cannot be read. */
void tree_remove(const struct tree *tree, const char *path);
void tree_lock(const struct tree *tree, const char *path);

#endif
