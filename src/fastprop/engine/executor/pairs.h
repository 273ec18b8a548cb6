/* One pull that goes to two rows, by two instructions that follow each other; and products that are written past the
   cache. Included once for double and once for float. */

#define G GET(pull)
#define BROUGHT(u) NAME(strong)(g, g * GET(u))

/* Two products. */
static void NAME(pull_two)(
    ptrdiff_t n, const REAL *pull, const REAL *u, REAL *to_x, int add_x, const REAL *w, REAL *to_y, int add_y
) {
    if (!add_x && !add_y)
        LOOP(const VEC g = G; PUT(to_x, BROUGHT(u)); PUT(to_y, BROUGHT(w)););
    else if (!add_x)
        LOOP(const VEC g = G; PUT(to_x, BROUGHT(u)); PUT(to_y, GET(to_y) + BROUGHT(w)););
    else if (!add_y)
        LOOP(const VEC g = G; PUT(to_x, GET(to_x) + BROUGHT(u)); PUT(to_y, BROUGHT(w)););
    else
        LOOP(const VEC g = G; PUT(to_x, GET(to_x) + BROUGHT(u)); PUT(to_y, GET(to_y) + BROUGHT(w)););
}

/* A product, past the cache: `target` begins on a line. */
static void NAME(stream_product)(ptrdiff_t n, const REAL *pull, const REAL *u, REAL *target) {
    for (ptrdiff_t i = 0; i < n; i += COUNT) {
        const VEC g = NAME(load)(pull + i);
        NAME(stream)(target + i, NAME(strong)(g, g * NAME(load)(u + i)));
    }
}

/* Two of them. */
static void NAME(stream_two)(ptrdiff_t n, const REAL *pull, const REAL *u, REAL *to_x, const REAL *w, REAL *to_y) {
    for (ptrdiff_t i = 0; i < n; i += COUNT) {
        const VEC g = NAME(load)(pull + i);
        NAME(stream)(to_x + i, NAME(strong)(g, g * NAME(load)(u + i)));
        NAME(stream)(to_y + i, NAME(strong)(g, g * NAME(load)(w + i)));
    }
}

/* To x as it is, to y times u; both are added to. */
static void NAME(pull_and_product)(ptrdiff_t n, const REAL *pull, REAL *to_x, const REAL *u, REAL *to_y) {
    LOOP(const VEC g = G; PUT(to_x, GET(to_x) + g); PUT(to_y, GET(to_y) + BROUGHT(u)););
}

#undef G
#undef BROUGHT
