/* P1 to P5 by hand: value and gradient at one point, as one derives them on paper; and a loop that calls them at point after
   point, so that no call of a foreign function is timed. */
#include <math.h>

static inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* a neuron of two inputs: a, b, c, x, y */
static double neuron(const double *in, long n, double *gradient)
{
    (void)n;
    double s = sigmoid(in[0] * in[3] + in[1] * in[4] + in[2]), slope = s * (1.0 - s);
    gradient[0] = slope * in[3];
    gradient[1] = slope * in[4];
    gradient[2] = slope;
    gradient[3] = slope * in[0];
    gradient[4] = slope * in[1];
    return s;
}

/* the network 3-3-3-1 at one example; per neuron three weights, then the bias */
static double neuron_of_three(const double *w, const double *x)
{
    return sigmoid(w[3] + w[0] * x[0] + w[1] * x[1] + w[2] * x[2]);
}

static double network(const double *w, long n, double *gradient)
{
    (void)n;
    const double x[3] = {0.5, -1.2, 0.8}, target = 0.7;
    double h[3], k[3];
    for (int q = 0; q < 3; q++) h[q] = neuron_of_three(w + 4 * q, x);
    for (int q = 0; q < 3; q++) k[q] = neuron_of_three(w + 12 + 4 * q, h);
    double s = neuron_of_three(w + 24, k), error = s - target, pull = error * s * (1.0 - s);
    double down[3] = {0.0, 0.0, 0.0};
    for (int q = 0; q < 3; q++) {
        double pull_k = pull * w[24 + q] * k[q] * (1.0 - k[q]);
        gradient[24 + q] = pull * k[q];
        for (int j = 0; j < 3; j++) {
            gradient[12 + 4 * q + j] = pull_k * h[j];
            down[j] += pull_k * w[12 + 4 * q + j];
        }
        gradient[12 + 4 * q + 3] = pull_k;
    }
    gradient[27] = pull;
    for (int q = 0; q < 3; q++) {
        double pull_h = down[q] * h[q] * (1.0 - h[q]);
        for (int j = 0; j < 3; j++) gradient[4 * q + j] = pull_h * x[j];
        gradient[4 * q + 3] = pull_h;
    }
    return 0.5 * error * error;
}

/* a product: what is before each factor, times what is behind it */
static double product(const double *x, long n, double *gradient)
{
    double before = 1.0, behind = 1.0;
    for (long i = 0; i < n; i++) {
        gradient[i] = before;
        before *= x[i];
    }
    for (long i = n - 1; i >= 0; i--) {
        gradient[i] *= behind;
        behind *= x[i];
    }
    return before;
}

/* Rosenbrock's valley: the sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 */
static double rosenbrock(const double *restrict x, long n, double *restrict gradient)
{
    double total = 0.0, carried = 0.0;
    for (long i = 0; i + 1 < n; i++) {
        double u = x[i + 1] - x[i] * x[i], w = 1.0 - x[i];
        total += 100.0 * (u * u) + w * w;
        gradient[i] = carried - 400.0 * u * x[i] - 2.0 * w;
        carried = 200.0 * u;
    }
    gradient[n - 1] = carried;
    return total;
}

/* a call option after Black and Scholes: spot, strike, time, rate, volatility */
static double black_scholes(const double *in, long n, double *gradient)
{
    (void)n;
    const double half_root = 0.7071067811865476;
    double spot = in[0], strike = in[1], time = in[2], rate = in[3], sigma = in[4];
    double root = sqrt(time), spread = sigma * root;
    double d1 = (log(spot / strike) + (rate + 0.5 * sigma * sigma) * time) / spread, d2 = d1 - spread;
    double n1 = 0.5 + 0.5 * erf(d1 * half_root), n2 = 0.5 + 0.5 * erf(d2 * half_root), discount = exp(-rate * time);
    double vega = spot * 0.3989422804014327 * exp(-0.5 * d1 * d1) * root;
    gradient[0] = n1;
    gradient[1] = -discount * n2;
    gradient[2] = 0.5 * vega * sigma / time + rate * strike * discount * n2;
    gradient[3] = time * strike * discount * n2;
    gradient[4] = vega;
    return spot * n1 - strike * discount * n2;
}

typedef double Circuit(const double *, long, double *);
static Circuit *const circuits[] = {neuron, network, product, rosenbrock, black_scholes};

/* the last value, after so many calls at the points (rows of n numbers) in turn */
double repeat(int which, long calls, const double *points, long how_many, long n, double *gradient)
{
    Circuit *volatile circuit = circuits[which]; /* not to be inlined: a call is part of what is measured */
    double value = 0.0;
    for (long call = 0, place = 0; call < calls; call++) {
        value = circuit(points + place * n, n, gradient);
        place = place + 1 < how_many ? place + 1 : 0;
    }
    return value;
}
