/* What executors take for granted, as programs are verified when they are made: looked at if FASTPROP_CHECK is set. */
#ifndef FASTPROP_CHECK_H
#define FASTPROP_CHECK_H

#if FASTPROP_CHECK
#include <stdio.h>
#include <stdlib.h>

static __attribute__((noreturn, noinline, cold)) void fail(const char *fact, const char *file, int line) {
    fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, fact);
    abort();
}
#define ASSERT(fact) (__builtin_expect(!(fact), 0) ? fail(#fact, __FILE__, __LINE__) : (void)0)
#else
#define ASSERT(fact) ((void)0)
#endif

/* An index, of so many; and that numbers side by side, from `start` on, lie within so many. */
#define CHECKED(index, count) (ASSERT(0 <= (index) && (index) < (count)), (index))
#define ASSERT_RANGE(start, length, count) ASSERT(0 <= (start) && 0 <= (length) && (start) + (length) <= (count))

#endif
