/* V1 to V4 by hand: value and gradient of one circuit at n points, eight at a time; n is a multiple of eight.
   Inputs and gradients are rows of n numbers, one row per input: x[i * n + lane]. */
#include <string.h>

#include "functions.h"

#ifdef __AVX512F__
INLINE void stream(double *to, vec x) { _mm512_stream_pd(to, (__m512d)x); } /* past the cache; `to` is aligned */
#else
INLINE void stream(double *to, vec x) { store(to, x); }
#endif

/* a neuron: sigmoid(a x + b y + c) */
#define NEURON(STORE)                                                                                                  \
    for (long i = 0; i < n; i += LANES) {                                                                              \
        vec a = load(in + i), b = load(in + n + i), c = load(in + 2 * n + i);                                          \
        vec x = load(in + 3 * n + i), y = load(in + 4 * n + i);                                                        \
        vec s = sigmoid(a * x + b * y + c), slope = s * (1.0 - s);                                                     \
        STORE(value + i, s);                                                                                           \
        STORE(gradient + i, slope * x);                                                                                \
        STORE(gradient + n + i, slope * y);                                                                            \
        STORE(gradient + 2 * n + i, slope);                                                                            \
        STORE(gradient + 3 * n + i, slope * a);                                                                        \
        STORE(gradient + 4 * n + i, slope * b);                                                                        \
    }

void neuron(long n, const double *in, double *restrict value, double *restrict gradient) { NEURON(store) }
void neuron_streamed(long n, const double *in, double *restrict value, double *restrict gradient) { NEURON(stream) }

/* a call option after Black and Scholes, with its five greeks */
void black_scholes(long n, const double *in, double *restrict value, double *restrict gradient)
{
    for (long i = 0; i < n; i += LANES) {
        vec spot = load(in + i), strike = load(in + n + i), time = load(in + 2 * n + i);
        vec rate = load(in + 3 * n + i), sigma = load(in + 4 * n + i);
        vec root = square_root(time), spread = sigma * root;
        vec d1 = (logarithm(spot / strike) + (rate + 0.5 * sigma * sigma) * time) / spread, d2 = d1 - spread;
        vec n1 = normal_distribution(d1), paid = strike * exponential(-(rate * time)) * normal_distribution(d2);
        vec vega = spot * 0.3989422804014327 * exponential(-0.5 * d1 * d1) * root;
        store(value + i, spot * n1 - paid);
        store(gradient + i, n1);
        store(gradient + n + i, -paid / strike);
        store(gradient + 2 * n + i, 0.5 * vega * sigma / time + rate * paid);
        store(gradient + 3 * n + i, time * paid);
        store(gradient + 4 * n + i, vega);
    }
}

/* The network 3-3-3-1 with its squared error; per neuron three weights, then the bias. It goes layer by layer through blocks
   that stay in the nearest cache: neurons of a block do not wait for each other, those of one example do. */
#define BLOCK 256
typedef double Row[BLOCK] __attribute__((aligned(64)));
typedef struct { Row h[3], k[3], error, pull, pull_k[3], pull_h[3]; } Network;

INLINE vec neuron_of_three(const double *w, const double *x0, const double *x1, const double *x2)
{
    return sigmoid(w[3] + w[0] * load(x0) + w[1] * load(x1) + w[2] * load(x2));
}

static void network_block(Network *net, const double *w, const double *x, long n, const double *target, long length)
{
    for (int q = 0; q < 3; q++)
        for (long i = 0; i < length; i += LANES)
            store(net->h[q] + i, neuron_of_three(w + 4 * q, x + i, x + n + i, x + 2 * n + i));
    for (int q = 0; q < 3; q++)
        for (long i = 0; i < length; i += LANES)
            store(net->k[q] + i, neuron_of_three(w + 12 + 4 * q, net->h[0] + i, net->h[1] + i, net->h[2] + i));
    for (long i = 0; i < length; i += LANES) {
        vec s = neuron_of_three(w + 24, net->k[0] + i, net->k[1] + i, net->k[2] + i), error = s - load(target + i);
        vec pull = error * s * (1.0 - s), pull_k[3];
        store(net->error + i, error);
        store(net->pull + i, pull);
        for (int j = 0; j < 3; j++) {
            vec k = load(net->k[j] + i);
            store(net->pull_k[j] + i, pull_k[j] = pull * w[24 + j] * k * (1.0 - k));
        }
        for (int j = 0; j < 3; j++) {
            vec h = load(net->h[j] + i), down = pull_k[0] * w[12 + j] + pull_k[1] * w[16 + j] + pull_k[2] * w[20 + j];
            store(net->pull_h[j] + i, down * h * (1.0 - h));
        }
    }
}

void network(long n, const double *w, const double *x, const double *target, double *restrict value,
             double *restrict gradient)
{
    Network net;
    for (long start = 0; start < n; start += BLOCK) {
        long length = n - start < BLOCK ? n - start : BLOCK;
        network_block(&net, w, x + start, n, target + start, length);
        for (long i = 0; i < length; i += LANES) {
            vec error = load(net.error + i);
            store(value + start + i, 0.5 * error * error);
        }
        for (int q = 0; q < 7; q++) { /* the neurons: two layers of three, and the last */
            const double *pull = q < 3 ? net.pull_h[q] : q < 6 ? net.pull_k[q - 3] : net.pull;
            for (int j = 0; j < 3; j++) {
                const double *operand = q < 3 ? x + j * n + start : q < 6 ? net.h[j] : net.k[j];
                double *row = gradient + (4 * q + j) * n + start;
                for (long i = 0; i < length; i += LANES) store(row + i, load(pull + i) * load(operand + i));
            }
            memcpy(gradient + (4 * q + 3) * n + start, pull, length * sizeof(double));
        }
    }
}

double network_summed(long n, const double *w, const double *x, const double *target, double *restrict gradient)
{
    Network net;
    vec total = broadcast(0.0), sums[7][4] = {0};
    for (long start = 0; start < n; start += BLOCK) {
        long length = n - start < BLOCK ? n - start : BLOCK;
        network_block(&net, w, x + start, n, target + start, length);
        for (long i = 0; i < length; i += LANES) total += load(net.error + i) * load(net.error + i);
        for (int q = 0; q < 7; q++) {
            const double *pull = q < 3 ? net.pull_h[q] : q < 6 ? net.pull_k[q - 3] : net.pull;
            const double *operand = q < 3 ? x + start : q < 6 ? net.h[0] : net.k[0];
            long apart = q < 3 ? n : BLOCK;
            vec sum[4] = {sums[q][0], sums[q][1], sums[q][2], sums[q][3]};
            for (long i = 0; i < length; i += LANES) {
                vec p = load(pull + i);
                for (int j = 0; j < 3; j++) sum[j] += p * load(operand + j * apart + i);
                sum[3] += p;
            }
            for (int j = 0; j < 4; j++) sums[q][j] = sum[j];
        }
    }
    for (int q = 0; q < 7; q++)
        for (int j = 0; j < 4; j++) gradient[4 * q + j] = lane_sum(sums[q][j]);
    return 0.5 * lane_sum(total);
}

/* a call on a geometric Brownian motion: `steps` rows of normal numbers, parameters spot, rate, volatility; time 1, strike 100 */
void path(long n, long steps, const double *parameters, const double *z, double *restrict value,
          double *restrict gradient)
{
    const double spot = parameters[0], rate = parameters[1], sigma = parameters[2], strike = 100.0;
    const double root = __builtin_sqrt(1.0 / steps), spread = sigma * root, discount = __builtin_exp(-rate);
    const double drift = (rate - 0.5 * sigma * sigma) / steps;
    double price[BLOCK] __attribute__((aligned(64))), walked[BLOCK] __attribute__((aligned(64)));
    for (long start = 0; start < n; start += BLOCK) {
        long length = n - start < BLOCK ? n - start : BLOCK;
        for (long i = 0; i < length; i++) price[i] = spot, walked[i] = 0.0;
        for (long k = 0; k < steps; k++) {
            const double *row = z + k * n + start;
            for (long i = 0; i < length; i += LANES) {
                vec step = load(row + i);
                store(price + i, load(price + i) * exponential(drift + spread * step));
                store(walked + i, load(walked + i) + step);
            }
        }
        for (long i = 0; i < length; i += LANES) {
            vec end = load(price + i), zero = broadcast(0.0);
            ivec alive = end > strike;
            vec worth = choose(alive, discount * end, zero), paid = choose(alive, discount * (end - strike), zero);
            store(value + start + i, paid);
            store(gradient + start + i, worth / spot);
            store(gradient + n + start + i, worth - paid);
            store(gradient + 2 * n + start + i, worth * (root * load(walked + i) - sigma));
        }
    }
}
