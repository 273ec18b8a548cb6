/* Numbers below the least normal one: a processor takes a hundred times as long with each. Gradients and moments that die
   out pass through there, and stay. Between these two calls they count as 0, if `wanted`, where that can be had. */
#ifndef FASTPROP_FLUSH_H
#define FASTPROP_FLUSH_H

#if defined(__x86_64__)
#include <xmmintrin.h>
enum { SMALL_IS_ZERO = 0x8040 }; /* of results, and of operands */

static inline unsigned flush_small(int wanted) {
    const unsigned before = _mm_getcsr();
    if (wanted)
        _mm_setcsr(before | SMALL_IS_ZERO);
    return before;
}

static inline void flush_as(unsigned before) { _mm_setcsr(before); }
#else
static inline unsigned flush_small(int wanted) { return (unsigned)wanted; }
static inline void flush_as(unsigned before) { (void)before; }
#endif

#endif
