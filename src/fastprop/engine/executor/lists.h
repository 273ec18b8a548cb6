/* Columns of a caller at a list of lanes: gathered to a row, and scattered from it. */
#ifndef FASTPROP_LISTS_H
#define FASTPROP_LISTS_H
#include <stddef.h>
#include <stdint.h>

/* The columns lie where their dtype wants them. */
#define LISTED(name, real) \
    static void gather_##name(real *row, const real *data, const int64_t *lane, Py_ssize_t n) { \
        for (Py_ssize_t k = 0; k < n; k++) row[k] = data[lane[k]]; } \
    static void scatter_##name(real *data, const real *row, const int64_t *lane, Py_ssize_t n) { \
        for (Py_ssize_t k = 0; k < n; k++) data[lane[k]] = row[k]; } \
    static void scatter_add_##name(real *data, const real *row, const int64_t *lane, Py_ssize_t n) { \
        for (Py_ssize_t k = 0; k < n; k++) data[lane[k]] += row[k]; } \
    static int all_are_##name(const real *row, Py_ssize_t n, int truth) { \
        int found = 1; \
        for (Py_ssize_t k = 0; k < n; k++) found &= (row[k] != 0) == truth; \
        return found; }
LISTED(wide, double)
LISTED(narrow, float)
static int lies_well(const void *data, Py_ssize_t size) { return (size_t)data % (size_t)size == 0; }
static void gather_list(char *row, const char *data, const int64_t *lane, Py_ssize_t n, int single) {
    if (single) gather_narrow((float *)row, (const float *)data, lane, n);
    else gather_wide((double *)row, (const double *)data, lane, n); }
static void scatter_list(char *data, const char *row, const int64_t *lane, Py_ssize_t n, int add, int single) {
    if (single && add) scatter_add_narrow((float *)data, (const float *)row, lane, n);
    else if (single) scatter_narrow((float *)data, (const float *)row, lane, n);
    else if (add) scatter_add_wide((double *)data, (const double *)row, lane, n);
    else scatter_wide((double *)data, (const double *)row, lane, n); }
static int all_are(const char *row, Py_ssize_t n, int truth, int single) {
    return single ? all_are_narrow((const float *)row, n, truth) : all_are_wide((const double *)row, n, truth); }

#endif
