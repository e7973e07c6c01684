/* Lines, dots and labels. */
#include "tests/bench/plot.h"

#include <math.h>

#define WIDTH 960.0
#define LEFT 78.0
#define RIGHT 18.0
#define TOP 58.0
#define PANEL 150.0
#define GAP 26.0
#define BOTTOM 46.0

enum { N_TICKS = 10 };

double plot_top(double highest)
{
    static const double steps[] = {1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0};
    double unit;

    if (!(highest > 0.0))
        return 1.0;
    unit = pow(10.0, floor(log10(highest)));
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (steps[i] * unit >= highest * 0.999)
            return steps[i] * unit;
    }
    return 10.0 * unit;
}

static double x_of(const struct plot *plot, double seconds)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / plot->seconds;
}

static double panel_y(size_t panel)
{
    return TOP + (double)panel * (PANEL + GAP);
}

static double y_of(const struct plot_panel *panel, size_t number, double value)
{
    double share = fmin(fmax(value / panel->top, 0.0), 1.0);

    return panel_y(number) + PANEL * (1.0 - share);
}

static void text(FILE *file, double x, double y, const char *anchor, const char *words)
{
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    for (; *words; words++) {
        if (*words == '<' || *words == '>' || *words == '&')
            fprintf(file, "&#%d;", *words);
        else
            fputc(*words, file);
    }
    fprintf(file, "</text>\n");
}

static void line(FILE *file, double x1, double y1, double x2, double y2,
                 const char *colour)
{
    fprintf(file,
            "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1,
            y1, x2, y2, colour);
}

static void shade(FILE *file, const struct plot *plot, size_t panel)
{
    for (size_t i = 0; i < plot->n_shaded; i++) {
        double from = x_of(plot, plot->shaded[i][0]);
        double until = x_of(plot, plot->shaded[i][1]);

        fprintf(file,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                "fill=\"#e8e8e8\"/>\n",
                from, panel_y(panel), until - from, PANEL);
    }
}

static void value_axis(FILE *file, const struct plot_panel *panel, size_t number)
{
    double step = panel->is_steps && panel->top <= 8.0 ? 1.0 : panel->top / 4.0;
    double middle = panel_y(number) + PANEL / 2.0;

    for (double value = 0.0; value <= panel->top * 1.001; value += step) {
        double y = y_of(panel, number, value);
        char words[32];

        (void)snprintf(words, sizeof(words), "%.4g", value);
        line(file, LEFT - 4.0, y, LEFT, y, "#444");
        text(file, LEFT - 8.0, y + 4.0, "end", words);
    }
    fprintf(file,
            "<text x=\"18\" y=\"%.1f\" text-anchor=\"middle\" "
            "transform=\"rotate(-90 18 %.1f)\">%s</text>\n",
            middle, middle, panel->label);
}

static void dots(FILE *file, const struct plot *plot, const struct plot_panel *panel,
                 size_t number)
{
    fprintf(file, "<path stroke=\"#1f5fa8\" stroke-width=\"3\" stroke-linecap=\"round\" "
                  "fill=\"none\" d=\"");
    for (size_t i = 0; i < panel->n; i++)
        fprintf(file, "M%.1f %.1fh0", x_of(plot, panel->at[i]),
                y_of(panel, number, panel->value[i]));
    fprintf(file, "\"/>\n");
}

static void steps(FILE *file, const struct plot *plot, const struct plot_panel *panel,
                  size_t number)
{
    fprintf(file, "<path stroke=\"#b4451f\" stroke-width=\"2\" fill=\"none\" d=\"");
    for (size_t i = 0; i < panel->n; i++) {
        double x = x_of(plot, panel->at[i]), y = y_of(panel, number, panel->value[i]);

        if (i == 0)
            fprintf(file, "M%.1f %.1f", x, y);
        else if (panel->value[i] != panel->value[i - 1])
            fprintf(file, "H%.1fV%.1f", x, y);
        else if (i + 1 == panel->n)
            fprintf(file, "H%.1f", x);
    }
    fprintf(file, "\"/>\n");
}

static void draw_panel(FILE *file, const struct plot *plot, size_t number)
{
    const struct plot_panel *panel = &plot->panels[number];

    shade(file, plot, number);
    fprintf(file,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" "
            "stroke=\"#444\"/>\n",
            LEFT, panel_y(number), WIDTH - LEFT - RIGHT, PANEL);
    value_axis(file, panel, number);
    if (isfinite(panel->limit)) {
        double y = y_of(panel, number, panel->limit);

        line(file, LEFT, y, WIDTH - RIGHT, y, "#2a8a3e");
        text(file, WIDTH - RIGHT - 4.0, y - 4.0, "end", panel->limit_label);
    }
    if (panel->is_steps)
        steps(file, plot, panel, number);
    else
        dots(file, plot, panel, number);
}

static void time_axis(FILE *file, const struct plot *plot)
{
    double bottom = panel_y(plot->n_panels - 1) + PANEL;
    double step = plot_top(plot->seconds / N_TICKS);

    for (double at = 0.0; at <= plot->seconds * 1.001; at += step) {
        char words[32];

        (void)snprintf(words, sizeof(words), "%.4g", at);
        line(file, x_of(plot, at), bottom, x_of(plot, at), bottom + 4.0, "#444");
        text(file, x_of(plot, at), bottom + 18.0, "middle", words);
    }
    text(file, (LEFT + WIDTH - RIGHT) / 2.0, bottom + 36.0, "middle", "seconds");
}

void plot_write(FILE *file, const struct plot *plot)
{
    double height = panel_y(plot->n_panels - 1) + PANEL + BOTTOM;

    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\" "
            "fill=\"#222\">\n",
            WIDTH, height, WIDTH, height);
    fprintf(file, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n");
    text(file, LEFT, 22.0, "start", plot->title);
    if (plot->n_shaded > 0) {
        fprintf(file,
                "<rect x=\"%.1f\" y=\"32\" width=\"18\" height=\"12\" "
                "fill=\"#e8e8e8\"/>\n",
                LEFT);
        text(file, LEFT + 24.0, 42.0, "start", plot->shaded_label);
    }
    for (size_t i = 0; i < plot->n_panels; i++)
        draw_panel(file, plot, i);
    time_axis(file, plot);
    fprintf(file, "</svg>\n");
}
