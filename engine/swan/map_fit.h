/* Fitting a model with few parameters to few, noisy, positive values: the mode of the
 * posterior (maximum a posteriori) and how far it is uncertain.
 *
 * The logarithms of the values are taken as the model's plus noise, normal or with heavy
 * tails (Student's t), so that a single wild value moves little; the parameters,
 * logarithms too, have normal priors. Found by iteratively reweighted, damped
 * Gauss-Newton steps; the covariance is the inverse of their matrix at the mode, without
 * the damping (Laplace's approximation, with the weights held fixed). Source: Gelman et
 * al., "Bayesian Data Analysis", 3rd ed., ch. 4 and 17.5. */
#ifndef ENGINE_SWAN_MAP_FIT_H
#define ENGINE_SWAN_MAP_FIT_H

#include "engine/swan/choice.h"

#define FIT_MAX_PARAMS (SOC_MAX_CLUSTERS + 3)

/* Parameters, logarithms, and what they are logarithms of. */
struct fit_point {
    double log[FIT_MAX_PARAMS];
    double value[FIT_MAX_PARAMS];
};

/* The model's logarithm for a choice; `gradient` receives its derivatives by the
 * parameters' logarithms. */
typedef double fit_model(double gradient[FIT_MAX_PARAMS], const struct fit_point *at,
                         size_t n_clusters, const struct choice *choice);

/* What was observed: the logarithm of a value, the scale of its noise (the standard
 * deviation where that is normal) and the noise's degrees of freedom: FIT_WILD where it
 * may be wild, else FIT_NORMAL. */
#define FIT_WILD 4.0
#define FIT_NORMAL 1e6
struct fit_row {
    const struct choice *choice;
    double log_value;
    double sd;
    double freedom;
};

/* mean, sd     prior of each parameter's logarithm
 * found        the mode
 * covariance   of its logarithms */
struct fit {
    fit_model *model;
    size_t n_clusters;
    size_t n_params;
    double mean[FIT_MAX_PARAMS];
    double sd[FIT_MAX_PARAMS];
    struct fit_point found;
    double covariance[FIT_MAX_PARAMS][FIT_MAX_PARAMS];
};

/* The point of so many parameters. */
void fit_place(struct fit_point *out, const double *logs, size_t n_params);

/* Finds the mode and its covariance. n_rows may be 0: then they are the prior's. */
void fit_solve(struct fit *fit, const struct fit_row *rows, size_t n_rows);

/* The model's logarithm for a choice and, in *sd, how far that is uncertain. */
double fit_predict(double *sd, const struct fit *fit, const struct choice *choice);

#endif
