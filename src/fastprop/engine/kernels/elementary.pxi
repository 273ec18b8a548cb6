# Exponentials, logarithms, circular and hyperbolic functions.

cdef double exp_gate(double x, double* dx) noexcept nogil:
    dx[0] = exp(x)
    return dx[0]


cdef double exp2_gate(double x, double* dx) noexcept nogil:
    cdef double value = exp2(x)
    dx[0] = LN2 * value if x < 1000.0 else (2.0 * LN2) * exp2(x - 1.0)  # finite a little longer than the value
    return value


cdef double expm1_gate(double x, double* dx) noexcept nogil:
    dx[0] = exp(x)
    return expm1(x)


cdef inline double log_slope(double height, double x) noexcept nogil:
    """Return ``height / x``: +inf at -0 too, NaN outside of the domain."""
    return height / fabs(x) if x >= 0.0 else NAN


cdef double log_gate(double x, double* dx) noexcept nogil:
    dx[0] = log_slope(1.0, x)
    return log(x)


cdef double log2_gate(double x, double* dx) noexcept nogil:
    dx[0] = log_slope(1.0 / LN2, x)
    return log2(x)


cdef double log10_gate(double x, double* dx) noexcept nogil:
    dx[0] = log_slope(1.0 / LN10, x)
    return log10(x)


cdef double log1p_gate(double x, double* dx) noexcept nogil:
    dx[0] = log_slope(1.0, 1.0 + x)
    return log1p(x)


cdef double logaddexp_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double high = x if x > y else y, low = y if x > y else x, gap, rounded, error, q
    if x != x or y != y:
        dx[0] = dy[0] = NAN
        return NAN
    if x == y:
        dx[0] = dy[0] = 0.0 if x == -INFINITY else 0.5
        return x + LN2
    gap = low - high
    q = 0.0
    if gap > -750.0:
        rounded = gap + high  # the rounding of low - high, or q is 500 units off
        error = (low - rounded) - (high - (rounded - gap))
        q = exp(gap)
        q += q * error
    (dx if x > y else dy)[0] = 1.0 / (1.0 + q)
    (dy if x > y else dx)[0] = q / (1.0 + q)
    return high + log1p(q)


cdef double sin_gate(double x, double* dx) noexcept nogil:
    dx[0] = cos(x)
    return sin(x)


cdef double cos_gate(double x, double* dx) noexcept nogil:
    dx[0] = -sin(x)
    return cos(x)


cdef double tan_gate(double x, double* dx) noexcept nogil:
    cdef double t = tan(x)
    dx[0] = 1.0 + t * t
    return t


cdef double sech_gate(double x, double* dx) noexcept nogil:
    cdef double p = exp(-fabs(x)), m = -expm1(-2.0 * fabs(x)), d = 2.0 - m, low = (2.0 - d) - m
    cdef double product = p * m, square = d * d, slope = 2.0 * product / square  # d is 1 + p*p, rounded by low
    slope += (2.0 * fma(p, m, -product) - slope * fma(d, d, -square)) / square - slope * (2.0 * low / d)
    dx[0] = copysign(slope, -x) if x != 0.0 else -x
    return 2.0 * p / d


cdef double arcsin_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 / sqrt((1.0 - x) * (1.0 + x))
    return asin(x)


cdef double arccos_gate(double x, double* dx) noexcept nogil:
    dx[0] = -1.0 / sqrt((1.0 - x) * (1.0 + x))
    return acos(x)


cdef double arctan_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 / (1.0 + x * x) if fabs(x) < 1e100 else (1.0 / x) / x
    return atan(x)


cdef double arctan2_gate(double y, double x, double* dy, double* dx) noexcept nogil:
    cdef double h = hypot(y, x), scale = 1.0
    cdef double angle = atan2(y, x)
    if x != x or y != y:
        dy[0] = dx[0] = NAN
        return angle
    if isinf(x) or isinf(y):
        dy[0] = dx[0] = 0.0
        return angle
    if h < 1e-280 or h > 1e300:  # h is rounded as a subnormal, or overflows
        scale = TWO_600 if h < 1.0 else 0.25
        y, x = y * scale, x * scale
        h = hypot(y, x)
    dy[0] = divide_twice(x, h) * scale
    dx[0] = -divide_twice(y, h) * scale
    return angle


cdef double sinh_gate(double x, double* dx) noexcept nogil:
    dx[0] = cosh(x)
    return sinh(x)


cdef double cosh_gate(double x, double* dx) noexcept nogil:
    dx[0] = sinh(x)
    return cosh(x)


cdef double tanh_gate(double x, double* dx) noexcept nogil:
    cdef double q = exp(-2.0 * fabs(x))  # 1 - tanh(x)**2 has no digits left beyond 19
    dx[0] = 4.0 * q / ((1.0 + q) * (1.0 + q))
    return tanh(x)


cdef double arcsinh_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 / hypot(1.0, x)
    return asinh(x)


cdef double arccosh_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0))
    return acosh(x)


cdef double arctanh_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 / ((1.0 - x) * (1.0 + x)) if fabs(x) <= 1.0 else NAN
    return atanh(x)
