/* Plots of something over time, as SVG written by hand: panels below each other with
 * one axis of time. */
#ifndef TESTS_BENCH_PLOT_H
#define TESTS_BENCH_PLOT_H

#include <cygnet/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* One panel of the plot.
 *
 * label     of the vertical axis
 * at, value (n) points; at in seconds
 * top       where the axis ends; larger values are drawn at the top
 * is_steps  a line of steps instead of dots
 * limit     a horizontal line with limit_label; NaN: none */
struct plot_panel {
    const char *label;
    const double *at;
    const double *value;
    size_t n;
    double top;
    bool is_steps;
    double limit;
    const char *limit_label;
};

/* shaded  (n_shaded) pairs of seconds with a grey ground; shaded_label says what they
 *         are */
struct plot {
    const char *title;
    double seconds;
    const struct plot_panel *panels;
    size_t n_panels;
    const double (*shaded)[2];
    size_t n_shaded;
    const char *shaded_label;
};

/* A round number that is a good end for an axis with values up to `highest`. */
double plot_top(double highest);

void plot_write(FILE *file, const struct plot *plot);

#endif
