"""Products of two matrices, both computed, among sums of products: what reroll finds where nothing is a weight.

In attention every query is multiplied with every key. Sums whose left factors are the same are a row of results, those
whose right factors are the same a column; rows that have the same columns are one product. Where columns differ, as
behind a causal mask, they are taken some at a time.
"""
import itertools

cdef enum:
    COLUMNS_AT_ONCE = 16    # of rows that have no others alike


cdef class Factors:
    """Sums of products of what is computed, by their left and by their right factors."""

    cdef dict left, right       # factors -> a number for them
    cdef list by_left           # for each left side: its sums, by the number of their right side
    cdef dict last              # gate -> the last gate that it reads

    def __init__(self):
        self.left, self.right, self.by_left, self.last = {}, {}, [], {}

    cdef int add(self, Py_ssize_t gate, pairs, Py_ssize_t last) except -1:
        """Take a sum of pairs of factors, which lie side by side; `last` is the last gate that it reads."""
        cdef Py_ssize_t row = self.left.setdefault(pairs[::2].tobytes(), len(self.left))
        cdef Py_ssize_t column = self.right.setdefault(pairs[1::2].tobytes(), len(self.right))
        if row == len(self.by_left):
            self.by_left.append({})
        (<dict>self.by_left[row]).setdefault(column, gate)
        self.last[gate] = last
        return 0

    cdef list products(self, bint lanes):
        """Return the products that are worth it: a list of rows of gates for each."""
        cdef list found = [], product
        cdef Py_ssize_t rows, columns
        for product in self.all_products():
            rows, columns = len(product), len(product[0])
            if rows * columns >= LEAST_RESULTS if lanes else min(rows, columns) >= LEAST_SIDE:
                found.append(product)
        return found

    cdef list all_products(self):
        cdef dict alike = {}, parts = {}, columns
        cdef list found = [], rows
        for columns in self.by_left:
            alike.setdefault(tuple(sorted(columns)), []).append(columns)
        for key, rows in alike.items():
            if len(rows) > 1:
                found += self.in_time(key, rows)
                continue
            for _, part in itertools.groupby(key, lambda column: column // COLUMNS_AT_ONCE):
                parts.setdefault(tuple(part), []).append(rows[0])
        for key, rows in parts.items():
            found += self.in_time(key, rows)
        return found

    cdef list in_time(self, tuple key, list rows):
        """Put rows together while all that they read is there before the first of them is wanted."""
        cdef list found = [], product = []
        cdef Py_ssize_t wanted = 0, there = 0, first, last
        for gates in sorted([[<object>columns[k] for k in key] for columns in rows]):
            first, last = min(gates), max([self.last[gate] for gate in gates])
            if last >= first:
                continue
            if product and max(there, last) >= min(wanted, first):
                found.append(product)
                product = []
            wanted, there = (min(wanted, first), max(there, last)) if product else (first, last)
            product.append(gates)
        found.append(product)
        return [product for product in found if product]
