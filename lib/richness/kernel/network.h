// Training steps of multilayer perceptrons, one network after another, each for many steps while its weights lie in cache.
//
// With a₀ = x, the multipliers s_l of the layers and f = (f̃ − f̃₀)/γ, one step is
//
//   a_l = φ(s_l W_l a_{l−1}),  f̃ = s_L W_L a_{L−1};  δ_L = ∂loss/∂f / γ,  δ_l = φ′(a_l) ⊙ s_{l+1} W_{l+1}ᵀ δ_{l+1};
//   ∂loss/∂W_l = s_l δ_l a_{l−1}ᵀ,
//
// each a product whose multiplier rides in it. A network's arithmetic never depends on which others are trained beside it.
//
// Layouts, row by row: weights (out, leading), leading = in rounded up to whole vectors; activations (features, columns),
// columns = batch rounded up; their transposes (batch, leading). Every row begins on a vector boundary.

#pragma once

#include <cmath>
#include <limits>

#include "tiles.h"

enum Loss { MSE, CROSS_ENTROPY };
enum Activation { RELU, LINEAR, TANH };
enum Optimizer { SGD, MOMENTUM, SIGNSGD, ADAM };

// What crosses the border has fixed widths: `long` is 32 bits in a page.
struct Plan {  // mirrored in layout.py
  int64_t layers, batch, columns, loss, activation, optimizer;
  double beta, beta2;
  const int64_t *sizes, *leading;      // (layers + 1): D, N, …, N, K, and the same rounded up to whole vectors
  const double *scale, *step_factor;   // (layers): forward multiplier; raw step over η
};

template <class real> struct Data {  // the batches of a block of steps, the same for every network
  const real *x, *x_transposed, *target, *at_start;  // (steps, D, columns), (steps, batch, leading D), (steps, K, columns) twice
  const double *factor;                              // (steps): the schedule's
  int64_t steps, updates, number;                    // the first `updates` steps move the weights; `number` updates before them
};

// f̃ (K, columns), neither centred nor divided by γ, of inputs (D, columns); act[l] gets a_l, l = 1 … L.
template <class real> static const real *forward(const Plan &plan, real *const *weights, const real *x, real *const *act) {
  using T = Tiles<real>;
  const Size L = plan.layers, columns = plan.columns;
  const real *input = x;
  for (Size l = 0; l < L; l++) {
    const Size out = plan.sizes[l + 1], in = plan.sizes[l], lead = plan.leading[l];
    const real scale = plan.scale[l];
    const bool hidden = l + 1 < L;
    if (hidden && plan.activation == RELU)
      T::template product<SET_RELU>(out, columns, in, weights[l], lead, 1, input, columns, act[l + 1], columns, scale);
    else
      T::template product<SET>(out, columns, in, weights[l], lead, 1, input, columns, act[l + 1], columns, scale);
    if (hidden && plan.activation == TANH) T::apply_tanh(out * columns, act[l + 1]);
    input = act[l + 1];
  }
  return input;
}

// The part of the loss, a mean over `total` samples, that the first `count` columns bear, at f = (f̃ − f̃₀)/γ; delta = ∂loss/∂f̃,
// and of cross-entropy `share` = softmax(f), where it is wanted.
template <class real>
static double loss_and_delta(const Plan &plan, const real *raw, const real *at_start, const real *target, double gamma, Size count,
                             Size total, real *delta, real *share = nullptr) {
  const Size K = plan.sizes[plan.layers], columns = plan.columns;
  const real inverse = real(1 / gamma);
  double loss = 0;
  if (plan.loss == MSE) {
    const real share = real(2.0 / (double(total) * K)) * inverse;
    for (Size k = 0; k < K; k++) {
      double row = 0;
      for (Size b = 0; b < count; b++) {
        const Size at = k * columns + b;
        const real miss = (raw[at] - at_start[at]) * inverse - target[at];
        row += double(miss) * miss;
        delta[at] = share * miss;
      }
      loss += row;
    }
    return loss / (double(total) * K);
  }
  for (Size b = 0; b < count; b++) {
    real top = -std::numeric_limits<real>::infinity(), sum = 0, right = 0;
    for (Size k = 0; k < K; k++) {
      const Size at = k * columns + b;
      delta[at] = (raw[at] - at_start[at]) * inverse;
      top = delta[at] > top ? delta[at] : top;
    }
    for (Size k = 0; k < K; k++) {
      const Size at = k * columns + b;
      right += target[at] * (delta[at] - top);
      sum += delta[at] = std::exp(delta[at] - top);
    }
    loss += double(std::log(sum)) - double(right);
    for (Size k = 0; k < K; k++) {
      const Size at = k * columns + b;
      const real p = delta[at] / sum;
      if (share) share[at] = p;
      delta[at] = (p - target[at]) * inverse / real(total);
    }
  }
  return loss / double(total);
}

template <class real> class Network {
  using T = Tiles<real>;
  const Plan &plan;
  const Size L = plan.layers, B = plan.batch, columns = plan.columns;
  real *workspace, **act, **act_transposed, *delta, *below, *gradient;

 public:
  bool ready = false;

  explicit Network(const Plan &plan) : plan(plan) {
    Size widest = 0, largest = 0, sum = 0;
    for (Size l = 0; l <= L; l++) {
      if (plan.leading[l] > widest) widest = plan.leading[l];
      if (l && plan.sizes[l] * plan.leading[l - 1] > largest) largest = plan.sizes[l] * plan.leading[l - 1];
      if (l) sum += plan.leading[l] * (columns + B);
    }
    const Size reals = sum + 2 * widest * columns + largest + 64 * 2 * (L + 2);
    workspace = allocate<real>(reals);
    act = (real **)malloc(2 * (L + 1) * sizeof(real *));
    if (!workspace || !act) return;
    act_transposed = act + L + 1;
    real *next = workspace;
    for (Size l = 1; l <= L; l++) {
      act[l] = next, next += plan.leading[l] * columns;
      act_transposed[l] = next, next += plan.leading[l] * B;
    }
    delta = next, next += widest * columns;
    below = next, next += widest * columns;
    gradient = next;
    ready = true;
  }
  ~Network() { free(workspace), free(act); }

  const real *forward(real *const *weights, const real *x) { return ::forward(plan, weights, x, act); }

  // The loss, with `delta` kept for `backward`.
  double loss(const real *raw, const real *at_start, const real *target, double gamma) {
    return loss_and_delta(plan, raw, at_start, target, gamma, B, B, delta);
  }

  // One update of the weights from `delta`; x_transposed are the inputs (batch, leading D).
  void backward(real *const *weights, real *const *memory, const real *x_transposed, const double *step, double epsilon, Size number) {
    for (Size l = 1; l < L; l++) T::transpose(plan.sizes[l], B, act[l], columns, act_transposed[l], plan.leading[l]);
    for (Size l = L - 1; l >= 0; l--) {
      const Size out = plan.sizes[l + 1], in = plan.sizes[l], lead = plan.leading[l];
      const real scale = plan.scale[l];
      if (l > 0) {  // δ of the layer below, before these weights move
        if (plan.activation == RELU)
          T::template product<SET_WHERE_POSITIVE>(in, columns, out, weights[l], 1, lead, delta, columns, below, columns, scale, 0, act[l]);
        else
          T::template product<SET>(in, columns, out, weights[l], 1, lead, delta, columns, below, columns, scale);
        if (plan.activation == TANH) T::multiply_by_tanh_slope(in * columns, below, act[l]);
      }
      move(weights[l], memory, l, l ? act_transposed[l] : x_transposed, out, lead, scale, real(step[l]), real(epsilon), number);
      real *swap = delta;
      delta = below, below = swap;
    }
  }

 private:
  void move(real *weight, real *const *memory, Size l, const real *input, Size out, Size lead, real scale, real step, real epsilon,
            Size number) {
    const Size n = out * lead;
    if (plan.optimizer == SGD) {
      T::template product<ADD>(out, lead, B, delta, columns, 1, input, lead, weight, lead, -step * scale);
    } else if (plan.optimizer == MOMENTUM) {
      real *v = memory[l];
      T::template product<DECAY_AND_ADD>(out, lead, B, delta, columns, 1, input, lead, v, lead, scale, real(plan.beta));
      for (Size i = 0; i < n; i++) weight[i] -= step * v[i];
    } else {
      T::template product<SET>(out, lead, B, delta, columns, 1, input, lead, gradient, lead, scale);
      if (plan.optimizer == SIGNSGD) {
        for (Size i = 0; i < n; i++) weight[i] -= step * (real(gradient[i] > 0) - real(gradient[i] < 0));
      } else {
        real *m = memory[l], *v = memory[L + l];
        const real b1 = real(plan.beta), b2 = real(plan.beta2), c1 = real(1 - plan.beta), c2 = real(1 - plan.beta2);
        const real m_share = real(1 / (1 - std::pow(plan.beta, double(number + 1))));
        const real v_share = real(1 / (1 - std::pow(plan.beta2, double(number + 1))));
        for (Size i = 0; i < n; i++) {
          const real g = gradient[i];
          m[i] = b1 * m[i] + c1 * g;
          v[i] = b2 * v[i] + c2 * g * g;
          weight[i] -= step * (m_share * m[i]) / (std::sqrt(v_share * v[i]) + epsilon);
        }
      }
    }
  }
};

// Train `count` networks, those numbered in `which`, for a block of steps.
//   weights (layers) and memory (memories · layers): the first element of a stack (networks, out, leading) each.
//   gamma, eta, epsilon: by network. loss (steps, count): at θ before each step; NaN from the first step that is not finite, at
//   which the network is left as it is. Returns 0, or 1 where memory for the activations could not be had.
template <class real>
static int train(const Plan &plan, const Data<real> &data, Size count, const int64_t *which, real *const *weights, real *const *memory,
                 const double *gamma, const double *eta, const double *epsilon, double *loss) {
  Network<real> network(plan);
  const Size L = plan.layers, memories = plan.optimizer == ADAM ? 2 : plan.optimizer == MOMENTUM ? 1 : 0;
  real **mine = (real **)malloc(3 * L * sizeof(real *));
  double *step = (double *)malloc(L * sizeof(double));
  const bool ready = network.ready && mine && step;
  for (Size c = 0; ready && c < count; c++) {
    const Size cell = which[c];
    for (Size l = 0; l < L; l++) {
      const Size stride = plan.sizes[l + 1] * plan.leading[l];
      mine[l] = weights[l] + cell * stride;
      for (Size m = 0; m < memories; m++) mine[(m + 1) * L + l] = memory[m * L + l] + cell * stride;
    }
    bool finite = true;
    for (Size t = 0; t < data.steps; t++) {
      double &now = loss[t * count + c];
      now = std::numeric_limits<double>::quiet_NaN();
      if (!finite) continue;
      const Size at = t * plan.sizes[L] * plan.columns;
      const real *raw = network.forward(mine, data.x + t * plan.sizes[0] * plan.columns);
      const double found = network.loss(raw, data.at_start + at, data.target + at, gamma[cell]);
      finite = std::isfinite(found);
      if (finite) now = found;
      if (!finite || t >= data.updates) continue;
      for (Size l = 0; l < L; l++) step[l] = eta[cell] * plan.step_factor[l] * data.factor[t];
      network.backward(mine, mine + L, data.x_transposed + t * plan.batch * plan.leading[0], step, epsilon[cell], data.number + t);
    }
  }
  free(mine), free(step);
  return ready ? 0 : 1;
}

// f̃ (steps, K, columns) of one network on inputs (steps, D, columns).
template <class real>
static int outputs(const Plan &plan, Size steps, real *const *weights, const real *x, real *out) {
  Network<real> network(plan);
  if (!network.ready) return 1;
  const Size n = plan.sizes[plan.layers] * plan.columns;
  for (Size t = 0; t < steps; t++) {
    const real *raw = network.forward(weights, x + t * plan.sizes[0] * plan.columns);
    for (Size i = 0; i < n; i++) out[t * n + i] = raw[i];
  }
  return 0;
}

