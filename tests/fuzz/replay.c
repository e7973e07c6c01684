/* Stands in for libFuzzer: runs a fuzz target on every file of a corpus folder. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a heap block of exactly its size, so that a sanitizer sees reads beyond it. */
static int replay(const char *path)
{
    uint8_t *room = malloc(MAX_BYTES);
    FILE *file = fopen(path, "rb");
    uint8_t *exact;
    size_t len;

    if (!room || !file) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    len = fread(room, 1, MAX_BYTES, file);
    (void)fclose(file);
    exact = malloc(len > 0 ? len : 1);
    if (!exact)
        exit(1);
    memcpy(exact, room, len);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    free(room);
    return 1;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    int n = 0;

    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(folder)) != NULL) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        n += replay(path);
    }
    (void)closedir(folder);
    printf("1..1\n%s 1 - %d files are replayed without a crash\n",
           n > 0 ? "ok" : "not ok", n);
    return n > 0 ? 0 : 1;
}
