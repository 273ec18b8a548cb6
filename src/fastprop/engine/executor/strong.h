/* The chain rule's own product. A factor of exactly 0 makes it exactly 0, whatever the other one is: products are taken as
   IEEE has them, and only a NaN is looked at again. */

/* Whether there is a NaN in any of four vectors. */
#if defined(__AVX512F__)
INLINE int any_nan(vec a, vec b, vec c, vec d) {
    const __m512d p = (__m512d)a, q = (__m512d)b, r = (__m512d)c, s = (__m512d)d;
    return (_mm512_cmp_pd_mask(p, q, _CMP_UNORD_Q) | _mm512_cmp_pd_mask(r, s, _CMP_UNORD_Q)) != 0;
}

INLINE int any_nanf(vecf a, vecf b, vecf c, vecf d) {
    const __m512 p = (__m512)a, q = (__m512)b, r = (__m512)c, s = (__m512)d;
    return (_mm512_cmp_ps_mask(p, q, _CMP_UNORD_Q) | _mm512_cmp_ps_mask(r, s, _CMP_UNORD_Q)) != 0;
}
#else
#if defined(FASTPROP_PORTABLE)
#define EITHER_IS_NAN(x, y) (ipart)(((x) != (x)) | ((y) != (y)))
#define EITHER_IS_NANF(x, y) (ipart)(((x) != (x)) | ((y) != (y)))
#elif defined(__AVX2__)
#define EITHER_IS_NAN(x, y) (ipart) _mm256_cmp_pd((__m256d)(x), (__m256d)(y), _CMP_UNORD_Q)
#define EITHER_IS_NANF(x, y) (ipart) _mm256_cmp_ps((__m256)(x), (__m256)(y), _CMP_UNORD_Q)
#else
#define EITHER_IS_NAN(x, y) (ipart) _mm_cmpunord_pd((__m128d)(x), (__m128d)(y))
#define EITHER_IS_NANF(x, y) (ipart) _mm_cmpunord_ps((__m128)(x), (__m128)(y))
#endif

INLINE int any_nan(vec a, vec b, vec c, vec d) {
    const pieces p = {a}, q = {b}, r = {c}, s = {d};
    ipart found = {0};
    FOR_PARTS(i) found |= EITHER_IS_NAN(p.parts[i], q.parts[i]) | EITHER_IS_NAN(r.parts[i], s.parts[i]);
    return signs(found) != 0;
}

INLINE int any_nanf(vecf a, vecf b, vecf c, vecf d) {
    const piecesf p = {a}, q = {b}, r = {c}, s = {d};
    ipart found = {0};
    FOR_PARTS(i) found |= EITHER_IS_NANF(p.parts[i], q.parts[i]) | EITHER_IS_NANF(r.parts[i], s.parts[i]);
    return signs(found | found << 32) != 0; /* a bit per two floats: the upper one's sign, and the lower one's */
}
#undef EITHER_IS_NAN
#undef EITHER_IS_NANF
#endif
