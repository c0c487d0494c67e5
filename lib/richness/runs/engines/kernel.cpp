// Training steps of multilayer perceptrons, one network after another, each for many steps while its weights lie in cache.
//
// The mathematics is that of engines/fused.py, which says why each product is what it is. Here every product is one loop over
// tiles that stay in registers, with what follows it (scale, activation, its derivative, the step itself) done as a tile is
// stored. A network's arithmetic never depends on which others are trained beside it.
//
// Layouts, row by row: weights (out, leading), leading = in rounded up to whole vectors; activations (features, columns),
// columns = batch rounded up; their transposes (batch, leading). Every row begins on a vector boundary.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <type_traits>

#define UNROLL _Pragma("GCC unroll 16")

#ifdef __clang__  // which shuffles by constants only
#define SHUFFLE(a, b, index) \
  ([&] { auto out = a; for (int j = 0; j < LANES; j++) out[j] = index[j] < LANES ? a[index[j]] : b[index[j] - LANES]; return out; }())
#else
#define SHUFFLE(a, b, index) __builtin_shuffle(a, b, index)
#endif

enum Loss { MSE, CROSS_ENTROPY };
enum Activation { RELU, LINEAR };
enum Optimizer { SGD, MOMENTUM, SIGNSGD, ADAM };
enum Store { SET, SET_RELU, SET_WHERE_POSITIVE, ADD, DECAY_AND_ADD };

struct Plan {  // mirrored in compiled.py
  long layers, batch, columns, loss, activation, optimizer;
  double beta, beta2;
  const long *sizes, *leading;         // (layers + 1): D, N, …, N, K, and the same rounded up to whole vectors
  const double *scale, *step_factor;   // (layers): forward multiplier; raw step over η
};

template <class real> struct Data {  // the batches of a block of steps, the same for every network
  const real *x, *x_transposed, *target, *at_start;  // (steps, D, columns), (steps, batch, leading D), (steps, K, columns) twice
  const double *factor;                              // (steps): the schedule's
  long steps, updates, number;                       // the first `updates` steps move the weights; `number` updates before them
};

template <class real> struct Tiles {
  static constexpr long LANES = 64 / sizeof(real);
  typedef real Vector __attribute__((vector_size(64)));
  typedef std::conditional_t<sizeof(real) == 4, int, long long> Lane;
  typedef Lane Index __attribute__((vector_size(64)));

  // out[i, j] (R rows, C vectors) from Σ_k a[i, k] b[k, j]; a's element (i, k) lies at a[i·ai + k·ak].
  template <Store store, int R, int C>
  static inline __attribute__((always_inline)) void tile(long K, const real *a, long ai, long ak, const real *b, long bk, real *out,
                                                         long oi, real alpha, real decay, const real *where) {
    Vector sum[R][C];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] = Vector{};
    for (long k = 0; k < K; k++) {
      Vector row[C];
      UNROLL for (int c = 0; c < C; c++) row[c] = *(const Vector *)(b + k * bk + c * LANES);
      UNROLL for (int r = 0; r < R; r++) {
        const real factor = a[r * ai + k * ak];
        UNROLL for (int c = 0; c < C; c++) sum[r][c] += factor * row[c];
      }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) {
      Vector *place = (Vector *)(out + r * oi + c * LANES), value = alpha * sum[r][c];
      if (store == SET_RELU) value = value < 0 ? Vector{} : value;  // so written that NaN passes, as in torch
      if (store == SET_WHERE_POSITIVE) value = *(const Vector *)(where + r * oi + c * LANES) > 0 ? value : Vector{};
      if (store == ADD) value += *place;
      if (store == DECAY_AND_ADD) value += decay * *place;
      *place = value;
    }
  }

  // A square of LANES rows, transposed: rows i and i + d exchange the lanes whose bit d differs from theirs, d = 1, 2, 4, …
  static void transpose_square(const real *from, long stride, real *to, long lead) {
    Vector row[LANES];
    UNROLL for (int i = 0; i < LANES; i++) row[i] = *(const Vector *)(from + i * stride);
    UNROLL for (int d = 1; d < LANES; d *= 2) {
      Index low, high;
      UNROLL for (int j = 0; j < LANES; j++) low[j] = j & d ? LANES + (j ^ d) : j, high[j] = j & d ? LANES + j : j ^ d;
      UNROLL for (int i = 0; i < LANES; i++) {
        if (i & d) continue;
        const Vector a = row[i], b = row[i + d];
        row[i] = SHUFFLE(a, b, low), row[i + d] = SHUFFLE(a, b, high);
      }
    }
    UNROLL for (int i = 0; i < LANES; i++) *(Vector *)(to + i * lead) = row[i];
  }

  // out (M, N) from a (M, K) times b (K, N); N counts whole vectors' elements.
  template <Store store>
  static void product(long M, long N, long K, const real *a, long ai, long ak, const real *b, long bk, real *out, long oi, real alpha,
                      real decay = 0, const real *where = nullptr) {
    long j = 0;
#define ROWS(R, C) \
  for (; i + R <= M; i += R) \
  tile<store, R, C>(K, a + i * ai, ai, ak, b + j, bk, out + i * oi + j, oi, alpha, decay, where + i * oi + j)
    for (; j + 4 * LANES <= N; j += 4 * LANES) {
      long i = 0;
      ROWS(6, 4);
      ROWS(2, 4);
      ROWS(1, 4);
    }
    for (; j < N; j += LANES) {
      long i = 0;
      ROWS(12, 1);
      ROWS(4, 1);
      ROWS(1, 1);
    }
#undef ROWS
  }
};

template <class real> class Network {
  using T = Tiles<real>;
  const Plan &plan;
  const long L = plan.layers, B = plan.batch, columns = plan.columns;
  real *workspace, **act, **act_transposed, *delta, *below, *gradient;

 public:
  bool ready = false;

  explicit Network(const Plan &plan) : plan(plan) {
    long widest = 0, largest = 0, sum = 0;
    for (long l = 0; l <= L; l++) {
      if (plan.leading[l] > widest) widest = plan.leading[l];
      if (l && plan.sizes[l] * plan.leading[l - 1] > largest) largest = plan.sizes[l] * plan.leading[l - 1];
      if (l) sum += plan.leading[l] * (columns + B);
    }
    const long reals = sum + 2 * widest * columns + largest + 64 * 2 * (L + 2);
    workspace = (real *)std::aligned_alloc(64, (reals * sizeof(real) + 63) / 64 * 64);
    act = (real **)std::malloc(2 * (L + 1) * sizeof(real *));
    if (!workspace || !act) return;
    act_transposed = act + L + 1;
    for (long i = 0; i < reals; i++) workspace[i] = 0;
    real *next = workspace;
    for (long l = 1; l <= L; l++) {
      act[l] = next, next += plan.leading[l] * columns;
      act_transposed[l] = next, next += plan.leading[l] * B;
    }
    delta = next, next += widest * columns;
    below = next, next += widest * columns;
    gradient = next;
    ready = true;
  }
  ~Network() { std::free(workspace), std::free(act); }

  // f̃ (K, columns), neither centred nor divided by γ, of inputs (D, columns).
  const real *forward(real *const *weights, const real *x) {
    const real *input = x;
    for (long l = 0; l < L; l++) {
      const long out = plan.sizes[l + 1], in = plan.sizes[l], lead = plan.leading[l];
      const real scale = plan.scale[l];
      if (l + 1 < L && plan.activation == RELU)
        T::template product<SET_RELU>(out, columns, in, weights[l], lead, 1, input, columns, act[l + 1], columns, scale);
      else
        T::template product<SET>(out, columns, in, weights[l], lead, 1, input, columns, act[l + 1], columns, scale);
      input = act[l + 1];
    }
    return input;
  }

  // The loss at outputs f = (f̃ − f̃₀)/γ, and `delta` = ∂loss/∂f̃.
  double loss_and_delta(const real *raw, const real *at_start, const real *target, double gamma) {
    const long K = plan.sizes[L];
    const real inverse = real(1 / gamma);
    double loss = 0;
    if (plan.loss == MSE) {
      const real share = real(2.0 / (double(B) * K)) * inverse;
      for (long k = 0; k < K; k++) {
        double row = 0;
        for (long b = 0; b < B; b++) {
          const long at = k * columns + b;
          const real miss = (raw[at] - at_start[at]) * inverse - target[at];
          row += double(miss) * miss;
          delta[at] = share * miss;
        }
        loss += row;
      }
      return loss / (double(B) * K);
    }
    for (long b = 0; b < B; b++) {
      real top = -std::numeric_limits<real>::infinity(), total = 0, right = 0;
      for (long k = 0; k < K; k++) {
        const long at = k * columns + b;
        delta[at] = (raw[at] - at_start[at]) * inverse;
        top = delta[at] > top ? delta[at] : top;
      }
      for (long k = 0; k < K; k++) {
        const long at = k * columns + b;
        right += target[at] * (delta[at] - top);
        total += delta[at] = std::exp(delta[at] - top);
      }
      loss += double(std::log(total)) - double(right);
      for (long k = 0; k < K; k++) {
        const long at = k * columns + b;
        delta[at] = (delta[at] / total - target[at]) * inverse / real(B);
      }
    }
    return loss / double(B);
  }

  // One update of the weights from `delta`; x_transposed are the inputs (batch, leading D).
  void backward(real *const *weights, real *const *memory, const real *x_transposed, const double *step, double epsilon, long number) {
    for (long l = 1; l < L; l++) transpose(plan.sizes[l], act[l], act_transposed[l], plan.leading[l]);
    for (long l = L - 1; l >= 0; l--) {
      const long out = plan.sizes[l + 1], in = plan.sizes[l], lead = plan.leading[l];
      const real scale = plan.scale[l];
      if (l > 0) {  // δ of the layer below, before these weights move
        if (plan.activation == RELU)
          T::template product<SET_WHERE_POSITIVE>(in, columns, out, weights[l], 1, lead, delta, columns, below, columns, scale, 0, act[l]);
        else
          T::template product<SET>(in, columns, out, weights[l], 1, lead, delta, columns, below, columns, scale);
      }
      move(weights[l], memory, l, l ? act_transposed[l] : x_transposed, out, lead, scale, real(step[l]), real(epsilon), number);
      real *swap = delta;
      delta = below, below = swap;
    }
  }

 private:
  void move(real *weight, real *const *memory, long l, const real *input, long out, long lead, real scale, real step, real epsilon,
            long number) {
    const long n = out * lead;
    if (plan.optimizer == SGD) {
      T::template product<ADD>(out, lead, B, delta, columns, 1, input, lead, weight, lead, -step * scale);
    } else if (plan.optimizer == MOMENTUM) {
      real *v = memory[l];
      T::template product<DECAY_AND_ADD>(out, lead, B, delta, columns, 1, input, lead, v, lead, scale, real(plan.beta));
      for (long i = 0; i < n; i++) weight[i] -= step * v[i];
    } else {
      T::template product<SET>(out, lead, B, delta, columns, 1, input, lead, gradient, lead, scale);
      if (plan.optimizer == SIGNSGD) {
        for (long i = 0; i < n; i++) weight[i] -= step * (real(gradient[i] > 0) - real(gradient[i] < 0));
      } else {
        real *m = memory[l], *v = memory[L + l];
        const real b1 = real(plan.beta), b2 = real(plan.beta2), c1 = real(1 - plan.beta), c2 = real(1 - plan.beta2);
        const real m_share = real(1 / (1 - std::pow(plan.beta, double(number + 1))));
        const real v_share = real(1 / (1 - std::pow(plan.beta2, double(number + 1))));
        for (long i = 0; i < n; i++) {
          const real g = gradient[i];
          m[i] = b1 * m[i] + c1 * g;
          v[i] = b2 * v[i] + c2 * g * g;
          weight[i] -= step * (m_share * m[i]) / (std::sqrt(v_share * v[i]) + epsilon);
        }
      }
    }
  }

  // (rows, columns) to (batch, leading).
  void transpose(long rows, const real *from, real *to, long lead) const {
    for (long i = 0; i < rows; i += T::LANES)
      for (long b = 0; b < B; b += T::LANES) {
        const long high = std::min(rows - i, T::LANES), wide = std::min(B - b, T::LANES);
        if (high == T::LANES && wide == T::LANES)
          T::transpose_square(from + i * columns + b, columns, to + b * lead + i, lead);
        else
          for (long c = 0; c < wide; c++)
            for (long r = 0; r < high; r++) to[(b + c) * lead + i + r] = from[(i + r) * columns + b + c];
      }
  }
};

// Train `count` networks, those numbered in `which`, for a block of steps.
//   weights (layers) and memory (memories · layers): the first element of a stack (networks, out, leading) each.
//   gamma, eta, epsilon: by network. loss (steps, count): at θ before each step; NaN from the first step that is not finite, at
//   which the network is left as it is. Returns 0, or 1 where memory for the activations could not be had.
template <class real>
static int train(const Plan &plan, const Data<real> &data, long count, const long *which, real *const *weights, real *const *memory,
                 const double *gamma, const double *eta, const double *epsilon, double *loss) {
  Network<real> network(plan);
  const long L = plan.layers, memories = plan.optimizer == ADAM ? 2 : plan.optimizer == MOMENTUM ? 1 : 0;
  real **mine = (real **)std::malloc(3 * L * sizeof(real *));
  double *step = (double *)std::malloc(L * sizeof(double));
  const bool ready = network.ready && mine && step;
  for (long c = 0; ready && c < count; c++) {
    const long cell = which[c];
    for (long l = 0; l < L; l++) {
      const long stride = plan.sizes[l + 1] * plan.leading[l];
      mine[l] = weights[l] + cell * stride;
      for (long m = 0; m < memories; m++) mine[(m + 1) * L + l] = memory[m * L + l] + cell * stride;
    }
    bool finite = true;
    for (long t = 0; t < data.steps; t++) {
      double &now = loss[t * count + c];
      now = std::numeric_limits<double>::quiet_NaN();
      if (!finite) continue;
      const long at = t * plan.sizes[L] * plan.columns;
      const real *raw = network.forward(mine, data.x + t * plan.sizes[0] * plan.columns);
      const double found = network.loss_and_delta(raw, data.at_start + at, data.target + at, gamma[cell]);
      finite = std::isfinite(found);
      if (finite) now = found;
      if (!finite || t >= data.updates) continue;
      for (long l = 0; l < L; l++) step[l] = eta[cell] * plan.step_factor[l] * data.factor[t];
      network.backward(mine, mine + L, data.x_transposed + t * plan.batch * plan.leading[0], step, epsilon[cell], data.number + t);
    }
  }
  std::free(mine), std::free(step);
  return ready ? 0 : 1;
}

// f̃ (steps, K, columns) of one network on inputs (steps, D, columns).
template <class real>
static int outputs(const Plan &plan, long steps, real *const *weights, const real *x, real *out) {
  Network<real> network(plan);
  if (!network.ready) return 1;
  const long n = plan.sizes[plan.layers] * plan.columns;
  for (long t = 0; t < steps; t++) {
    const real *raw = network.forward(weights, x + t * plan.sizes[0] * plan.columns);
    for (long i = 0; i < n; i++) out[t * n + i] = raw[i];
  }
  return 0;
}

#define EXPORT(real) \
  extern "C" int train_##real(const Plan *plan, const Data<real> *data, long count, const long *which, real *const *weights, \
                              real *const *memory, const double *gamma, const double *eta, const double *epsilon, double *loss) { \
    return train<real>(*plan, *data, count, which, weights, memory, gamma, eta, epsilon, loss); \
  } \
  extern "C" int outputs_##real(const Plan *plan, long steps, real *const *weights, const real *x, real *out) { \
    return outputs<real>(*plan, steps, weights, x, out); \
  }
EXPORT(float)
EXPORT(double)
