/* T1, T2, T3 and T6 by hand: steps of training with their updates, in single precision but for T1. Weights lie as (inputs,
   outputs), the outputs padded with zeros to a multiple of 16; one product, of tiles that gcc keeps in registers, does all. */
#include <math.h>
#include <string.h>

#define EACH(n) for (long i = 0; i < (n); i++)
#define ROWS 8
#define MOST 256 /* examples that go through the network together, so that what they leave behind stays in the cache */

typedef float Vector __attribute__((vector_size(64), aligned(4)));

/* T1: a linear machine with a soft margin, plain descent, one example (x, y, label) at a time */
void machine(long count, const double *examples, double rate, double *w, double *losses)
{
    double a = w[0], b = w[1], c = w[2];
    EACH(count) {
        double x = examples[3 * i], y = examples[3 * i + 1], label = examples[3 * i + 2];
        double margin = 1.0 - label * (a * x + b * y + c), in = margin > 0.0 ? label : 0.0;
        losses[i] = (margin > 0.0 ? margin : 0.0) + 0.5 * (a * a + b * b);
        a -= rate * (a - in * x);
        b -= rate * (b - in * y);
        c += rate * in;
    }
    w[0] = a, w[1] = b, w[2] = c;
}

/* c[i, j] += sum over k of a[i, k] b[k, j]: for `rows` rows and `wide` vectors of columns, known when this is compiled */
static inline __attribute__((always_inline)) void tile(int rows, int wide, long inner, const float *a, long a_row, long a_inner,
                                                       const float *b, float *c, long columns)
{
    Vector sum[ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < wide; j++) sum[i][j] = *(Vector *)(c + i * columns + 16 * j);
    for (long k = 0; k < inner; k++, a += a_inner, b += columns) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int j = 0; j < wide; j++) sum[i][j] += a[i * a_row] * *(const Vector *)(b + 16 * j);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < wide; j++) *(Vector *)(c + i * columns + 16 * j) = sum[i][j];
}

/* the same of any number of rows, and of columns that are a multiple of 16 */
static void product(long rows, long columns, long inner, const float *a, long a_row, long a_inner, const float *b, float *c)
{
    for (long j = 0; j < columns; j += 32) {
        int half = columns - j < 32;
        for (long i = 0; i < rows;) {
            const float *left = a + i * a_row;
            float *to = c + i * columns + j;
            if (rows - i >= ROWS) {
                if (half) tile(ROWS, 1, inner, left, a_row, a_inner, b + j, to, columns);
                else tile(ROWS, 2, inner, left, a_row, a_inner, b + j, to, columns);
                i += ROWS;
            } else {
                if (half) tile(1, 1, inner, left, a_row, a_inner, b + j, to, columns);
                else tile(1, 2, inner, left, a_row, a_inner, b + j, to, columns);
                i++;
            }
        }
    }
}

static inline long padded(long size) { return (size + 15) / 16 * 16; }

/* half the squared error, or the cross-entropy, of some examples; what pulls on the outputs comes into their place */
static double squared_error(long examples, long width, float *z, const float *y, float share)
{
    double total = 0.0;
    for (long e = 0; e < examples; e++)
        EACH(width) {
            float off = z[e * padded(width) + i] - y[e * width + i];
            total += 0.5f * off * off;
            z[e * padded(width) + i] = off * share;
        }
    return total;
}

static double cross_entropy(long examples, long width, float *z, const long *y, float share)
{
    double total = 0.0;
    for (long e = 0; e < examples; e++) {
        float *row = z + e * padded(width), most = row[0], sum = 0.0f, right = row[y[e]];
        EACH(width) most = row[i] > most ? row[i] : most;
        for (long i = width; i < padded(width); i++) row[i] = most - 50.0f; /* whole vectors are quicker */
        EACH(padded(width)) sum += row[i] = expf(row[i] - most);
        EACH(width) row[i] *= share / sum;
        for (long i = width; i < padded(width); i++) row[i] = 0.0f;
        row[y[e]] -= share;
        total += logf(sum) + most - right;
    }
    return total;
}

/* some examples through the network and back: adds to the gradient; h has room for what each layer leaves behind */
static double sweep(long layers, const long *sizes, int regression, long examples, const float *x, const void *y,
                    const float *p, float *g, float *h, float share)
{
    const float *w[layers], *into[layers + 1];
    float *out[layers + 1], *on_w[layers], *room = h;
    into[0] = x;
    for (long l = 0; l < layers; l++) {
        long inputs = sizes[l], width = padded(sizes[l + 1]);
        w[l] = p, on_w[l] = g, out[l + 1] = room, into[l + 1] = room;
        float *z = room;
        for (long e = 0; e < examples; e++) memcpy(z + e * width, p + inputs * width, width * sizeof(float));
        product(examples, width, inputs, into[l], inputs, 1, w[l], z);
        if (l < layers - 1) {
            if (regression) EACH(examples * width) z[i] = tanhf(z[i]);
            else EACH(examples * width) z[i] = z[i] > 0.0f ? z[i] : 0.0f;
        }
        p += (inputs + 1) * width, g += (inputs + 1) * width, room += examples * width;
    }
    double loss = regression ? squared_error(examples, sizes[layers], out[layers], y, share)
                             : cross_entropy(examples, sizes[layers], out[layers], y, share);
    float *pull = out[layers];
    for (long l = layers - 1; l >= 0; l--) {
        long inputs = sizes[l], outputs = sizes[l + 1], width = padded(outputs);
        product(inputs, width, examples, into[l], 1, inputs, pull, on_w[l]);
        for (long e = 0; e < examples; e++) EACH(width) on_w[l][inputs * width + i] += pull[e * width + i];
        if (!l) break;
        float *turned = room, *next = room + width * inputs; /* the weights, outputs first */
        for (long j = 0; j < outputs; j++) EACH(inputs) turned[j * inputs + i] = w[l][i * width + j];
        memset(next, 0, examples * inputs * sizeof(float));
        product(examples, inputs, outputs, pull, width, 1, turned, next);
        if (regression) EACH(examples * inputs) next[i] *= 1.0f - into[l][i] * into[l][i];
        else EACH(examples * inputs) next[i] = into[l][i] > 0.0f ? next[i] : 0.0f;
        pull = next, room = next + examples * inputs;
    }
    return loss;
}

static void adam(long count, float *restrict p, const float *restrict g, float *restrict m, float *restrict v, float rate,
                 float root)
{
    EACH(count) {
        m[i] = 0.9f * m[i] + 0.1f * g[i];
        v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
        p[i] -= rate * m[i] / (sqrtf(v[i]) * root + 1e-8f);
    }
}

/* steps of `examples` each; `state` has the parameters, their gradients and both moments, `taken` steps were made before */
void dense(long layers, const long *sizes, long regression, long steps, long examples, const float *x, const void *y,
           long count, float *state, float *room, double rate, long taken, double *losses)
{
    float *p = state, *g = p + count, *m = g + count, *v = m + count;
    long target = regression ? sizes[layers] * sizeof(float) : sizeof(long);
    for (long s = 0; s < steps; s++) {
        memset(g, 0, count * sizeof(float));
        losses[s] = 0.0;
        for (long done = 0; done < examples; done += MOST) {
            long now = examples - done < MOST ? examples - done : MOST, from = s * examples + done;
            losses[s] += sweep(layers, sizes, regression, now, x + from * sizes[0], (const char *)y + from * target, p, g,
                               room, 1.0f / examples) / examples;
        }
        double first = 1.0 - pow(0.9, ++taken), second = 1.0 - pow(0.999, taken);
        adam(count, p, g, m, v, rate / first, 1.0 / sqrt(second));
    }
}
