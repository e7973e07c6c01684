/* For the files that are compiled once per class of CPU: names that differ. */
#ifndef ENGINE_NN_KERNELS_CLASS_H
#define ENGINE_NN_KERNELS_CLASS_H

#include "engine/nn/kernels.h"
#include "engine/nn/vec.h"

/* A name of this class. */
#define CLASS_JOIN(name, class) name##_##class
#define CLASS_NAME(name, class) CLASS_JOIN(name, class)
#define OF_CLASS(name) CLASS_NAME(name, CLASS)

/* The function of this class that fills its part of the table. */
#define FILL(part) OF_CLASS(fill_##part)

void FILL(product)(struct kernels *out);
void FILL(channels)(struct kernels *out);
void FILL(move)(struct kernels *out);
void FILL(depthwise)(struct kernels *out);
void FILL(pool)(struct kernels *out);
void FILL(window)(struct kernels *out);
void FILL(recurrent)(struct kernels *out);
void FILL(rest)(struct kernels *out);
void FILL(loss)(struct kernels *out);
void FILL(update)(struct kernels *out);
void FILL(winograd)(struct kernels *out);

#endif
