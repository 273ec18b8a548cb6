/* Columns of a caller at a list of lanes: gathered to a row, and scattered from it; and columns side by side. */
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
        return found; } \
    static void turn_##name(real *row, Py_ssize_t apart, const char *data, Py_ssize_t stride, Py_ssize_t n, int columns) { \
        for (Py_ssize_t lane = 0; lane < n; lane++, data += stride) \
            for (int c = 0; c < columns; c++) row[c * apart + lane] = ((const real *)data)[c]; }
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
static void turn_columns( /* `columns` at a time: each goes to a row */
    char *row, Py_ssize_t apart, const char *data, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t columns, int single
) {
    const Py_ssize_t size = single ? sizeof(float) : sizeof(double);
    for (; columns > 0; columns -= 8, row += 8 * apart * size, data += 8 * size) {
        if (single && columns >= 8) turn_narrow((float *)row, apart, data, stride, n, 8);
        else if (single) turn_narrow((float *)row, apart, data, stride, n, (int)columns);
        else if (columns >= 8) turn_wide((double *)row, apart, data, stride, n, 8);
        else turn_wide((double *)row, apart, data, stride, n, (int)columns);
    }
}
static int all_are(const char *row, Py_ssize_t n, int truth, int single) {
    return single ? all_are_narrow((const float *)row, n, truth) : all_are_wide((const double *)row, n, truth); }

#endif
