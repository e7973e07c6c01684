/* The two models of predict.h, as logarithms with derivatives. */
#include "engine/swan/predict.h"

#include <math.h>

/* Priors, as predict.h has them: standard deviations of logarithms. */
#define RATIO_SD 0.35
#define SERIAL_MEAN 0.02
#define CONTENTION_MEAN 0.005
#define OVERHEAD_SD 1.6
#define POWER_EXPONENT 2.0
#define POWER_RATIO_SD 0.5
#define SHARED_MEAN 0.1
#define SHARED_SD 1.0
#define FLAT_SD 10.0

/* Noise of a single step, as a fraction: what a phone at rest shows. */
#define STEP_NOISE 0.04
#define POWER_NOISE 0.05

/* Of so many steps one may be wild; the faster of two is not, nor a median. */
enum { TAME = 2 };

/* Parameters: log t_1, log r_2 ... log r_K, log s, log c. */
static double log_time(double gradient[FIT_MAX_PARAMS], const struct fit_point *at,
                       size_t n_clusters, const struct choice *choice)
{
    double serial = at->value[n_clusters];
    double contention = at->value[n_clusters + 1];
    double further = (double)choice_n_threads(choice) - 1;
    double rate = choice->n_cores[0];
    double total;

    for (size_t k = 1; k < n_clusters; k++)
        rate += choice->n_cores[k] * at->value[k];
    total = serial + 1 / rate + contention * further;
    gradient[0] = 1;
    for (size_t k = 1; k < n_clusters; k++)
        gradient[k] = -choice->n_cores[k] * at->value[k] / (rate * rate * total);
    gradient[n_clusters] = serial / total;
    gradient[n_clusters + 1] = contention * further / total;
    return at->log[0] + log(total);
}

/* Parameters: log p_1, log v_2 ... log v_K, log u. */
static double log_power(double gradient[FIT_MAX_PARAMS], const struct fit_point *at,
                        size_t n_clusters, const struct choice *choice)
{
    double shared = at->value[n_clusters];
    double total = shared + choice->n_cores[0];

    for (size_t k = 1; k < n_clusters; k++)
        total += choice->n_cores[k] * at->value[k];
    gradient[0] = 1;
    for (size_t k = 1; k < n_clusters; k++)
        gradient[k] = choice->n_cores[k] * at->value[k] / total;
    gradient[n_clusters] = shared / total;
    return at->log[0] + log(total);
}

static double log_capacity_ratio(const struct profile *profile, size_t k)
{
    double first = fmax(profile->clusters[0].capacity, 1);

    return log(fmax(profile->clusters[k].capacity, 1) / first);
}

/* A flat prior around where the rows are, given the other parameters' means. */
static void centre(struct fit *fit, const struct fit_row *rows, size_t n_rows)
{
    double gradient[FIT_MAX_PARAMS];
    struct fit_point prior;
    double sum = 0;

    fit->mean[0] = 0;
    fit->sd[0] = FLAT_SD;
    fit_place(&prior, fit->mean, fit->n_params);
    for (size_t r = 0; r < n_rows; r++)
        sum += rows[r].log_value -
               fit->model(gradient, &prior, fit->n_clusters, rows[r].choice);
    fit->mean[0] = sum / (double)n_rows;
}

bool predict_fit_time(struct fit *fit, const struct profile *profile)
{
    struct fit_row rows[CHOICE_MAX];
    size_t n_clusters = profile->n_clusters;
    size_t n_rows = 0;

    for (size_t i = 0; i < profile->n_entries; i++) {
        const struct profile_entry *e = &profile->entries[i];
        double n = (double)e->n_samples;

        if (e->n_samples > 0)
            rows[n_rows++] =
                (struct fit_row){&e->choice, log(e->step_ms),
                                 hypot(PREDICT_MISFIT, STEP_NOISE / sqrt(n)),
                                 e->n_samples < TAME ? FIT_WILD : FIT_NORMAL};
    }
    if (n_rows == 0)
        return false;
    *fit = (struct fit){.model = log_time,
                        .n_clusters = n_clusters,
                        .n_params = n_clusters + 2};
    for (size_t k = 1; k < n_clusters; k++) {
        fit->mean[k] = log_capacity_ratio(profile, k);
        fit->sd[k] = RATIO_SD;
    }
    fit->mean[n_clusters] = log(SERIAL_MEAN);
    fit->mean[n_clusters + 1] = log(CONTENTION_MEAN);
    fit->sd[n_clusters] = fit->sd[n_clusters + 1] = OVERHEAD_SD;
    centre(fit, rows, n_rows);
    fit_solve(fit, rows, n_rows);
    return true;
}

bool predict_fit_power(struct fit *fit, const struct profile *profile,
                       enum energy_source source)
{
    struct fit_row rows[CHOICE_MAX];
    size_t n_clusters = profile->n_clusters;
    size_t n_rows = 0;

    for (size_t i = 0; i < profile->n_entries; i++) {
        const struct profile_entry *e = &profile->entries[i];
        const struct profile_energy *m = &e->measured;

        if (profile_energy_is_read(e, source) && e->step_ms > 0)
            rows[n_rows++] =
                (struct fit_row){&e->choice, log(m->mean / e->step_ms),
                                 hypot(PREDICT_MISFIT, POWER_NOISE / sqrt((double)m->n)),
                                 m->n < TAME ? FIT_WILD : FIT_NORMAL};
    }
    if (n_rows == 0)
        return false;
    *fit = (struct fit){.model = log_power,
                        .n_clusters = n_clusters,
                        .n_params = n_clusters + 1};
    for (size_t k = 1; k < n_clusters; k++) {
        fit->mean[k] = POWER_EXPONENT * log_capacity_ratio(profile, k);
        fit->sd[k] = POWER_RATIO_SD;
    }
    fit->mean[n_clusters] = log(SHARED_MEAN);
    fit->sd[n_clusters] = SHARED_SD;
    centre(fit, rows, n_rows);
    fit_solve(fit, rows, n_rows);
    return true;
}

double predict_value(double *sd, const struct fit *fit, const struct choice *choice)
{
    double value = exp(fit_predict(sd, fit, choice));

    *sd = hypot(*sd, PREDICT_MISFIT);
    return value;
}
