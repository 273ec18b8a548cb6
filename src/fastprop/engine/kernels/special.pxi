# Error functions and the gamma family: what the C library lacks, or what needs its roundings compensated.

cdef extern from * nogil:
    """
    static const double ERF_SLOPE = 1.1283791670955126, NDTR_SLOPE = 0.3989422804014327; /* of erf and ndtr at 0 */
    static const double ERF_SLOPE_LOW = 1.533545961316588e-17, NDTR_SLOPE_LOW = -2.49232720227773e-17;
    static const double SQRT2 = 1.4142135623730951;
    static const double SQRT_HALF = 0.7071067811865476, SQRT_HALF_LOW = -4.833646656726457e-17;
    static const double LOG16 = 2.772588722239781, LOG16_LOW = 9.276187255385198e-17;
    static const double DIGAMMA_ROOT = 1.4616321449683622, DIGAMMA_ROOT_LOW = 9.549995429965697e-17;
    enum { DIGAMMA_TERMS = 16, STIRLING_TERMS = 9, COT_TERMS = 15, EULER_TERMS = 10, MOST_REFLECTED = 100 };
    static const double DIGAMMA_TAYLOR[DIGAMMA_TERMS] = { /* the k-th derivative at the root, over k! */
            0.9676722454476212, -0.4427631689835921, 0.258499760955651, -0.16394270544240652, 0.10782405069126237,
            -0.07219956125645471, 0.04880428816414311, -0.03316112647484736, 0.022597648232218104,
            -0.01542476590494896, 0.010538791616612175, -0.007204534386356869, 0.004926781395729853,
            -0.003369801655439328, 0.002305126326734928, -0.0015769367714301972};
    static const double STIRLING[STIRLING_TERMS] = { /* B(2k) / 2k */
            0.08333333333333333, -0.008333333333333333, 0.003968253968253968, -0.004166666666666667,
            0.007575757575757576, -0.021092796092796094, 0.08333333333333333, -0.4432598039215686,
            3.0539543302701198};
    static const double COT[COT_TERMS] = { /* 2 zeta(2k) */
            3.289868133696453, 2.1646464674222763, 2.0346861239688985, 2.0081547123958887, 2.001989150255636,
            2.000492173106616, 2.0001224962701176, 2.0000305645188172, 2.00000763458653, 2.0000019079240676,
            2.0000004769010054, 2.000000119216378, 2.0000000298031098, 2.000000007450668, 2.000000001862655};
    static const double EULER[EULER_TERMS] = { /* B(2k) / (2k)! */
            0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07,
            2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
            8.586062056277845e-15, -2.174868698558062e-16};
    """
    const double ERF_SLOPE, NDTR_SLOPE, ERF_SLOPE_LOW, NDTR_SLOPE_LOW, SQRT2, SQRT_HALF, SQRT_HALF_LOW, LOG16, LOG16_LOW
    const double DIGAMMA_ROOT, DIGAMMA_ROOT_LOW
    const double[16] DIGAMMA_TAYLOR, STIRLING, COT, EULER
    enum:
        DIGAMMA_TERMS
        STIRLING_TERMS
        COT_TERMS
        EULER_TERMS
        MOST_REFLECTED


cdef inline double bell(double x, double rate, double height, double height_low) noexcept nogil:
    """Return ``height * exp(-rate * x * x)`` to a unit: the rounding of x*x put back. The rate is 1, 1/2 or 1/4."""
    cdef double square, low, e
    if fabs(x) > 60.0:
        return 0.0
    square = x * x
    low = fma(x, x, -square)
    e = exp(-rate * square)
    return fma(height, e, e * (height_low - height * (rate * low)))


cdef double erf_gate(double x, double* dx) noexcept nogil:
    dx[0] = bell(x, 1.0, ERF_SLOPE, ERF_SLOPE_LOW)
    return erf(x)


cdef double erfc_gate(double x, double* dx) noexcept nogil:
    dx[0] = -bell(x, 1.0, ERF_SLOPE, ERF_SLOPE_LOW)
    return erfc(x)


cdef double ndtr_gate(double x, double* dx) noexcept nogil:
    cdef double t = -x * SQRT_HALF, low
    dx[0] = bell(x, 0.5, NDTR_SLOPE, NDTR_SLOPE_LOW)
    if fabs(x) > 60.0:
        return 0.5 * erfc(t)
    low = fma(-x, SQRT_HALF, -t) - x * SQRT_HALF_LOW  # of -x / sqrt(2)
    return 0.5 * erfc(t) - SQRT2 * low * dx[0]


cdef double gelu_gate(double x, double* dx) noexcept nogil:
    cdef double half, inverse, series, density, lower
    if fabs(x) > 60.0:
        dx[0] = 1.0 if x > 0.0 else 0.0
        return x if x > 0.0 else -0.0
    if x < -36.0:  # ndtr(x) is subnormal: its asymptotic series, times the density in two halves
        half = bell(x, 0.25, 1.0, 0.0)
        inverse = 1.0 / (x * x)
        series = 1.0 - inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse * (
            1.0 - 9.0 * inverse * (1.0 - 11.0 * inverse)))))
        dx[0] = (NDTR_SLOPE * (x - series / x) * half) * half
        return -(NDTR_SLOPE * series * half) * half
    lower = ndtr_gate(x, &density)
    dx[0] = fma(x, density, lower)
    return x * lower


cdef double gammaln_gate(double x, double* dx) noexcept nogil:
    cdef int sign
    dx[0] = digamma(x) if x != 0.0 else NAN
    return lgamma_r(x, &sign)


cdef inline double two_sum(double x, double y, double* low) noexcept nogil:
    """Return x + y, and add its rounding error to low."""
    cdef double total = x + y, part = total - x
    low[0] += (x - (total - part)) + (y - part)
    return total


cdef double digamma_near_root(double x) noexcept nogil:
    """Return digamma by its Taylor series at its positive root."""
    cdef double d = (x - DIGAMMA_ROOT) - DIGAMMA_ROOT_LOW, total = 0.0
    cdef int k
    for k in range(DIGAMMA_TERMS - 1, -1, -1):
        total = total * d + DIGAMMA_TAYLOR[k]
    return total * d


cdef double digamma_tail(double inverse) noexcept nogil:
    """Return what Stirling's series takes from ``log(x) - 1/(2x)``, given ``1 / x**2``."""
    cdef double total = 0.0
    cdef int k
    for k in range(STIRLING_TERMS - 1, -1, -1):
        total = (total + STIRLING[k]) * inverse
    return total


cdef double digamma_shifted(double x) noexcept nogil:
    """Return digamma for -15 < x < 15.5, by steps of 1 to about 16; what cancels is summed with its roundings."""
    cdef double high = 0.0, low = 0.0, d = x, d_low = 0.0, r, u, above, above_low = 0.0
    cdef int k, steps = <int> rint(16.0 - x)
    for k in range(steps + 1):
        d_low = 0.0
        d = two_sum(x, k, &d_low)
        r = 1.0 / d
        low -= (fma(-r, d, 1.0) - r * d_low) / d * (1.0 if k < steps else 0.5)
        high = two_sum(high, -r if k < steps else -0.5 * r, &low)  # the last is Stirling's 1/(2x)
    above = two_sum(d, 16.0, &above_low)  # log(d) = log(16) + 2 artanh(u)
    u = (d - 16.0) / above
    low += 2.0 * (fma(-u, above, d - 16.0) + d_low - u * (d_low + above_low)) / above
    low += 2.0 * u * u * u * (1.0 / 3.0 + u * u * (0.2 + u * u * (1.0 / 7.0 + u * u * (1.0 / 9.0 + u * u / 11.0))))
    low += LOG16_LOW - digamma_tail(1.0 / (d * d))
    high = two_sum(high, 2.0 * u, &low)
    high = two_sum(high, LOG16, &low)
    return high + low


cdef double pi_cot_pi(double x) noexcept nogil:
    """Return ``pi / tan(pi * x)``, for x that is not an integer."""
    cdef double r = x - rint(x), total = 0.0
    cdef int k
    if fabs(r) > 0.25:
        return PI * copysign(tan(PI * (0.5 - fabs(r))), r)
    for k in range(COT_TERMS - 1, -1, -1):
        total = total * (r * r) + COT[k]
    return 1.0 / r - r * total


cdef double digamma(double x) noexcept nogil:
    cdef double low = 0.0, above
    if fabs(x) < 1e-18:
        return -1.0 / x
    if fabs(x - DIGAMMA_ROOT) < 0.0625:
        return digamma_near_root(x)
    if x < 0.0 and (x == floor(x) or isinf(x)):
        return NAN
    if -15.0 < x < 15.5:
        return digamma_shifted(x)
    if x < 0.0:
        above = two_sum(1.0, -x, &low)
        return digamma(above) + (low / above - pi_cot_pi(x))
    return log(x) - (0.5 / x + digamma_tail(1.0 / x / x)) if x == x else x


cdef double pi_over_sine_squared(double x) noexcept nogil:
    """Return ``(pi / sin(pi * x))**2``, for x that is not an integer."""
    cdef double r = x - rint(x), total = 0.0
    cdef int k
    if fabs(r) > 0.25:
        total = tan(PI * (0.5 - fabs(r)))
        return PI * PI * (1.0 + total * total)
    for k in range(COT_TERMS - 1, -1, -1):
        total = total * (r * r) + (2 * k + 1) * COT[k]
    return 1.0 / r / r + total


cdef double trigamma(double x) noexcept nogil:
    """Return the derivative of digamma: by steps of 1 up to 24, summed with their roundings."""
    cdef double high = 0.0, low = 0.0, d = x, d_low, square, square_low, r, k = 0.0, tail = 0.0
    cdef int j
    if fabs(x) < 1e-10:
        return 1.0 / x / x
    if x < 0.0 and (x == floor(x) or isinf(x)):
        return NAN
    if x < -15.0:
        return pi_over_sine_squared(x) - trigamma(1.0 - x)
    while d < 24.0:
        d_low = 0.0
        d = two_sum(x, k, &d_low)
        square = d * d
        square_low = fma(d, d, -square) + 2.0 * d * d_low
        r = 1.0 / square
        low += (fma(-r, square, 1.0) - r * square_low) / square
        high = two_sum(high, r, &low)
        k += 1.0
    d = x + k
    r = 1.0 / d
    for j in range(STIRLING_TERMS - 1, -1, -1):
        tail = (tail + STIRLING[j] * (2 * j + 2)) * r * r
    return high + (r + (low + r * (0.5 * r + tail)))


cdef double digamma_gate(double x, double* dx) noexcept nogil:
    dx[0] = polygamma(1.0, x)
    return digamma(x)


cdef double hurwitz(double s, double x) noexcept nogil:
    """Return the sum of ``((x + k) / x)**-s`` over k = 0, 1, … for x > 0, s > 1, by Euler and Maclaurin."""
    cdef double total = 0.0, y = x, term, tail, factor
    cdef int j
    while y < 20.0 + s:
        term = pow(y / x, -s)
        total += term
        y += 1.0
        if term <= 1e-19 * total:  # s is so large that what follows is a series of nothing
            return total
    tail = pow(y / x, -s)
    total += y * tail / (s - 1.0) + 0.5 * tail
    factor = s * tail / y
    for j in range(1, EULER_TERMS + 1):
        total += EULER[j - 1] * factor
        factor *= (s + 2 * j - 1) * (s + 2 * j) / y / y
    return total


cdef double cot_derivative(int n, double cot) noexcept nogil:
    """Return the n-th derivative of cot: a polynomial in cot, by ``cot' = -(1 + cot**2)``."""
    cdef double[MOST_REFLECTED + 3] coefficient
    cdef double before, here, total = 0.0
    cdef int order, k
    for k in range(n + 3):
        coefficient[k] = 1.0 if k == 1 else 0.0
    for order in range(n):
        before = 0.0
        for k in range(n + 2):
            here = coefficient[k]
            coefficient[k] = -((k + 1) * coefficient[k + 1] + before)
            before = k * here
    for k in range(n + 1, -1, -1):
        total = total * cot + coefficient[k]
    return total


cdef double polygamma(double n, double x) noexcept nogil:
    cdef int ignored
    cdef double sign = -1.0 if fmod(n, 2.0) == 0.0 else 1.0, total = 0.0, k, term
    if x != x or not 0.0 <= n < INFINITY or n != floor(n):
        return NAN
    if n == 0.0:
        return digamma(x)
    if n == 1.0:
        return trigamma(x)
    if x == 0.0:
        return INFINITY if sign > 0.0 else -copysign(INFINITY, x)
    if x > 0.0:
        if isinf(x):
            return 0.0
        if n < 100.0:
            return sign * tgamma(n + 1.0) * pow(x, -n) * (hurwitz(n + 1.0, x) / x)
        return sign * exp(lgamma_r(n + 1.0, &ignored) - (n + 1.0) * log(x) + log(hurwitz(n + 1.0, x)))
    if x == floor(x):
        return NAN
    if x > -0.25 and n <= MOST_REFLECTED:
        return polygamma(n, 1.0 + x) + sign * tgamma(n + 1.0) * pow(x, -(n + 1.0))
    if n <= MOST_REFLECTED:
        return -pow(PI, n + 1.0) * cot_derivative(<int> n, pi_cot_pi(x) / PI) - sign * polygamma(n, 1.0 - x)
    k = fmax(0.0, floor(-x) - 8.0)  # so steep that only the nearest poles count
    while k < floor(-x) + 10.0:
        term = exp(lgamma_r(n + 1.0, &ignored) - (n + 1.0) * log(fabs(x + k)))
        total += term if sign > 0.0 else copysign(term, x + k)
        k += 1.0
    return sign * total


cdef double polygamma_gate(double n, double x, double* dn, double* dx) noexcept nogil:
    dn[0] = 0.0
    dx[0] = polygamma(n + 1.0, x)
    return polygamma(n, x)
