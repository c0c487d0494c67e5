// What is read of one network besides its loss: the alignment of its tangent kernel with the targets, and its layers' drift.
//
// With a_l, s_l and W_l as in network.h, and δ_l[k] = ∂f̃_k/∂(what layer l adds up, its multiplier included), the kernel summed
// over outputs is Θ = Σ_l s_l² (a_{l−1}ᵀ a_{l−1}) ⊙ Σ_k δ_l[k]ᵀ δ_l[k]: products of (samples, samples), no derivative is formed.

#pragma once

#include <cmath>

#include "network.h"

template <class real> class Gauges {
  using T = Tiles<real>;
  const Plan &plan;
  const Size L = plan.layers, n = plan.batch, columns = plan.columns, K = plan.sizes[L];
  real *memory, **before, **after, **before_at_start, *delta, *below, *inner, *outer, *kernel;

 public:
  bool ready = false;

  // plan: its batch is the number of samples. start: the weights at step 0. x (D, columns).
  Gauges(const Plan &plan, real *const *start, const real *x) : plan(plan) {
    Size hidden = 0, widest = K;
    for (Size l = 1; l < L; l++) hidden += plan.leading[l], widest = plan.leading[l] > widest ? plan.leading[l] : widest;
    memory = allocate<real>((3 * hidden + K + 2 * widest * K + 3 * n) * columns);
    before = (real **)malloc(3 * (L + 1) * sizeof(real *));
    if (!memory || !before) return;
    after = before + L + 1, before_at_start = after + L + 1;
    real *next = memory;
    for (Size l = 1; l < L; l++)
      for (real **one : {before, after, before_at_start}) one[l] = next, next += plan.leading[l] * columns;
    delta = next, next += widest * K * columns;
    below = next, next += widest * K * columns;
    inner = next, outer = inner + n * columns, kernel = outer + n * columns;
    forward(start, x);
    for (Size l = 1; l < L; l++) memcpy(before_at_start[l], before[l], plan.leading[l] * columns * sizeof(real));
    ready = true;
  }
  ~Gauges() { free(memory), free(before); }

  // The centred kernel-target alignment of Cortes et al., and ‖h_t − h₀‖/‖h₀‖ of every hidden layer's h, what it adds up.
  // x (D, columns), target (K, columns).
  double read(real *const *weights, const real *x, const real *target, double *drift) {
    forward(weights, x);
    for (Size l = 1; l < L; l++) {
      double moved = 0, was = 0;
      for (Size i = 0; i < plan.sizes[l]; i++)
        for (Size b = 0; b < n; b++) {
          const double then = before_at_start[l][i * columns + b], by = before[l][i * columns + b] - then;
          moved += by * by, was += then * then;
        }
      drift[l - 1] = std::sqrt(moved) / std::sqrt(was);
    }
    add_up_kernel(weights, x);
    return align(target);
  }

 private:
  void forward(real *const *weights, const real *x) {
    for (Size l = 0; l + 1 < L; l++) {
      const Size out = plan.sizes[l + 1], count = out * columns;
      T::template product<SET>(out, columns, plan.sizes[l], weights[l], plan.leading[l], 1, l ? after[l] : x, columns, before[l + 1],
                               columns, plan.scale[l]);
      memcpy(after[l + 1], before[l + 1], count * sizeof(real));
      if (plan.activation == RELU)
        for (Size i = 0; i < count; i++) after[l + 1][i] = after[l + 1][i] < 0 ? 0 : after[l + 1][i];
      if (plan.activation == TANH) T::apply_tanh(count, after[l + 1]);
    }
  }

  void add_up_kernel(real *const *weights, const real *x) {
    memset(kernel, 0, n * columns * sizeof(real));
    memset(delta, 0, K * K * columns * sizeof(real));
    for (Size k = 0; k < K; k++)
      for (Size b = 0; b < n; b++) delta[(k * K + k) * columns + b] = plan.scale[L - 1];  // (K, K · columns)
    for (Size l = L - 1; l >= 0; l--) {
      add_layer(l ? after[l] : x, plan.sizes[l], plan.sizes[l + 1]);
      if (l == 0) return;
      T::template product<SET>(plan.sizes[l], K * columns, plan.sizes[l + 1], weights[l], 1, plan.leading[l], delta, K * columns, below,
                               K * columns, 1);
      for (Size i = 0; i < plan.sizes[l]; i++)
        for (Size k = 0; k < K; k++)
          for (Size b = 0; b < columns; b++) below[(i * K + k) * columns + b] *= plan.scale[l - 1] * slope(after[l][i * columns + b]);
      real *swap = delta;
      delta = below, below = swap;
    }
  }

  real slope(real a) const { return plan.activation == RELU ? a > 0 : plan.activation == TANH ? 1 - a * a : 1; }

  // One layer's inputs (in, columns) and δ (out, K · columns).
  void add_layer(const real *input, Size in, Size out) {
    T::template product<SET>(n, columns, in, input, 1, columns, input, columns, inner, columns, 1);
    memset(outer, 0, n * columns * sizeof(real));
    for (Size k = 0; k < K; k++)
      T::template product<ADD>(n, columns, out, delta + k * columns, 1, K * columns, delta + k * columns, K * columns, outer, columns, 1);
    for (Size i = 0; i < n * columns; i++) kernel[i] += inner[i] * outer[i];
  }

  double align(const real *target) {
    for (Size b = 0; b < n; b++) centre(kernel + b * columns, 1);
    for (Size c = 0; c < n; c++) centre(kernel + c, columns);
    for (Size k = 0; k < K; k++) {
      memcpy(delta + k * columns, target + k * columns, columns * sizeof(real));
      centre(delta + k * columns, 1);
    }
    double both = 0, of_kernel = 0, of_target = 0;
    for (Size b = 0; b < n; b++)
      for (Size c = 0; c < n; c++) {
        double wanted = 0;
        for (Size k = 0; k < K; k++) wanted += double(delta[k * columns + b]) * delta[k * columns + c];
        const double found = kernel[b * columns + c];
        both += found * wanted, of_kernel += found * found, of_target += wanted * wanted;
      }
    return both / (std::sqrt(of_kernel) * std::sqrt(of_target));
  }

  // n numbers, `apart` from one another, less their mean.
  void centre(real *first, Size apart) {
    double mean = 0;
    for (Size i = 0; i < n; i++) mean += first[i * apart] / double(n);
    for (Size i = 0; i < n; i++) first[i * apart] -= real(mean);
  }
};
