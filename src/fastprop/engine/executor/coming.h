/* Ask for rows of callers' arrays before they are needed: a processor does not foresee a walk from row to row. */
enum { LINE = 64 };

INLINE void ask_for(const char *line, int writing) {
#if defined(__x86_64__)
    if (writing) {
        __asm__ volatile("prefetchw %0" : : "m"(*line)); /* where there is no such instruction, it does nothing */
        return;
    }
#endif
    if (writing)
        __builtin_prefetch(line, 1, 3);
    else
        __builtin_prefetch(line, 0, 3);
}

/* The next `at_once` bytes (whole lines) of the rows. */
INLINE void ask_for_some(Coming *coming) {
    if (coming->rows <= 0 && coming->then != NULL)
        coming = coming->then;
    for (ptrdiff_t left = coming->at_once; left > 0 && coming->rows > 0;) {
        const ptrdiff_t begin = coming->now, stop = begin + left < coming->end ? begin + left : coming->end;
        const char *row = *coming->row;
        left -= stop - begin;
        if (coming->reads > 0)
            for (ptrdiff_t at = begin; at < stop; at += LINE) ask_for(row + at, 0);
        else
            for (ptrdiff_t at = begin; at < stop; at += LINE) ask_for(row + at, 1);
        coming->now = stop;
        if (stop == coming->end) {
            coming->now = coming->begin;
            coming->row++, coming->rows--, coming->reads--;
        }
    }
}
