/* Damped Gauss-Newton on at most a dozen parameters, in place. */
#include "engine/swan/map_fit.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { MAX_STEPS = 60, MAX_TRIES = 12 };

#define DAMPING_FIRST 1e-3
#define GOOD_ENOUGH 1e-6

typedef double matrix[FIT_MAX_PARAMS][FIT_MAX_PARAMS];

/* Minus the posterior's logarithm, up to a constant. */
static double loss(const struct fit *fit, const double *params,
                   const struct fit_row *rows, size_t n_rows)
{
    double gradient[FIT_MAX_PARAMS];
    double sum = 0;

    for (size_t p = 0; p < fit->n_params; p++) {
        double z = (params[p] - fit->mean[p]) / fit->sd[p];

        sum += 0.5 * z * z;
    }
    for (size_t r = 0; r < n_rows; r++) {
        double found = fit->model(gradient, params, fit->n_clusters, rows[r].choice);
        double z = (rows[r].log_value - found) / rows[r].sd;
        double freedom = rows[r].freedom;

        sum += 0.5 * (freedom + 1) * log1p(z * z / freedom);
    }
    return sum;
}

static void add_row(matrix a, double b[FIT_MAX_PARAMS], const struct fit *fit,
                    const double *params, const struct fit_row *row)
{
    double gradient[FIT_MAX_PARAMS];
    double found = fit->model(gradient, params, fit->n_clusters, row->choice);
    double z = (row->log_value - found) / row->sd;
    double weight = (row->freedom + 1) / (row->freedom + z * z) / (row->sd * row->sd);

    for (size_t p = 0; p < fit->n_params; p++) {
        b[p] += weight * gradient[p] * (row->log_value - found);
        for (size_t q = 0; q <= p; q++)
            a[p][q] += weight * gradient[p] * gradient[q];
    }
}

/* The lower half of the normal matrix and the right side at `params`. */
static void linearise(matrix a, double b[FIT_MAX_PARAMS], const struct fit *fit,
                      const double *params, const struct fit_row *rows, size_t n_rows)
{
    memset(a, 0, sizeof(matrix));
    memset(b, 0, FIT_MAX_PARAMS * sizeof(*b));
    for (size_t p = 0; p < fit->n_params; p++) {
        double weight = 1 / (fit->sd[p] * fit->sd[p]);

        a[p][p] = weight;
        b[p] = weight * (fit->mean[p] - params[p]);
    }
    for (size_t r = 0; r < n_rows; r++)
        add_row(a, b, fit, params, &rows[r]);
}

/* Cholesky, in the lower half. The prior keeps the matrix positive definite. */
static void factorise(matrix a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i][j];

            for (size_t k = 0; k < j; k++)
                sum -= a[i][k] * a[j][k];
            a[i][j] = i == j ? sqrt(fmax(sum, 1e-300)) : sum / a[j][j];
        }
    }
}

static void solve(double x[FIT_MAX_PARAMS], matrix factor, const double *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = b[i];
        for (size_t k = 0; k < i; k++)
            x[i] -= factor[i][k] * x[k];
        x[i] /= factor[i][i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            x[i] -= factor[k][i] * x[k];
        x[i] /= factor[i][i];
    }
}

/* One step downhill, damped until it is one. Returns the gain; 0: none was found. */
static double improve(struct fit *fit, double *damping, const struct fit_row *rows,
                      size_t n_rows)
{
    size_t n = fit->n_params;
    double before = loss(fit, fit->value, rows, n_rows);
    double b[FIT_MAX_PARAMS], x[FIT_MAX_PARAMS], tried[FIT_MAX_PARAMS];
    matrix a, damped;

    linearise(a, b, fit, fit->value, rows, n_rows);
    for (int i = 0; i < MAX_TRIES; i++) {
        double after;

        memcpy(damped, a, sizeof(a));
        for (size_t p = 0; p < n; p++)
            damped[p][p] *= 1 + *damping;
        factorise(damped, n);
        solve(x, damped, b, n);
        for (size_t p = 0; p < n; p++)
            tried[p] = fit->value[p] + x[p];
        after = loss(fit, tried, rows, n_rows);
        if (after < before) {
            memcpy(fit->value, tried, n * sizeof(*tried));
            *damping /= 10;
            return before - after;
        }
        *damping *= 10;
    }
    return 0;
}

static void find_covariance(struct fit *fit, const struct fit_row *rows, size_t n_rows)
{
    size_t n = fit->n_params;
    double b[FIT_MAX_PARAMS], unit[FIT_MAX_PARAMS], column[FIT_MAX_PARAMS];
    matrix a;

    linearise(a, b, fit, fit->value, rows, n_rows);
    factorise(a, n);
    for (size_t p = 0; p < n; p++) {
        memset(unit, 0, sizeof(unit));
        unit[p] = 1;
        solve(column, a, unit, n);
        for (size_t q = 0; q < n; q++)
            fit->covariance[q][p] = column[q];
    }
}

void fit_solve(struct fit *fit, const struct fit_row *rows, size_t n_rows)
{
    double damping = DAMPING_FIRST;

    assert(fit->n_params > 0 && fit->n_params <= FIT_MAX_PARAMS);
    memcpy(fit->value, fit->mean, sizeof(fit->mean));
    for (int i = 0; i < MAX_STEPS; i++) {
        if (improve(fit, &damping, rows, n_rows) < GOOD_ENOUGH)
            break;
    }
    find_covariance(fit, rows, n_rows);
}

double fit_predict(double *sd, const struct fit *fit, const struct choice *choice)
{
    double gradient[FIT_MAX_PARAMS];
    double found = fit->model(gradient, fit->value, fit->n_clusters, choice);
    double variance = 0;

    for (size_t p = 0; p < fit->n_params; p++) {
        for (size_t q = 0; q < fit->n_params; q++)
            variance += gradient[p] * fit->covariance[p][q] * gradient[q];
    }
    *sd = sqrt(fmax(variance, 0));
    return found;
}
