/* V2 to V4 as plain loops over the points, which gcc vectorises by itself, with glibc's vector library (libmvec) for exp, log
   and erf: what most people would write by hand. lanes.c has the same by explicit vectors. */
#include <math.h>
#include <string.h>

#define EACH for (long i = 0; i < length; i++)
#define BLOCK 256
typedef double Row[BLOCK] __attribute__((aligned(64)));

void black_scholes(long length, const double *restrict in, double *restrict value, double *restrict gradient)
{
    const double half_root = 0.7071067811865476;
    const double *spots = in, *strikes = in + length, *times = in + 2 * length, *rates = in + 3 * length;
    const double *sigmas = in + 4 * length;
    EACH {
        double spot = spots[i], strike = strikes[i], time = times[i], rate = rates[i], sigma = sigmas[i];
        double root = sqrt(time), spread = sigma * root;
        double d1 = (log(spot / strike) + (rate + 0.5 * sigma * sigma) * time) / spread, d2 = d1 - spread;
        double n1 = 0.5 + 0.5 * erf(d1 * half_root), discounted = exp(-rate * time) * (0.5 + 0.5 * erf(d2 * half_root));
        double vega = spot * 0.3989422804014327 * exp(-0.5 * d1 * d1) * root;
        value[i] = spot * n1 - strike * discounted;
        gradient[i] = n1;
        gradient[length + i] = -discounted;
        gradient[2 * length + i] = 0.5 * vega * sigma / time + rate * strike * discounted;
        gradient[3 * length + i] = time * strike * discounted;
        gradient[4 * length + i] = vega;
    }
}

/* the network 3-3-3-1, layer by layer through blocks of examples */
static inline void layer(const double *w, const double *restrict x0, const double *restrict x1,
                         const double *restrict x2, double *restrict y, long length)
{
    EACH y[i] = 1.0 / (1.0 + exp(-(w[3] + w[0] * x0[i] + w[1] * x1[i] + w[2] * x2[i])));
}

static inline void slopes(const double *restrict pull, const double *restrict y, double *restrict to, long length)
{
    EACH to[i] = pull[i] * y[i] * (1.0 - y[i]);
}

/* one gradient: per example into its row, or summed */
static inline void pass(const double *restrict pull, const double *restrict operand, double *restrict to, int summed,
                        long length)
{
    double sum = 0.0;
    if (summed) {
        EACH sum += pull[i] * operand[i];
        *to += sum;
    } else
        EACH to[i] = pull[i] * operand[i];
}

static double network_any(long n, const double *w, const double *x, const double *target, double *value,
                          double *gradient, int summed)
{
    Row h[3], k[3], s, pull, down, pull_k[3], pull_h[3], one;
    long apart = summed ? 1 : n;
    double total = 0.0;
    for (long i = 0; i < BLOCK; i++) one[i] = 1.0;
    if (summed) memset(gradient, 0, 28 * sizeof(double));
    for (long start = 0; start < n; start += BLOCK) {
        long length = n - start < BLOCK ? n - start : BLOCK;
        const double *inputs[3] = {x + start, x + n + start, x + 2 * n + start}, *t = target + start;
        double *to = gradient + (summed ? 0 : start);
        for (int q = 0; q < 3; q++) layer(w + 4 * q, inputs[0], inputs[1], inputs[2], h[q], length);
        for (int q = 0; q < 3; q++) layer(w + 12 + 4 * q, h[0], h[1], h[2], k[q], length);
        layer(w + 24, k[0], k[1], k[2], s, length);
        EACH down[i] = s[i] - t[i];
        if (summed)
            EACH total += 0.5 * down[i] * down[i];
        else
            EACH value[start + i] = 0.5 * down[i] * down[i];
        slopes(down, s, pull, length);
        for (int j = 0; j < 3; j++) {
            EACH down[i] = pull[i] * w[24 + j];
            slopes(down, k[j], pull_k[j], length);
        }
        for (int j = 0; j < 3; j++) {
            EACH down[i] = pull_k[0][i] * w[12 + j] + pull_k[1][i] * w[16 + j] + pull_k[2][i] * w[20 + j];
            slopes(down, h[j], pull_h[j], length);
        }
        for (int q = 0; q < 3; q++) {
            for (int j = 0; j < 3; j++) {
                pass(pull_h[q], inputs[j], to + (4 * q + j) * apart, summed, length);
                pass(pull_k[q], h[j], to + (12 + 4 * q + j) * apart, summed, length);
            }
            pass(pull_h[q], one, to + (4 * q + 3) * apart, summed, length);
            pass(pull_k[q], one, to + (12 + 4 * q + 3) * apart, summed, length);
            pass(pull, k[q], to + (24 + q) * apart, summed, length);
        }
        pass(pull, one, to + 27 * apart, summed, length);
    }
    return total;
}

void network(long n, const double *w, const double *x, const double *target, double *value, double *gradient)
{
    network_any(n, w, x, target, value, gradient, 0);
}

double network_summed(long n, const double *w, const double *x, const double *target, double *gradient)
{
    return network_any(n, w, x, target, 0, gradient, 1);
}

/* a call on a geometric Brownian motion; see lanes.c */
void path(long n, long steps, const double *parameters, const double *z, double *restrict value,
          double *restrict gradient)
{
    Row price, walked;
    const double spot = parameters[0], rate = parameters[1], sigma = parameters[2], strike = 100.0;
    const double root = sqrt(1.0 / steps), spread = sigma * root, discount = exp(-rate);
    const double drift = (rate - 0.5 * sigma * sigma) / steps;
    for (long start = 0; start < n; start += BLOCK) {
        long length = n - start < BLOCK ? n - start : BLOCK;
        EACH {
            price[i] = spot;
            walked[i] = 0.0;
        }
        for (long k = 0; k < steps; k++) {
            const double *restrict row = z + k * n + start;
            EACH {
                price[i] *= exp(drift + spread * row[i]);
                walked[i] += row[i];
            }
        }
        EACH {
            double alive = price[i] > strike ? discount : 0.0, worth = alive * price[i];
            double paid = alive * (price[i] - strike);
            value[start + i] = paid;
            gradient[start + i] = worth / spot;
            gradient[n + start + i] = worth - paid;
            gradient[2 * n + start + i] = worth * (root * walked[i] - sigma);
        }
    }
}
