/* See tree.h. */
#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void tree_init(struct tree *tree)
{
    (void)snprintf(tree->root, sizeof(tree->root), "/tmp/cygnet-tree-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
}

void tree_clear(struct tree *tree)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", tree->root);
    assert_int_equal(system(command), 0);
}

/* The whole path; its folders exist then. */
static void full_path(char out[PATH_MAX], const struct tree *tree, const char *path)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", tree->root, path);

    assert_in_range(n, 1, PATH_MAX - 1);
    for (char *p = out + strlen(tree->root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(out, 0700);
        *p = '/';
    }
}

void tree_put(const struct tree *tree, const char *path, const char *line)
{
    char full[PATH_MAX];
    FILE *file;

    full_path(full, tree, path);
    (void)remove(full); /* some file systems wait for the disk when one is truncated */
    file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%s\n", line) > 0);
    assert_int_equal(fclose(file), 0);
}

void tree_put_number(const struct tree *tree, const char *path, int64_t value)
{
    char line[32];

    (void)snprintf(line, sizeof(line), "%" PRId64, value);
    tree_put(tree, path, line);
}

void tree_remove(const struct tree *tree, const char *path)
{
    char full[PATH_MAX];

    full_path(full, tree, path);
    (void)remove(full);
}

/* A folder in its place: opens, and cannot be read, not even by root. */
void tree_lock(const struct tree *tree, const char *path)
{
    char full[PATH_MAX];

    tree_remove(tree, path);
    full_path(full, tree, path);
    assert_int_equal(mkdir(full, 0700), 0);
}
