/* Predicting the step time and the power of execution choices that were not measured
 * from those that were.
 *
 * Time. A choice n = (n_1, ..., n_K) of N threads in all takes
 *
 *     t(n) = t_1 (s + 1 / sum_k(n_k r_k) + c (N - 1))
 *
 * t_1  ms of one core of the most capable cluster, but for what is serial
 * r_k  speed of a core of cluster k in such cores; r_1 = 1
 * s    the serial part (Amdahl 1967)
 * c    what each further thread costs all: synchronisation, cache and bandwidth.
 *      With c > 0 more threads become slower at some point, which is what Swan saw
 *      with depthwise convolutions (arXiv 2206.04687, section 3)
 *
 * Blocks are handed out dynamically, so cores of unlike clusters end together: rates
 * add up. Priors, where nothing else is known: r_k is the ratio of capacities, within
 * a factor of 1.4 (one standard deviation); s is 0.02 and c 0.005, within a factor of
 * 5 each. t_1 comes from the measurements alone.
 *
 * Power. The marginal power of a choice is
 *
 *     p(n) = p_1 (u + sum_k(n_k v_k))
 *
 * p_1  watts of one core of the most capable cluster; from the readings alone
 * v_k  power of a core of cluster k in such cores; prior: the square of the ratio of
 *      capacities, within a factor of 1.7. Public measurements of phone cores at their
 *      highest frequency (freqbench) lie between the powers 1.5 and 2.4
 * u    what is on as soon as one core works (memory, interconnect); prior 0.1, within
 *      a factor of 2.7
 *
 * A step's energy is p t. */
#ifndef ENGINE_SWAN_PREDICT_H
#define ENGINE_SWAN_PREDICT_H

#include "engine/swan/map_fit.h"
#include "engine/swan/profile.h"

/* How far a choice's true time may be from the best model, as a fraction (one standard
 * deviation). */
#define PREDICT_MISFIT 0.04

/* Fits the model of time to the entries that are measured, and that of power to the
 * entries whose energy was read from `source`. False: there is none, *fit is not
 * written. */
bool predict_fit_time(struct fit *fit, const struct profile *profile);
bool predict_fit_power(struct fit *fit, const struct profile *profile,
                       enum energy_source source);

/* What the fitted model says of a choice, in ms or W (mJ per ms); *sd is its relative
 * uncertainty (one standard deviation), the model's own included. */
double predict_value(double *sd, const struct fit *fit, const struct choice *choice);

#endif
