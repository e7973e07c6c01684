/* The classes of this build, and which of them this CPU can run. */
#include "engine/nn/kernels.h"

#include <string.h>

#define DECLARE(class)                                                                   \
    void fill_product_##class(struct kernels * out);                                     \
    void fill_channels_##class(struct kernels * out);                                    \
    void fill_move_##class(struct kernels * out);                                        \
    void fill_depthwise_##class(struct kernels * out);                                   \
    void fill_pool_##class(struct kernels * out);                                        \
    void fill_window_##class(struct kernels * out);                                      \
    void fill_recurrent_##class(struct kernels * out);                                   \
    void fill_rest_##class(struct kernels * out);                                        \
    void fill_update_##class(struct kernels * out);                                      \
    void fill_loss_##class(struct kernels * out);                                        \
    void fill_winograd_##class(struct kernels * out);                                    \
    static void fill_##class(struct kernels * out)                                       \
    {                                                                                    \
        fill_product_##class(out);                                                       \
        fill_channels_##class(out);                                                      \
        fill_move_##class(out);                                                          \
        fill_depthwise_##class(out);                                                     \
        fill_pool_##class(out);                                                          \
        fill_window_##class(out);                                                        \
        fill_recurrent_##class(out);                                                     \
        fill_rest_##class(out);                                                          \
        fill_update_##class(out);                                                        \
        fill_loss_##class(out);                                                          \
        fill_winograd_##class(out);                                                      \
    }

DECLARE(ref)
#ifdef HAVE_CLASS_BASE
DECLARE(base)
#endif
#ifdef HAVE_CLASS_AVX2
DECLARE(avx2)
#endif
#ifdef HAVE_CLASS_AVX512
DECLARE(avx512)
#endif

static bool always(void)
{
    return true;
}

#ifdef HAVE_CLASS_AVX2
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#ifdef HAVE_CLASS_AVX512
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif

/* Slowest first. */
static const struct {
    const char *name;
    bool (*runs_here)(void);
    void (*fill)(struct kernels *out);
} classes[] = {
    {"reference", always, fill_ref},
#ifdef HAVE_CLASS_BASE
#ifdef __aarch64__
    {"NEON", always, fill_base},
#else
    {"SSE2", always, fill_base},
#endif
#endif
#ifdef HAVE_CLASS_AVX2
    {"AVX2", has_avx2, fill_avx2},
#endif
#ifdef HAVE_CLASS_AVX512
    {"AVX-512", has_avx512, fill_avx512},
#endif
};

enum { N_CLASSES = sizeof(classes) / sizeof(classes[0]) };

bool kernels_class(struct kernels *out, size_t index)
{
    for (size_t i = 0; i < N_CLASSES; i++) {
        if (!classes[i].runs_here() || index-- > 0)
            continue;
        memset(out, 0, sizeof(*out));
        out->name = classes[i].name;
        classes[i].fill(out);
        return true;
    }
    return false;
}

void kernels_choose(struct kernels *out)
{
    for (size_t i = 0; kernels_class(out, i); i++)
        continue;
}
