# Activations, and the gates of one sequence.

cdef double sigmoid_gate(double x, double* dx) noexcept nogil:
    cdef double q = exp(-fabs(x)), d = 1.0 + q
    dx[0] = q / (d * d)
    return (q if x < 0.0 else 1.0) / d


cdef double softplus_gate(double x, double* dx) noexcept nogil:
    cdef double q = exp(-fabs(x))
    dx[0] = (q if x < 0.0 else 1.0) / (1.0 + q)
    return x + log1p(q) if x > 0.0 else log1p(q)


cdef double log_sigmoid_gate(double x, double* dx) noexcept nogil:
    return -softplus_gate(-x, dx)


cdef double silu_gate(double x, double* dx) noexcept nogil:
    cdef double q, d, low, slope
    if fabs(x) > 800.0:
        dx[0] = 1.0 if x > 0.0 else 0.0
        return x if x > 0.0 else -0.0
    if x < -600.0:
        q = exp(0.5 * x)  # in two halves: exp(x) is subnormal, and its error would grow by x
        dx[0] = ((1.0 + x) * q) * q
        return (x * q) * q
    q = exp(-fabs(x))
    d = 1.0 + q
    low = q - (d - 1.0)  # what d was rounded by
    slope = (q * ((d + x) + low) if x < 0.0 else (d + x * q) + low) / (d * d)
    dx[0] = slope - slope * (2.0 * low / d)
    return x * (q / d) if x < 0.0 else x / d


cdef double relu_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 if x > 0.0 else 0.0 if x <= 0.0 else x
    return 0.0 if x <= 0.0 else x


cdef double leaky_relu_gate(double x, double slope, double* dx, double* dslope) noexcept nogil:
    if x > 0.0:
        dx[0], dslope[0] = 1.0, 0.0
        return x
    dslope[0] = x
    if x == 0.0:  # the subgradient of least norm
        dx[0] = 0.0 if slope < 0.0 else 1.0 if slope > 1.0 else slope
    else:
        dx[0] = slope if x == x else x
    return slope * x


cdef double elu_gate(double x, double alpha, double* dx, double* dalpha) noexcept nogil:
    cdef double half
    if x > 0.0:
        dx[0], dalpha[0] = 1.0, 0.0
        return x
    if x < -600.0:
        half = exp(0.5 * x)
        dx[0] = (alpha * half) * half
    else:
        dx[0] = alpha * exp(x)
    dalpha[0] = expm1(x)
    return alpha * dalpha[0]


cdef double sum_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 1.0
        total += x[i]
    return total


cdef double mean_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 1.0 / n
        total += x[i]
    return total / n


cdef double prod_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    cdef double value = 1.0, suffix = 1.0
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = value  # the product of those before
        value *= x[i]
    for i in range(n - 1, -1, -1):
        dx[i] = weighed(dx[i], suffix)  # of those behind: no division, right at zeros
        suffix = weighed(suffix, x[i])
    return value


cdef double extreme(Py_ssize_t n, const double* x, double* dx, double sign) noexcept nogil:
    """Return the largest (sign -1: the smallest), and share the gradient evenly among those that tie."""
    cdef double value = x[0] if n > 0 else NAN, ignored
    cdef Py_ssize_t i, ties = 0
    for i in range(1, n):
        value = (maximum_gate if sign > 0.0 else minimum_gate)(value, x[i], &ignored, &ignored)
    for i in range(n):
        ties += x[i] == value
    for i in range(n):
        dx[i] = (1.0 / ties if x[i] == value else 0.0) if value == value else NAN
    return value


cdef double max_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    return extreme(n, x, dx, 1.0)


cdef double min_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    return extreme(n, x, dx, -1.0)


cdef double dot_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    cdef Py_ssize_t i, half = n // 2
    cdef double total = 0.0
    for i in range(half):
        dx[i] = x[half + i]
        dx[half + i] = x[i]
        total += x[i] * x[half + i]
    return total


cdef double logsumexp_gate(Py_ssize_t n, const double* x, double* dx) noexcept nogil:
    cdef double top, others = 0.0, gap, rounded, error
    cdef Py_ssize_t i, leader = -1
    if n == 0:
        return -INFINITY
    top = extreme(n, x, dx, 1.0)
    if not isfinite(top):  # dx is right for +inf and NaN: shared by those that tie
        if top == -INFINITY:
            for i in range(n):
                dx[i] = 0.0
        return top
    for i in range(n):
        if leader < 0 and x[i] == top:
            leader = i
            dx[i] = 1.0
            continue
        gap = x[i] - top
        dx[i] = 0.0
        if gap > -750.0:
            rounded = gap + top  # the rounding of x - top, or the partial is 500 units off
            error = (x[i] - rounded) - (top - (rounded - gap))
            dx[i] = exp(gap)
            dx[i] += dx[i] * error
        others += dx[i]
    for i in range(n):
        dx[i] /= 1.0 + others
    return top + log1p(others)
