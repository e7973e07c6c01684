/* Safetensors for readers in other languages:
 *   safetensors_probe write FILE    the list that tests/reference/test_safetensors.py
 *                                   describes
 *   safetensors_probe copy IN OUT   loads and saves */
#include <cygnet/tensors.h>
#include <stdio.h>
#include <string.h>

#define LIMIT ((uint64_t)16 << 20)
#define N_MANY 3000

static void fill(const cygnet_tensor *tensor)
{
    unsigned char *data = tensor->data;

    for (uint64_t i = 0; i < tensor->size_bytes; i++)
        data[i] = tensor->dtype == CYGNET_BOOL
                      ? (unsigned char)(i % 2)
                      : (unsigned char)(37 * i + 11 * (uint64_t)tensor->dtype + 1);
}

static cygnet_status add(cygnet_tensors *list, const char *name, cygnet_dtype dtype,
                         const uint64_t *shape, uint32_t n_dims, cygnet_error *err)
{
    cygnet_tensor *tensor;
    cygnet_status st = cygnet_tensors_add(&tensor, list, name, dtype, shape, n_dims, err);

    if (st == CYGNET_OK)
        fill(tensor);
    return st;
}

static cygnet_status add_dtypes(cygnet_tensors *list, cygnet_error *err)
{
    static const uint64_t shape[] = {2, 3};
    cygnet_status st = CYGNET_OK;

    for (int dtype = 0; cygnet_dtype_name((cygnet_dtype)dtype) && st == CYGNET_OK;
         dtype++)
        st = add(list, cygnet_dtype_name((cygnet_dtype)dtype), (cygnet_dtype)dtype, shape,
                 2, err);
    return st;
}

static cygnet_status add_odd_ones(cygnet_tensors *list, cygnet_error *err)
{
    static const uint64_t dims[] = {1, 2, 1, 3, 1, 2, 1, 1};
    static const uint64_t none[] = {0, 4};
    char name[CYGNET_TENSOR_NAME_MAX + 1];
    cygnet_status st = add(list, "scalar", CYGNET_F32, NULL, 0, err);

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    if (st == CYGNET_OK)
        st = add(list, "empty", CYGNET_F64, none, 2, err);
    if (st == CYGNET_OK)
        st = add(list, "eight dims", CYGNET_I16, dims, 8, err);
    if (st == CYGNET_OK)
        st = add(list,
                 "gr\xc3\xb6\xc3\x9f"
                 "e.\xe6\x9d\x83\xe9\x87\x8d.\xf0\x9f\xa6\xa2",
                 CYGNET_U8, dims + 3, 1, err);
    if (st == CYGNET_OK)
        st = add(list, "\"quoted\"\\\n\t\x01/", CYGNET_U8, dims + 1, 1, err);
    if (st == CYGNET_OK)
        st = add(list, name, CYGNET_I8, dims, 1, err);
    return st;
}

static cygnet_status add_many(cygnet_tensors *list, cygnet_error *err)
{
    cygnet_status st = CYGNET_OK;
    char name[16];

    for (uint64_t i = 0; i < N_MANY && st == CYGNET_OK; i++) {
        uint64_t n = i % 4;

        (void)snprintf(name, sizeof(name), "many.%d", (int)i);
        st = add(list, name, CYGNET_U8, &n, 1, err);
    }
    return st;
}

static cygnet_status add_metadata(cygnet_tensors *list, cygnet_error *err)
{
    static const char *const pairs[][2] = {
        {"format", "pt"},
        {"nothing", ""},
        {"", "an empty key"},
        {"h\xc3\xa4lf", "\"\n\\\x1f\xf0\x9f\xa6\xa2"},
    };
    cygnet_status st = CYGNET_OK;

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]) && st == CYGNET_OK; i++)
        st = cygnet_tensors_set_metadata(list, pairs[i][0], pairs[i][1], err);
    return st;
}

static cygnet_status make(cygnet_tensors **list, cygnet_error *err)
{
    cygnet_status st = cygnet_tensors_create(list, LIMIT, NULL, err);

    if (st == CYGNET_OK)
        st = add_metadata(*list, err);
    if (st == CYGNET_OK)
        st = add_dtypes(*list, err);
    if (st == CYGNET_OK)
        st = add_odd_ones(*list, err);
    return st == CYGNET_OK ? add_many(*list, err) : st;
}

int main(int argc, char **argv)
{
    cygnet_tensors *list = NULL;
    cygnet_error err = {0};
    cygnet_status st;

    if (argc == 3 && strcmp(argv[1], "write") == 0) {
        st = make(&list, &err);
    } else if (argc == 4 && strcmp(argv[1], "copy") == 0) {
        st = cygnet_tensors_load(&list, argv[2], LIMIT, NULL, &err);
    } else {
        (void)fprintf(stderr, "usage: safetensors_probe write FILE | copy IN OUT\n");
        return 2;
    }
    if (st == CYGNET_OK)
        st = cygnet_tensors_save(list, argv[argc - 1], &err);
    cygnet_tensors_destroy(list);
    if (st != CYGNET_OK)
        (void)fprintf(stderr, "safetensors_probe: %s\n", err.message);
    return st != CYGNET_OK;
}
