/* Ask for rows of callers' arrays before they are needed: a processor does not foresee a walk from row to row. */
enum { LINE = 64 };

INLINE void ask_for(const char *line, int writing) {
    if (writing)
        __asm__ volatile("prefetchw %0" : : "m"(*line)); /* where there is no such instruction, it does nothing */
    else
        __builtin_prefetch(line, 0, 3);
}

/* Write a part past the cache, to an address that is a multiple of its size. */
INLINE void stream_part(void *to, part x) { REGISTER(stream_pd)((double *)to, x); }

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
