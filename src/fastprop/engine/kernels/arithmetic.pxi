# Arithmetic, choices and steps. (The five commonest are in kernels.pxd, inline.)

cdef double positive_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0
    return x


cdef inline double power_halves(double x, double y, double exponent, double low, double factor) noexcept nogil:
    """Return ``factor * abs(x)**(exponent + low)`` in two halves, which neither overflow nor become subnormal."""
    cdef double half = pow(fabs(x), 0.5 * exponent)
    if low != 0.0 and isfinite(half):
        half += half * (0.5 * low * log(fabs(x)))
    return (factor * half) * half


cdef double power_base(double x, double y, double z) noexcept nogil:
    """Return d(x**y)/dx, where z is x**y."""
    cdef double less, low
    if y == 0.0:
        return 0.0  # x**0 is 1 everywhere, at NaN too
    if x == 0.0 or not isfinite(x) or not isfinite(y):
        return weighed(y, pow(x, y - 1.0))
    if 1e-280 < fabs(z) < 1e280 and fabs(y) < 1e20:
        return y * z / x  # y * x**(y - 1) would feel the rounding of y - 1
    if z != z:
        return z
    less = y - 1.0
    low = (-1.0 - (less - y)) if fabs(y) >= 1.0 else (y - (less + 1.0))
    return copysign(power_halves(x, y, less, low, fabs(y)), y * copysign(1.0, z) * copysign(1.0, x))


cdef double power_exponent(double x, double y, double z) noexcept nogil:
    """Return d(x**y)/dy, where z is x**y."""
    if x == 0.0:
        return 0.0 if y >= 0.0 else z * log(x) if y < 0.0 else y
    if z == 0.0 and x == INFINITY:
        return 0.0
    if x > 0.0 and isfinite(x) and not 1e-280 < z < 1e280:
        return power_halves(x, y, y, 0.0, log(x))
    return z * log(x)


cdef double power_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double z
    if y == 2.0:
        z = x * x
        dx[0] = 2.0 * x
    else:
        z = pow(x, y)
        dx[0] = power_base(x, y, z)
    if dy != NULL:
        dy[0] = power_exponent(x, y, z)
    return z


cdef double reciprocal_gate(double x, double* dx) noexcept nogil:
    cdef double r = 1.0 / x
    dx[0] = -(r * r)
    return r


cdef double square_gate(double x, double* dx) noexcept nogil:
    dx[0] = 2.0 * x
    return x * x


cdef double sqrt_gate(double x, double* dx) noexcept nogil:
    cdef double root = sqrt(x)
    dx[0] = 0.5 / fabs(root)  # +inf at -0 too
    return root


cdef double cbrt_gate(double x, double* dx) noexcept nogil:
    cdef double scale = 1.0, unscale = 1.0, c, low, square
    if x == 0.0 or not isfinite(x):
        dx[0] = 1.0 / fabs(x)
        return x
    if fabs(x) < 1e-200:
        scale, unscale = TWO_600, TWO_MINUS_200
    elif fabs(x) > 1e200:
        scale, unscale = TWO_MINUS_600, TWO_200
    x *= scale
    c = cbrt(x)
    square = c * c  # one step of Newton's: the C library's cube root is 3.7 units off
    low = fma(c, c, -square)
    c -= (fma(square, c, -x) + low * c) / (3.0 * square)
    dx[0] = (c / (3.0 * x)) / unscale / unscale  # c / 3x: one rounding fewer than 1 / 3cc
    return c * unscale


cdef double fma_gate(double x, double y, double z, double* dx, double* dy, double* dz) noexcept nogil:
    dx[0] = y
    dy[0] = x
    dz[0] = 1.0
    return fma(x, y, z)


cdef double hypot_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double h = hypot(x, y), scaled = h, scale
    if h == 0.0:
        dx[0] = dy[0] = 0.0
        return h
    if x != x or y != y or (isinf(x) and isinf(y)):
        dx[0] = dy[0] = NAN
        return h
    if isinf(x) or isinf(y):
        dx[0] = copysign(1.0, x) if isinf(x) else 0.0
        dy[0] = copysign(1.0, y) if isinf(y) else 0.0
        return h
    if h < 1e-280 or h > 1e300:  # h is rounded as a subnormal, or overflows
        scale = TWO_600 if h < 1.0 else 0.25
        x, y = x * scale, y * scale
        scaled = hypot(x, y)
    dx[0] = x / scaled
    dy[0] = y / scaled
    return h


cdef double share_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double whole = x + y, share = x / whole
    dx[0] = y / whole / whole
    dy[0] = -share / whole
    return share


cdef double remainder_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double r = fmod(x, y)
    if r == 0.0:
        r = copysign(0.0, y)
    elif (r < 0.0) != (y < 0.0):
        r += y
    dx[0] = 1.0 if r == r else r
    if isinf(y) and r == r:
        dy[0] = 1.0 if r == y else 0.0
    elif fabs(x) > 1e300 or fabs(y) > 1e300:
        dy[0] = -rint((0.25 * x - 0.25 * r) / (0.25 * y))
    else:
        dy[0] = -rint((x - r) / y)  # floor(x / y), also where x / y rounds up to an integer
    return r


cdef double floor_divide_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double r = fmod(x, y)
    cdef double quotient = x / y
    cdef double floored
    if y != 0.0:
        quotient = (x - r) / y
        if r != 0.0 and (r < 0.0) != (y < 0.0):
            quotient -= 1.0
        floored = floor(quotient) if quotient != 0.0 else copysign(0.0, x / y)
        quotient = floored + 1.0 if quotient - floored > 0.5 else floored    # an integer but for rounding
    dx[0] = dy[0] = 0.0 if quotient == quotient else quotient
    return quotient


cdef inline double step(double x, double* dx) noexcept nogil:
    """Set the partial of a gate that is flat: 0, and NaN at NaN."""
    dx[0] = 0.0 if x == x else x
    return x


cdef double absolute_gate(double x, double* dx) noexcept nogil:
    dx[0] = 1.0 if x > 0.0 else -1.0 if x < 0.0 else x + 0.0
    return fabs(x)


cdef double sign_gate(double x, double* dx) noexcept nogil:
    step(x, dx)
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else x + 0.0


cdef double floor_gate(double x, double* dx) noexcept nogil:
    return floor(step(x, dx))


cdef double ceil_gate(double x, double* dx) noexcept nogil:
    return ceil(step(x, dx))


cdef double round_gate(double x, double* dx) noexcept nogil:
    return rint(step(x, dx))


cdef double trunc_gate(double x, double* dx) noexcept nogil:
    return trunc(step(x, dx))


cdef double maximum_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    if x > y:
        dx[0], dy[0] = 1.0, 0.0
        return x
    if x < y:
        dx[0], dy[0] = 0.0, 1.0
        return y
    dx[0] = dy[0] = 0.5 if x == y else NAN
    return (y if signbit(x) else x) if x == y else NAN


cdef double minimum_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    return -maximum_gate(-x, -y, dx, dy)


cdef double clip_gate(double x, double low, double high, double* dx, double* dlow, double* dhigh) noexcept nogil:
    cdef double ignored
    dx[0] = dlow[0] = dhigh[0] = 0.0
    if x != x or low != low or high != high:
        dx[0] = dlow[0] = dhigh[0] = NAN
    elif low > high or x > high:
        dhigh[0] = 1.0
    elif x < low:
        dlow[0] = 1.0
    else:
        dx[0] = 1.0
    return minimum_gate(maximum_gate(x, low, &ignored, &ignored), high, &ignored, &ignored)


cdef double where_gate(double condition, double x, double y, double* dc, double* dx, double* dy) noexcept nogil:
    cdef bint chosen = condition != 0.0
    dc[0] = 0.0
    dx[0] = 1.0 if chosen else 0.0
    dy[0] = 0.0 if chosen else 1.0
    return x if chosen else y


cdef double strong_multiply_gate(double pull, double partial, double* dpull, double* dpartial) noexcept nogil:
    dpull[0] = partial
    dpartial[0] = pull
    return weighed(pull, partial)


cdef inline uint64_t mixed(uint64_t state) noexcept nogil:
    """Return 64 bits of which each depends on all of the state's: Stafford's variant 13 of MurmurHash3's last step."""
    state = (state ^ (state >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    state = (state ^ (state >> 27)) * <uint64_t> 0x94D049BB133111EB
    return state ^ (state >> 31)


cdef double random_integer_gate(double key, double counter, double* dkey, double* dcounter) noexcept nogil:
    """SplitMix64 (Steele, Lea and Flood 2014): its number `counter`, from a seed that is mixed of the key."""
    dkey[0] = dcounter[0] = NAN
    if not (0.0 <= key <= TWO_53 and fabs(counter) <= TWO_53 and key == floor(key) and counter == floor(counter)):
        return NAN
    dkey[0] = dcounter[0] = 0.0
    cdef uint64_t state = mixed(<uint64_t> key + GOLDEN)
    return <double> (mixed(state + <uint64_t> <int64_t> counter * GOLDEN) >> 11)
