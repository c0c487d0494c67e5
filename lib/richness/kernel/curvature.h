// The gradient and the Hessian of the loss on fixed samples, by the R-operator (Pearlmutter 1994), one network after another.
//
// R is the derivative along a direction V of the weights. Applied to the passes of network.h it gives two passes more,
//
//   R h_l = s_l (V_l a_{l−1} + W_l R a_{l−1}),  R a_l = φ′ ⊙ R h_l,  R a_0 = 0;  R δ_L = ∂²loss/∂f̃² · R f̃,
//   R δ_l = φ′ ⊙ s_{l+1} (V_{l+1}ᵀ δ_{l+1} + W_{l+1}ᵀ R δ_{l+1}) + φ″ ⊙ R h_l ⊙ s_{l+1} W_{l+1}ᵀ δ_{l+1},
//   (HV)_l = s_l (R δ_l a_{l−1}ᵀ + δ_l R a_{l−1}ᵀ).
//
// What does not depend on V is kept: of every block of samples a_l, its transpose, δ_l, and where φ is tanh, whose φ″ is −2φφ′,
// `bend` = −2 a_l ⊙ s_{l+1} W_{l+1}ᵀ δ_{l+1}, since φ″ R h = −2 a R a. A block is small, so that its parts stay in cache.

#pragma once

#include "network.h"

template <class real> struct Samples {  // mirrored in curvature.py; blocks of plan.batch columns, the last filled up with zeros
  const real *x, *x_transposed, *target, *at_start;  // (blocks, D, columns), (blocks, batch, leading D), (blocks, K, columns) twice
  int64_t blocks, count;                             // count: of samples, in all blocks
};

// Where, from the beginning of a block's part of the state, each of its arrays lies.
struct Kept {
  Size *act, *act_transposed, *delta, *bend, share, size = 0;

  explicit Kept(const Plan &plan) {
    const Size L = plan.layers;
    act = (Size *)malloc(4 * (L + 1) * sizeof(Size));
    if (!act) return;
    act_transposed = act + L + 1, delta = act + 2 * (L + 1), bend = act + 3 * (L + 1);
    for (Size l = 1; l <= L; l++) {
      const Size one = plan.sizes[l] * plan.columns;
      act[l] = size, size += one;
      act_transposed[l] = size, size += plan.batch * plan.leading[l];
      delta[l] = size, size += one;
      bend[l] = size, size += plan.activation == TANH ? one : 0;
    }
    share = size, size += plan.loss == CROSS_ENTROPY ? plan.sizes[L] * plan.columns : 0;  // softmax
  }
  ~Kept() { free(act); }
};

template <class real> class Curvature {
  using T = Tiles<real>;
  const Plan &plan;
  const Samples<real> &samples;
  const Size L = plan.layers, B = plan.batch, columns = plan.columns, K = plan.sizes[L];
  const Kept kept;
  real *workspace, **moved, **act, *moved_transposed, *turned, *below;

 public:
  bool ready = false;

  Curvature(const Plan &plan, const Samples<real> &samples) : plan(plan), samples(samples), kept(plan) {
    Size widest = 0, sum = 0;
    for (Size l = 0; l <= L; l++) {
      if (plan.leading[l] > widest) widest = plan.leading[l];
      sum += plan.leading[l] * columns;
    }
    workspace = allocate<real>(sum + widest * (2 * columns + B));
    moved = (real **)malloc(2 * (L + 1) * sizeof(real *));
    if (!workspace || !moved || !kept.act) return;
    act = moved + L + 1;
    real *next = workspace;
    for (Size l = 0; l <= L; l++) moved[l] = next, next += plan.leading[l] * columns;
    turned = next, next += widest * columns;
    below = next, next += widest * columns;
    moved_transposed = next;
    ready = true;
  }
  ~Curvature() { free(workspace), free(moved); }

  // Fills the state, all 0 so far, of one network and adds its gradient to 0; returns its loss.
  double prepare(real *const *weights, double gamma, real *state, real *const *gradient) {
    double loss = 0;
    for (Size t = 0; t < samples.blocks; t++) {
      real *block = state + t * kept.size;
      for (Size l = 1; l <= L; l++) act[l] = block + kept.act[l];
      const real *raw = forward(plan, weights, x(t), act);
      const Size at = t * K * columns;
      loss += loss_and_delta(plan, raw, samples.at_start + at, samples.target + at, gamma, count(t), samples.count,
                             block + kept.delta[L], plan.loss == CROSS_ENTROPY ? block + kept.share : nullptr);
      for (Size l = 1; l < L; l++)
        T::transpose(plan.sizes[l], B, act[l], columns, block + kept.act_transposed[l], plan.leading[l]);
      for (Size l = L; l >= 1; l--) {
        const real *delta = block + kept.delta[l], scale = plan.scale[l - 1];
        add_outer(l, delta, input_transposed(t, block, l), scale, gradient[l - 1]);
        if (l > 1) keep_delta(block, weights[l - 1], l - 1, delta, scale);
      }
    }
    return loss;
  }

  // Adds Hv to `product`, which is 0.
  void multiply(real *const *weights, double gamma, const real *state, const real *const *vector, real *const *product) {
    for (Size t = 0; t < samples.blocks; t++) {
      const real *block = state + t * kept.size;
      for (Size l = 1; l <= L; l++) move(block, l, l > 1 ? block + kept.act[l - 1] : x(t), vector[l - 1], weights[l - 1]);
      turn_output(block, gamma, count(t));
      for (Size l = L; l >= 1; l--) {
        const real *delta = block + kept.delta[l], scale = plan.scale[l - 1];
        add_outer(l, turned, input_transposed(t, block, l), scale, product[l - 1]);
        if (l == 1) break;
        T::transpose(plan.sizes[l - 1], B, moved[l - 1], columns, moved_transposed, plan.leading[l - 1]);
        add_outer(l, delta, moved_transposed, scale, product[l - 1]);
        turn(block, l - 1, delta, vector[l - 1], weights[l - 1], scale);
      }
    }
  }

 private:
  const real *x(Size t) const { return samples.x + t * plan.sizes[0] * columns; }
  const real *input_transposed(Size t, const real *block, Size l) const {
    return l > 1 ? block + kept.act_transposed[l - 1] : samples.x_transposed + t * B * plan.leading[0];
  }
  Size count(Size t) const { return t + 1 < samples.blocks ? B : samples.count - t * B; }

  // weight-shaped += scale · δ aᵀ of layer l
  void add_outer(Size l, const real *delta, const real *input, real scale, real *out) const {
    const Size lead = plan.leading[l - 1];
    T::template product<ADD>(plan.sizes[l], lead, B, delta, columns, 1, input, lead, out, lead, scale);
  }

  // δ of layer l from that of the one above, with the bend
  void keep_delta(real *block, const real *weight, Size l, const real *above, real scale) const {
    const Size in = plan.sizes[l], out = plan.sizes[l + 1], lead = plan.leading[l];
    real *delta = block + kept.delta[l], *a = block + kept.act[l], *bend = block + kept.bend[l];
    if (plan.activation == RELU)
      T::template product<SET_WHERE_POSITIVE>(in, columns, out, weight, 1, lead, above, columns, delta, columns, scale, 0, a);
    else
      T::template product<SET>(in, columns, out, weight, 1, lead, above, columns, delta, columns, scale);
    if (plan.activation != TANH) return;
    for (Size i = 0; i < in * columns; i++) bend[i] = -2 * a[i] * delta[i];
    T::multiply_by_tanh_slope(in * columns, delta, a);
  }

  // R a_l, or R f̃ at l = L
  void move(const real *block, Size l, const real *input, const real *vector, const real *weight) {
    const Size out = plan.sizes[l], in = plan.sizes[l - 1], lead = plan.leading[l - 1];
    const real scale = plan.scale[l - 1], *a = block + kept.act[l];
    const bool cut = l < L && plan.activation == RELU;
    real *to = moved[l];
    if (l == 1 && cut) {
      T::template product<SET_WHERE_POSITIVE>(out, columns, in, vector, lead, 1, input, columns, to, columns, scale, 0, a);
    } else {
      T::template product<SET>(out, columns, in, vector, lead, 1, input, columns, to, columns, scale);
      if (l > 1 && cut)
        T::template product<ADD_WHERE_POSITIVE>(out, columns, in, weight, lead, 1, moved[l - 1], columns, to, columns, scale, 0, a);
      else if (l > 1)
        T::template product<ADD>(out, columns, in, weight, lead, 1, moved[l - 1], columns, to, columns, scale);
    }
    if (l < L && plan.activation == TANH) T::multiply_by_tanh_slope(out * columns, to, a);
  }

  // R δ_L from R f̃: 2/(samples·K·γ²) R f̃ under MSE; under cross-entropy p_k Σ_j p_j (R f̃_k − R f̃_j)/(samples·γ²), in differences,
  // since most of p_k (R f̃_k − Σ_j p_j R f̃_j) cancels where a sample is learned. 0 beyond the samples.
  void turn_output(const real *block, double gamma, Size count) {
    const real *raw = moved[L], *p = block + kept.share;
    const real unit = real((plan.loss == MSE ? 2.0 / K : 1.0) / (double(samples.count) * gamma * gamma));
    for (Size k = 0; k < K; k++) {
      real *row = turned + k * columns;
      for (Size b = 0; b < columns; b++) row[b] = plan.loss == MSE && b < count ? unit * raw[k * columns + b] : 0;
      for (Size j = 0; plan.loss == CROSS_ENTROPY && j < K; j++)
        for (Size b = 0; b < count; b++) {
          const Size mine = k * columns + b, its = j * columns + b;
          row[b] += unit * p[mine] * p[its] * (raw[mine] - raw[its]);
        }
    }
  }

  // R δ_l from that of the layer above, whose δ is `above`
  void turn(const real *block, Size l, const real *above, const real *vector, const real *weight, real scale) {
    const Size in = plan.sizes[l], out = plan.sizes[l + 1], lead = plan.leading[l];
    const real *a = block + kept.act[l], *bend = block + kept.bend[l];
    T::template product<SET>(in, columns, out, vector, 1, lead, above, columns, below, columns, scale);
    if (plan.activation == RELU)
      T::template product<ADD_WHERE_POSITIVE>(in, columns, out, weight, 1, lead, turned, columns, below, columns, scale, 0, a);
    else
      T::template product<ADD>(in, columns, out, weight, 1, lead, turned, columns, below, columns, scale);
    if (plan.activation == TANH) {
      T::multiply_by_tanh_slope(in * columns, below, a);
      for (Size i = 0; i < in * columns; i++) below[i] += bend[i] * moved[l][i];
    }
    real *swap = turned;
    turned = below, below = swap;
  }
};

// Rows of parameters, one a network, hold its layers (out, leading) one after another.
static Size count_parameters(const Plan &plan) {
  Size count = 0;
  for (Size l = 0; l < plan.layers; l++) count += plan.sizes[l + 1] * plan.leading[l];
  return count;
}

template <class real> static void point_to_layers(const Plan &plan, real *row, real **layers) {
  for (Size l = 0; l < plan.layers; l++) layers[l] = row, row += plan.sizes[l + 1] * plan.leading[l];
}

// What Hessian products of `count` networks share: `state` (count, blocks, Kept::size), 0 so far. Their gradients go into rows that
// are 0, their losses into `loss`. Returns 0, or 1 without memory.
template <class real>
static int prepare_curvature(const Plan &plan, const Samples<real> &samples, Size count, real *weights, const double *gamma, real *state,
                             real *gradient, double *loss) {
  Curvature<real> curvature(plan, samples);
  const Size L = plan.layers, row = count_parameters(plan), size = Kept(plan).size * samples.blocks;
  real **layers = (real **)malloc(2 * L * sizeof(real *));
  const bool ready = curvature.ready && layers;
  for (Size c = 0; ready && c < count; c++) {
    point_to_layers(plan, weights + c * row, layers), point_to_layers(plan, gradient + c * row, layers + L);
    loss[c] = curvature.prepare(layers, gamma[c], state + c * size, layers + L);
  }
  free(layers);
  return ready ? 0 : 1;
}

// Hv of each network, vectors `stride` apart, into rows; NaN where the loss is not finite.
template <class real>
static int multiply_by_hessian(const Plan &plan, const Samples<real> &samples, Size count, real *weights, const double *gamma,
                               const real *state, const double *loss, real *vector, Size stride, real *product) {
  Curvature<real> curvature(plan, samples);
  const Size L = plan.layers, row = count_parameters(plan), size = Kept(plan).size * samples.blocks;
  real **layers = (real **)malloc(3 * L * sizeof(real *));
  const bool ready = curvature.ready && layers;
  for (Size c = 0; ready && c < count; c++) {
    real *out = product + c * row;
    const real first = std::isfinite(loss[c]) ? 0 : std::numeric_limits<real>::quiet_NaN();
    for (Size i = 0; i < row; i++) out[i] = first;
    if (!std::isfinite(loss[c])) continue;
    point_to_layers(plan, weights + c * row, layers), point_to_layers(plan, vector + c * stride, layers + L);
    point_to_layers(plan, out, layers + 2 * L);
    curvature.multiply(layers, gamma[c], state + c * size, layers + L, layers + 2 * L);
  }
  free(layers);
  return ready ? 0 : 1;
}
