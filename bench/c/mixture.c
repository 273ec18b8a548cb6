/* The log-posterior of a mixture of Gaussians (ADBench's GMM) and its gradient, derived by hand in the classic way: point by
   point, component by component. Q is lower triangular: its diagonal is given by its logarithms, what lies below it column
   by column. Gradients come as alphas, means, factors, one behind the other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* y = Q x */
static inline void times(long d, const double *diagonal, const double *below, const double *restrict x,
                         double *restrict y)
{
    for (long i = 0; i < d; i++) y[i] = diagonal[i] * x[i];
    for (long j = 0; j + 1 < d; below += d - 1 - j, j++)
        for (long i = j + 1; i < d; i++) y[i] += below[i - j - 1] * x[j];
}

static double log_sum_exp(long K, const double *x)
{
    double greatest = x[0], sum = 0.0;
    for (long k = 1; k < K; k++) greatest = x[k] > greatest ? x[k] : greatest;
    for (long k = 0; k < K; k++) sum += exp(x[k] - greatest);
    return greatest + log(sum);
}

/* what does not depend on the points: the Wishart prior, the normalisation of the weights, the constants */
static double outside(long d, long K, long n, const double *alphas, const double *factors, const double *diagonals,
                      const double *log_determinants, double gamma, long m)
{
    const double pi = 3.141592653589793;
    long freedom = d + m + 1, size = d * (d + 1) / 2;
    double squares = 0.0, traces = 0.0, multigamma = 0.25 * d * (d - 1) * log(pi);
    for (long j = 1; j <= d; j++) multigamma += lgamma(0.5 * freedom + 0.5 * (1 - j));
    double constant = freedom * d * (log(gamma) - 0.5 * log(2.0)) - multigamma;
    for (long k = 0; k < K; k++) {
        for (long i = 0; i < d; i++) squares += diagonals[k * d + i] * diagonals[k * d + i];
        for (long i = d; i < size; i++) squares += factors[k * size + i] * factors[k * size + i];
        traces += log_determinants[k];
    }
    return -0.5 * n * d * log(2.0 * pi) - n * log_sum_exp(K, alphas) + 0.5 * gamma * gamma * squares - m * traces -
           K * constant;
}

/* The value; and the gradient, unless it is a null pointer. */
double mixture(long d, long K, long n, const double *alphas, const double *means, const double *factors,
               const double *points, double gamma, long m, double *gradient)
{
    long size = d * (d + 1) / 2;
    double *diagonals = malloc((K * d + 2 * K + 2 * K * d) * sizeof(double));
    double *log_determinants = diagonals + K * d, *terms = log_determinants + K, *centred = terms + K;
    double *scaled = centred + K * d; /* Q (x - mean) of every component */
    for (long k = 0; k < K; k++) {
        log_determinants[k] = 0.0;
        for (long i = 0; i < d; i++) {
            diagonals[k * d + i] = exp(factors[k * size + i]);
            log_determinants[k] += factors[k * size + i];
        }
    }
    double total = outside(d, K, n, alphas, factors, diagonals, log_determinants, gamma, m);
    double *to_alphas = gradient, *to_means = gradient + K, *to_factors = gradient + K + K * d;
    if (gradient) memset(gradient, 0, K * (1 + d + size) * sizeof(double));
    for (const double *x = points; x < points + n * d; x += d) {
        for (long k = 0; k < K; k++) {
            double *c = centred + k * d, *y = scaled + k * d, square = 0.0;
            for (long i = 0; i < d; i++) c[i] = x[i] - means[k * d + i];
            times(d, diagonals + k * d, factors + k * size + d, c, y);
            for (long i = 0; i < d; i++) square += y[i] * y[i];
            terms[k] = alphas[k] + log_determinants[k] - 0.5 * square;
        }
        double likelihood = log_sum_exp(K, terms);
        total += likelihood;
        for (long k = 0; gradient && k < K; k++) {
            double share = exp(terms[k] - likelihood), *mean = to_means + k * d, *to = to_factors + k * size;
            const double *c = centred + k * d, *y = scaled + k * d, *diagonal = diagonals + k * d;
            const double *below = factors + k * size + d;
            double *to_below = to + d;
            to_alphas[k] += share;
            for (long j = 0; j < d; j++) {
                double pull = diagonal[j] * y[j], part = share * c[j];
                to[j] += share - part * pull;
                for (long i = 0; i < d - 1 - j; i++) {
                    pull += below[i] * y[j + 1 + i];
                    to_below[i] -= part * y[j + 1 + i];
                }
                mean[j] += share * pull;
                below += d - 1 - j;
                to_below += d - 1 - j;
            }
        }
    }
    if (gradient) {
        double normaliser = log_sum_exp(K, alphas);
        for (long k = 0; k < K; k++) {
            to_alphas[k] -= n * exp(alphas[k] - normaliser);
            for (long i = 0; i < d; i++)
                to_factors[k * size + i] += gamma * gamma * diagonals[k * d + i] * diagonals[k * d + i] - m;
            for (long i = d; i < size; i++) to_factors[k * size + i] += gamma * gamma * factors[k * size + i];
        }
    }
    free(diagonals);
    return total;
}
