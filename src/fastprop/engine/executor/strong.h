/* `brought`, but exactly 0 where the pull is. */
#if defined(__AVX512F__)
INLINE vec strong(vec pull, vec brought) {
    return (vec)_mm512_maskz_mov_pd(_mm512_cmp_pd_mask(pull, _mm512_setzero_pd(), _CMP_NEQ_UQ), brought);
}

INLINE vecf strongf(vecf pull, vecf brought) {
    return (vecf)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(pull, _mm512_setzero_ps(), _CMP_NEQ_UQ), brought);
}
#else
INLINE vec strong(vec pull, vec brought) { return (vec)(is_other(pull, broadcast(0)) & (ivec)brought); }

INLINE vecf strongf(vecf pull, vecf brought) { return (vecf)(is_otherf(pull, broadcastf(0)) & (ivecf)brought); }
#endif
