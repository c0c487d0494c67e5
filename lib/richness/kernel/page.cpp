// The kernel's doors for a page, compiled to WebAssembly: one run at a time.
//
// See door.h; the doors of the streams are in page_draws.cpp.

#include "curvature.h"
#include "door.h"
#include "elementary.h"
#include "gauges.h"
#include "network.h"
#include "stream.h"


// Those of the standard library bring all that it prints when they fail.
extern "C" void __cxa_pure_virtual() { __builtin_trap(); }
void *operator new(size_t bytes) { return malloc(bytes); }
void operator delete(void *address) noexcept { free(address); }
void operator delete(void *address, size_t) noexcept { free(address); }

constexpr int DEEPEST = 8, OBSERVED = 64;  // layers; samples of a block on which a run is observed

// What a run is asked for, and f̃₀'s network with it. Layers are scaled as richness.networks.parameterization says.
struct Ask {
  int depth, width, batch, activation, loss, optimizer, task;
  uint32_t seed;
  double gamma, beta, beta2, epsilon;  // epsilon: Adam's, at γ = N = 1
};

struct Run {
  const Ask ask;
  bool ready = false;

  explicit Run(const Ask &ask) : ask(ask) {}
  virtual ~Run() {}
  virtual void *outputs_at_start(const float *samples, Size steps) = 0;
  virtual bool advance(const float *samples, const void *at_start, Size together, Size first, Size steps, Size updates, Size number,
                       double eta, double *loss) = 0;
  virtual bool guess(const float *samples, const void *at_start, Size together, Size first, Size count, double *out) = 0;
  virtual void read_weights(double *out) const = 0;
  virtual void write_weights(const double *from) = 0;
  virtual bool observe_loss(const float *probe, Size probes, const float *test, Size tests) = 0;
  virtual bool observe_features(const float *samples, Size together, Size count) = 0;
  virtual bool test(double *out) = 0;
  virtual bool gradient(double *out) = 0;
  virtual void product(const double *v, double *out) = 0;
  virtual void read_gauges(double *out) = 0;
};

// Samples in blocks as the kernel takes them: `real`, rows filled up, and transposed; f̃₀ on them. See `Data`.
template <class real> struct Blocks {
  using T = Tiles<real>;
  Plan plan;  // of the run's network, so many samples a block
  Size count = 0;
  real *x = nullptr, *x_transposed = nullptr, *target = nullptr, *at_start = nullptr;

  Blocks(const Plan &of, Size batch) : plan(of) { plan.batch = batch, plan.columns = round_up(batch); }
  ~Blocks() { free(x), free(x_transposed), free(target), free(at_start); }

  static Size round_up(Size count) { return (count + T::LANES - 1) / T::LANES * T::LANES; }
  Size blocks() const { return (count + plan.batch - 1) / plan.batch; }
  Size filled(Size block) const { return count - block * plan.batch < plan.batch ? count - block * plan.batch : plan.batch; }

  // Room for so many blocks; false where there is no memory.
  bool grow(Size blocks) {
    const Size outputs = blocks * plan.sizes[plan.layers] * plan.columns, inputs = blocks * plan.columns * plan.leading[0];
    free(x), free(x_transposed), free(target), free(at_start);
    x = allocate<real>(inputs), x_transposed = allocate<real>(inputs);
    target = allocate<real>(outputs), at_start = allocate<real>(outputs);
    return x && x_transposed && target && at_start;
  }

  // Inputs (total, D) and targets (total, K).
  void take(const float *rows, const float *wanted, Size total) {
    const Size D = plan.sizes[0], K = plan.sizes[plan.layers], B = plan.batch, n = plan.columns, lead = plan.leading[0];
    count = total;
    for (Size t = 0; t < blocks(); t++) {
      real *mine = x_transposed + t * B * lead, *across = target + t * K * n;
      for (Size b = 0; b < filled(t); b++) {
        for (Size d = 0; d < D; d++) mine[b * lead + d] = *rows++;
        for (Size k = 0; k < K; k++) across[k * n + b] = *wanted++;
      }
      T::transpose(filled(t), D, mine, lead, x + t * D * n, n);
    }
  }

  // Of inputs (together, D) and then targets (together, K) the first `wanted`, with f̃₀; false where there is no memory.
  bool fill(const float *samples, Size together, Size wanted, real *const *start) {
    if (!grow((wanted + plan.batch - 1) / plan.batch)) return false;
    take(samples, samples + together * plan.sizes[0], wanted);
    return !outputs<real>(plan, blocks(), start, x, at_start);
  }
};

template <class real> class RunOf : public Run {
  static constexpr bool EXACT = sizeof(real) == 8;  // a centred kernel is a small difference of large sums: in double alone
  const Size L = ask.depth, B = ask.batch;
  int64_t sizes[DEEPEST + 1], leading[DEEPEST + 1];
  double scale[DEEPEST], step_factor[DEEPEST];
  Plan plan;
  real *start[DEEPEST] = {}, *weights[DEEPEST] = {}, *memory[2 * DEEPEST] = {};
  Blocks<real> *block = nullptr, *probe = nullptr, *held_out = nullptr, *features = nullptr;
  Gauges<real> *gauge = nullptr;
  Samples<real> samples = {};
  Curvature<real> *curvature = nullptr;
  Size state_size = 0;
  real *state = nullptr, *rows[DEEPEST] = {}, *direction[DEEPEST] = {};  // of `curvature`; as the weights lie
  Size room = 0;  // steps of the block

 public:
  explicit RunOf(const Ask &ask) : Run(ask) {
    plan = {L, B, Blocks<real>::round_up(B), ask.loss, ask.activation, ask.optimizer, ask.beta, ask.beta2, sizes, leading, scale, step_factor};
    const bool by_sign = ask.optimizer == SIGNSGD || ask.optimizer == ADAM;
    for (Size l = 0; l <= L; l++) {
      sizes[l] = l == 0 ? STREAMS[ask.task].inputs : l < L ? ask.width : STREAMS[ask.task].outputs;
      leading[l] = Blocks<real>::round_up(sizes[l]);
    }
    ready = true;
    for (Size l = 0; l < L; l++) {
      scale[l] = l + 1 < L ? 1 / std::sqrt(double(sizes[l])) : 1. / ask.width;
      step_factor[l] = by_sign ? 1 / (scale[l] * sizes[l]) : ask.width;
      for (real **one : {&start[l], &weights[l], &memory[l], &memory[L + l]}) ready &= !!(*one = allocate<real>(elements(l)));
    }
    if (ready) initialise();
  }

  ~RunOf() {
    for (Size l = 0; l < L; l++) free(start[l]), free(weights[l]), free(memory[l]), free(memory[L + l]);
    for (Size l = 0; l < L; l++) free(rows[l]), free(direction[l]);
    free(state);
    delete curvature, delete gauge, delete block, delete probe, delete held_out, delete features;
  }

  // f̃₀ (steps, K, columns) on samples, nullptr where there is no memory; `free` takes it back.
  void *outputs_at_start(const float *samples, Size steps) override {
    real *out = allocate<real>(steps * plan.sizes[L] * plan.columns);
    if (!out || !prepare(samples, steps, 0, steps) || outputs<real>(plan, steps, start, block->x, out)) return free(out), nullptr;
    return out;
  }

  // `steps` losses, and as many updates or one less, from step `first` of the `together` whose samples lie there.
  bool advance(const float *samples, const void *at_start, Size together, Size first, Size steps, Size updates, Size number, double eta,
               double *loss) override {
    if (!prepare(samples, together, first, steps)) return false;
    const double one[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, epsilon = ask.epsilon / (ask.gamma * ask.width);
    const real *f0 = (const real *)at_start + first * plan.sizes[L] * plan.columns;
    const Data<real> data = {block->x, block->x_transposed, block->target, f0, one, steps, updates, number};
    const int64_t which = 0;
    return !train<real>(plan, data, 1, &which, weights, memory, &ask.gamma, &eta, &epsilon, loss);
  }

  // f (count, K) of the first samples of a step.
  bool guess(const float *samples, const void *at_start, Size together, Size first, Size count, double *out) override {
    const Size K = plan.sizes[L], n = plan.columns;
    real *raw = allocate<real>(K * n);
    const real *f0 = (const real *)at_start + first * K * n;
    const bool done = raw && prepare(samples, together, first, 1) && !outputs<real>(plan, 1, weights, block->x, raw);
    for (Size b = 0; done && b < count; b++)
      for (Size k = 0; k < K; k++) out[b * K + k] = (raw[k * n + b] - f0[k * n + b]) / ask.gamma;
    free(raw);
    return done;
  }

  void read_weights(double *out) const override {
    each_weight([&](Size l, Size at) { *out++ = weights[l][at]; });
  }

  void write_weights(const double *from) override {
    each_weight([&](Size l, Size at) { weights[l][at] = real(*from++); });
  }

  // The samples on which curvature is measured, and those that are held out: of a run's weights from then on.
  bool observe_loss(const float *probe_samples, Size probes, const float *test_samples, Size tests) override {
    probe = new Blocks<real>(plan, OBSERVED), held_out = new Blocks<real>(plan, OBSERVED);
    return probe->fill(probe_samples, probes, probes, start) && held_out->fill(test_samples, tests, tests, start);
  }

  // The first `count` of the probe's, on which kernel and drift are; what the weights are now, is the start.
  bool observe_features(const float *samples, Size together, Size count) override {
    if constexpr (EXACT) {
      features = new Blocks<real>(plan, count);
      if (!features->fill(samples, together, count, weights)) return false;
      gauge = new Gauges<real>(features->plan, weights, features->x);
      return gauge->ready;
    }
    return false;
  }

  // Held-out loss, and the share of largest outputs that stand where the target's one does.
  bool test(double *out) override {
    const Blocks<real> &set = *held_out;
    Network<real> network(set.plan);
    real *delta = allocate<real>(sizes[L] * set.plan.columns);
    out[0] = out[1] = 0;
    for (Size t = 0; network.ready && delta && t < set.blocks(); t++) {
      const Size at = t * sizes[L] * set.plan.columns, filled = set.filled(t);
      const real *raw = network.forward(weights, set.x + t * sizes[0] * set.plan.columns), *f0 = set.at_start + at, *y = set.target + at;
      out[0] += loss_and_delta(set.plan, raw, f0, y, ask.gamma, filled, set.count, delta);
      out[1] += count_right(raw, f0, y, set.plan.columns, filled);
    }
    out[1] /= set.count;
    free(delta);
    return network.ready && delta;
  }

  // The gradient of the loss on the probe set; what products need besides is kept.
  bool gradient(double *out) override {
    if (!curvature && !open_curvature()) return false;
    memset(state, 0, state_size * sizeof(real));
    clear(rows);
    curvature->prepare(weights, ask.gamma, state, rows);
    each_weight([&](Size l, Size at) { *out++ = rows[l][at]; });
    return true;
  }

  // The Hessian at the weights of the last `gradient`, times v.
  void product(const double *v, double *out) override {
    each_weight([&](Size l, Size at) { direction[l][at] = real(*v++); });
    clear(rows);
    curvature->multiply(weights, ask.gamma, state, direction, rows);
    each_weight([&](Size l, Size at) { *out++ = rows[l][at]; });
  }

  void read_gauges(double *out) override {
    if constexpr (EXACT) out[0] = gauge->read(weights, features->x, features->target, out + 1);
  }

 private:
  Size elements(Size l) const { return sizes[l + 1] * leading[l]; }

  // Layer by layer, row by row, without what rows are filled up with.
  template <class Visit> void each_weight(Visit visit) const {
    for (Size l = 0; l < L; l++)
      for (Size i = 0; i < sizes[l + 1]; i++)
        for (Size j = 0; j < sizes[l]; j++) visit(l, i * leading[l] + j);
  }

  void clear(real *const *layers) {
    for (Size l = 0; l < L; l++) memset(layers[l], 0, elements(l) * sizeof(real));
  }

  bool open_curvature() {
    const Blocks<real> &set = *probe;
    samples = {set.x, set.x_transposed, set.target, set.at_start, set.blocks(), set.count};
    state_size = set.blocks() * Kept(set.plan).size;
    bool there = !!(state = allocate<real>(state_size));
    for (Size l = 0; l < L; l++)
      there &= (rows[l] = allocate<real>(elements(l))) && (direction[l] = allocate<real>(elements(l)));
    if (there) curvature = new Curvature<real>(set.plan, samples);
    return there && curvature->ready;
  }

  Size count_right(const real *raw, const real *f0, const real *target, Size columns, Size count) const {
    Size right = 0;
    for (Size b = 0; b < count; b++) {
      Size best = 0;
      for (Size k = 1; k < sizes[L]; k++)
        if (raw[k * columns + b] - f0[k * columns + b] > raw[best * columns + b] - f0[best * columns + b]) best = k;
      right += target[best * columns + b] == 1;
    }
    return right;
  }

  void initialise() {
    double row[2 * TOGETHER];
    for (Size l = 0; l < L; l++) {
      const char layer[] = {char('0' + l), 0};
      const Draws draws{ask.seed, extend_name(extend_name(NAMELESS, "mlp/weight"), layer), 0};
      const Size count = sizes[l + 1] * sizes[l];
      for (Size i = 0; i < count; i++) {
        if (i % (2 * TOGETHER) == 0) draw_normals(draws, i, count - i < 2 * TOGETHER ? count - i : 2 * TOGETHER, row);
        start[l][i / sizes[l] * leading[l] + i % sizes[l]] = real(row[i % (2 * TOGETHER)]);
      }
      memcpy(weights[l], start[l], elements(l) * sizeof(real));
    }
  }

  // Some steps of those whose samples lie together.
  bool prepare(const float *samples, Size together, Size first, Size steps) {
    if (!block) block = new Blocks<real>(plan, B);
    if (steps > room) room = block->grow(steps) ? steps : 0;
    if (room) block->take(samples + first * B * sizes[0], samples + (together * sizes[0] + first * sizes[L]) * B, steps * B);
    return room;
  }
};

static Run *run;

// Memory of `bytes`, 0 where there is no more; and back again.
DOOR(reserve) void *reserve(uint32_t bytes) { return malloc(bytes); }
DOOR(release) void release(void *address) { free(address); }

// A new run at step 0, the one before forgotten; 0 where there is no memory for it.
DOOR(begin) int begin(int exact, int depth, int width, int batch, int activation, int loss, int optimizer, int task, uint32_t seed,
                      double gamma, double beta, double beta2, double epsilon) {
  const Ask ask{depth, width, batch, activation, loss, optimizer, task, seed, gamma, beta, beta2, epsilon};
  delete run;
  run = exact ? (Run *)new RunOf<double>(ask) : (Run *)new RunOf<float>(ask);
  return run->ready;
}
DOOR(outputs_at_start) void *outputs_at_start(const float *samples, int steps) { return run->outputs_at_start(samples, steps); }
DOOR(advance) int advance(const float *samples, const void *at_start, int together, int first, int steps, int updates, int number,
                          double eta, double *loss) {
  return run->advance(samples, at_start, together, first, steps, updates, number, eta, loss);
}
DOOR(guess) int guess(const float *samples, const void *at_start, int together, int first, int count, double *out) {
  return run->guess(samples, at_start, together, first, count, out);
}
DOOR(read_weights) void read_weights(double *out) { run->read_weights(out); }
DOOR(write_weights) void write_weights(const double *from) { run->write_weights(from); }

DOOR(observe_loss) int observe_loss(const float *probe, int probes, const float *test, int tests) {
  return run->observe_loss(probe, probes, test, tests);
}
DOOR(observe_features) int observe_features(const float *samples, int together, int count) {
  return run->observe_features(samples, together, count);
}
DOOR(test) int test(double *out) { return run->test(out); }
DOOR(gradient) int gradient(double *out) { return run->gradient(out); }
DOOR(product) void product(const double *v, double *out) { run->product(v, out); }
DOOR(read_gauges) void read_gauges(double *out) { run->read_gauges(out); }
