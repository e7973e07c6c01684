/* Fitting a model with few parameters to few, noisy, positive values: the mode of the
 * posterior (maximum a posteriori) and how far it is uncertain.
 *
 * The logarithms of the values are taken as the model's plus noise, normal or with heavy
 * tails (Student's t), so that a single wild value moves little; the parameters,
 * logarithms too, have normal priors. Found by iteratively reweighted, damped
 * Gauss-Newton steps; the covariance is the inverse of the last step's matrix (Laplace's
 * approximation). Source: Gelman et al., "Bayesian Data Analysis", 3rd ed., ch. 4
 * and 17.5. */
#ifndef ENGINE_SWAN_MAP_FIT_H
#define ENGINE_SWAN_MAP_FIT_H

#include "engine/swan/choice.h"

#define FIT_MAX_PARAMS (SOC_MAX_CLUSTERS + 3)

/* The model's logarithm for a choice; `gradient` receives its derivatives by the
 * parameters. */
typedef double fit_model(double gradient[FIT_MAX_PARAMS], const double *params,
                         size_t n_clusters, const struct choice *choice);

/* What was observed: the logarithm of a value, the standard deviation of that, and the
 * degrees of freedom of its noise: FIT_WILD where it may be wild, FIT_NORMAL. */
#define FIT_WILD 4.0
#define FIT_NORMAL 1e6
struct fit_row {
    const struct choice *choice;
    double log_value;
    double sd;
    double freedom;
};

/* mean, sd     prior of each parameter
 * value        found
 * covariance   of the values found */
struct fit {
    fit_model *model;
    size_t n_clusters;
    size_t n_params;
    double mean[FIT_MAX_PARAMS];
    double sd[FIT_MAX_PARAMS];
    double value[FIT_MAX_PARAMS];
    double covariance[FIT_MAX_PARAMS][FIT_MAX_PARAMS];
};

/* Finds value and covariance. n_rows may be 0: then they are the prior's. */
void fit_solve(struct fit *fit, const struct fit_row *rows, size_t n_rows);

/* The model's logarithm for a choice and, in *sd, how far that is uncertain. */
double fit_predict(double *sd, const struct fit *fit, const struct choice *choice);

#endif
