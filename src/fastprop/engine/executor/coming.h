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

static void ask_for_some(Coming *coming) {
    for (ptrdiff_t asked = 0; asked < coming->at_once && coming->rows > 0; asked += LINE) {
        ask_for(*coming->row + coming->now, coming->reads <= 0);
        coming->now += LINE;
        if (coming->now >= coming->end) {
            coming->now = coming->begin;
            coming->row++, coming->rows--, coming->reads--;
        }
    }
}
