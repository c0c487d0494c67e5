// Vectors, and matrix products as one loop over tiles that stay in registers, with what follows a product (its scale, an
// activation's cut, a sum) done as a tile is stored. The sum over k runs in its order whatever the vectors' length: with fused
// multiply-add every machine gives the same bits.

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>
#include <utility>

#ifndef VECTOR_BYTES  // AVX-512's 64 are two or four registers elsewhere, where the compiler splits them
#ifdef __wasm__
#define VECTOR_BYTES 16
#else
#define VECTOR_BYTES 64
#endif
#endif

#define UNROLL _Pragma("GCC unroll 16")

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else  // whose version 11 knows no other
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Index{__VA_ARGS__})
#endif

typedef ptrdiff_t Size;

enum Store { SET, SET_RELU, SET_WHERE_POSITIVE, ADD, ADD_WHERE_POSITIVE, DECAY_AND_ADD };

// Memory that begins on a vector's boundary, all 0; nullptr where there is none. `free` takes it back.
template <class real> static real *allocate(Size count) {
  const size_t bytes = (count * sizeof(real) + VECTOR_BYTES - 1) / VECTOR_BYTES * VECTOR_BYTES;
  void *memory = aligned_alloc(VECTOR_BYTES, bytes);
  return memory ? (real *)memset(memory, 0, bytes) : nullptr;
}

template <class real> struct Tiles {
  static constexpr Size LANES = VECTOR_BYTES / sizeof(real);
#ifdef __wasm__  // 16 registers: rows × vectors of the large tile, rows of the narrow one
  static constexpr int TALL = 4, WIDE = 2, NARROW = 8;
#else
  static constexpr int TALL = 6, WIDE = 4, NARROW = 12;
#endif
  typedef real Vector __attribute__((vector_size(VECTOR_BYTES)));
  typedef std::conditional_t<sizeof(real) == 4, int32_t, int64_t> Lane;
  typedef Lane Index __attribute__((vector_size(VECTOR_BYTES)));

  // factor · row + sum: elsewhere the compiler makes one instruction of it, in a page it must be told.
  static inline __attribute__((always_inline)) Vector multiply_add(real factor, Vector row, Vector sum) {
#ifdef __wasm_relaxed_simd__
    if constexpr (sizeof(real) == 4)
      return __builtin_wasm_relaxed_madd_f32x4(Vector{} + factor, row, sum);
    else
      return __builtin_wasm_relaxed_madd_f64x2(Vector{} + factor, row, sum);
#else
    return factor * row + sum;
#endif
  }

  // out[i, j] (R rows, C vectors) from Σ_k a[i, k] b[k, j]; a's element (i, k) lies at a[i·ai + k·ak].
  template <Store store, int R, int C>
  static inline __attribute__((always_inline)) void tile(Size K, const real *a, Size ai, Size ak, const real *b, Size bk, real *out,
                                                         Size oi, real alpha, real decay, const real *where) {
    Vector sum[R][C];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] = Vector{};
    for (Size k = 0; k < K; k++) {
      Vector row[C];
      UNROLL for (int c = 0; c < C; c++) row[c] = *(const Vector *)(b + k * bk + c * LANES);
      UNROLL for (int r = 0; r < R; r++) {
        const real factor = a[r * ai + k * ak];
        UNROLL for (int c = 0; c < C; c++) sum[r][c] = multiply_add(factor, row[c], sum[r][c]);
      }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) {
      Vector *place = (Vector *)(out + r * oi + c * LANES), value = alpha * sum[r][c];
      if (store == SET_RELU) value = value < 0 ? Vector{} : value;  // so written that NaN passes, as in torch
      if (store == ADD || store == ADD_WHERE_POSITIVE) value += *place;
      if (store == SET_WHERE_POSITIVE || store == ADD_WHERE_POSITIVE)
        value = *(const Vector *)(where + r * oi + c * LANES) > 0 ? value : Vector{};
      if (store == DECAY_AND_ADD) value += decay * *place;
      *place = value;
    }
  }

  // out (M, N) from a (M, K) times b (K, N); N counts whole vectors' elements.
  template <Store store>
  static void product(Size M, Size N, Size K, const real *a, Size ai, Size ak, const real *b, Size bk, real *out, Size oi, real alpha,
                      real decay = 0, const real *where = nullptr) {
    Size j = 0;
#define ROWS(R, C) \
  for (; i + R <= M; i += R) \
  tile<store, R, C>(K, a + i * ai, ai, ak, b + j, bk, out + i * oi + j, oi, alpha, decay, where + i * oi + j)
    for (; j + WIDE * LANES <= N; j += WIDE * LANES) {
      Size i = 0;
      ROWS(TALL, WIDE);
      ROWS(2, WIDE);
      ROWS(1, WIDE);
    }
    for (; j < N; j += LANES) {
      Size i = 0;
      ROWS(NARROW, 1);
      ROWS(4, 1);
      ROWS(1, 1);
    }
#undef ROWS
  }

  // A square of LANES rows, transposed: rows i and i + d exchange the lanes whose bit d differs from theirs, d = 1, 2, 4, …
  static void transpose_square(const real *from, Size stride, real *to, Size lead) {
    Vector row[LANES];
    UNROLL for (int i = 0; i < LANES; i++) row[i] = *(const Vector *)(from + i * stride);
    exchange<1>(row, std::make_integer_sequence<int, LANES>());
    UNROLL for (int i = 0; i < LANES; i++) *(Vector *)(to + i * lead) = row[i];
  }

  template <int d, int... lane> static inline __attribute__((always_inline)) void exchange(Vector *row,
                                                                                           std::integer_sequence<int, lane...> lanes) {
    UNROLL for (int i = 0; i < LANES; i++) {
      if (i & d) continue;
      const Vector a = row[i], b = row[i + d];
      row[i] = SHUFFLE(a, b, (lane & d ? LANES + (lane ^ d) : lane)...);
      row[i + d] = SHUFFLE(a, b, (lane & d ? LANES + lane : lane ^ d)...);
    }
    if constexpr (2 * d < LANES) exchange<2 * d>(row, lanes);
  }

  // from (rows, B), `stride` between its rows, to (B, rows), `lead` between them.
  static void transpose(Size rows, Size B, const real *from, Size stride, real *to, Size lead) {
    for (Size i = 0; i < rows; i += LANES)
      for (Size b = 0; b < B; b += LANES) {
        const Size high = rows - i < LANES ? rows - i : LANES, wide = B - b < LANES ? B - b : LANES;
        if (high == LANES && wide == LANES)
          transpose_square(from + i * stride + b, stride, to + b * lead + i, lead);
        else
          for (Size c = 0; c < wide; c++)
            for (Size r = 0; r < high; r++) to[(b + c) * lead + i + r] = from[(i + r) * stride + b + c];
      }
  }

  // tanh of `count` elements, whole vectors of them, in place, to some units in the last place. With t = e^(−2|x|) − 1 it is
  // ∓t/(t + 2), and t = 2^k (e^r − 1) + (2^k − 1) keeps its digits at small x; e^r − 1 is r's Taylor series, |r| ≤ ½ log 2.
  static void apply_tanh(Size count, real *x) {
    constexpr bool SINGLE = sizeof(real) == 4;
    constexpr int TERMS = SINGLE ? 8 : 14, MANTISSA = SINGLE ? 23 : 52;
    constexpr real ROUNDER = SINGLE ? 0x1.8p23 : 0x1.8p52;  // added, it leaves the nearest integer in the last bits
    constexpr real HIGH = SINGLE ? 0.693359375 : 6.93147180369123816490e-01;  // log 2, its first digits and the rest
    constexpr real LOW = SINGLE ? -2.12194440054690583e-04 : 1.90821492927058770002e-10;
    for (Size i = 0; i < count; i += LANES) {
      Vector *place = (Vector *)(x + i), value = *place, y = -2 * (value < 0 ? -value : value);
      y = y < -60 ? Vector{} - 60 : y;  // tanh is ±1 there; NaN passes
      const Vector rounded = y * real(1.44269504088896340736) + ROUNDER, k = rounded - ROUNDER, r = (y - k * HIGH) - k * LOW;
      const Vector power = (Vector)(((Index)rounded << MANTISSA) + (Index)(Vector{} + 1));  // 2^k
      Vector series = Vector{} + 1;
      UNROLL for (int term = TERMS; term > 1; term--) series = 1 + series * r / real(term);
      const Vector t = power * (series * r) + (power - 1), size = -t / (t + 2);
      *place = value < 0 ? -size : size;
    }
  }

  // delta ⊙ tanh′, read off tanh's own values: 1 − a².
  static void multiply_by_tanh_slope(Size count, real *delta, const real *a) {
    for (Size i = 0; i < count; i += LANES) {
      const Vector value = *(const Vector *)(a + i);
      *(Vector *)(delta + i) *= 1 - value * value;
    }
  }
};
