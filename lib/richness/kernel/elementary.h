// exp, log and pow in place of the standard library's, whose tables alone would be a quarter of what a page fetches.
//
// Right to some units in the last place of a double; below 2⁻¹⁰²² the exponential is 0.

#pragma once

#include <stdint.h>

// x = k log 2 + r, |r| ≤ ½ log 2; e^r by Taylor's series.
static double exponential(double x) {
  if (!(x > -708.3)) return x < 0 ? 0 : x;
  if (x > 709.7) return __builtin_inf();
  const double rounded = x * 1.44269504088896340736 + 0x1.8p52, k = rounded - 0x1.8p52;
  const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double series = 1;
  for (int term = 14; term > 0; term--) series = 1 + series * r / term;
  return series * __builtin_bit_cast(double, (uint64_t(int64_t(k)) + 1023) << 52);
}

// x = 2^k m, ½√2 ≤ m < √2; log m = 2 artanh s, s = (m − 1)/(m + 1). For normal x.
static double logarithm(double x) {
  if (!(x > 0 && x < __builtin_inf())) return x == 0 ? -__builtin_inf() : x > 0 ? x : __builtin_nan("");
  const uint64_t bits = __builtin_bit_cast(uint64_t, x);
  const int64_t k = int64_t(bits - 0x3fe6a09e667f3bcdull) >> 52;
  const double m = __builtin_bit_cast(double, bits - (uint64_t(k) << 52)), s = (m - 1) / (m + 1), q = s * s;
  double series = 1. / 21;
  for (int n = 19; n > 1; n -= 2) series = series * q + 1. / n;
  return k * 6.93147180369123816490e-01 + (2 * s + (2 * s * q * series + k * 1.90821492927058770002e-10));
}

extern "C" {
double exp(double x) { return exponential(x); }
double log(double x) { return logarithm(x); }
double pow(double x, double y) { return exponential(y * logarithm(x)); }  // x > 0
float expf(float x) { return float(exponential(x)); }
float logf(float x) { return float(logarithm(x)); }
}
