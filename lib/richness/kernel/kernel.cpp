// The doors of the kernel, in float and in double: `train_float`, `train_double`, `outputs_float`, … See network.h, curvature.h.

#include "curvature.h"
#include "stream.h"

#define EXPORT(real) \
  extern "C" int train_##real(const Plan *plan, const Data<real> *data, int64_t count, const int64_t *which, real *const *weights, \
                              real *const *memory, const double *gamma, const double *eta, const double *epsilon, double *loss) { \
    return train<real>(*plan, *data, count, which, weights, memory, gamma, eta, epsilon, loss); \
  } \
  extern "C" int outputs_##real(const Plan *plan, int64_t steps, real *const *weights, const real *x, real *out) { \
    return outputs<real>(*plan, steps, weights, x, out); \
  } \
  extern "C" int prepare_curvature_##real(const Plan *plan, const Samples<real> *samples, int64_t count, real *weights, \
                                          const double *gamma, real *state, real *gradient, double *loss) { \
    return prepare_curvature<real>(*plan, *samples, count, weights, gamma, state, gradient, loss); \
  } \
  extern "C" int multiply_by_hessian_##real(const Plan *plan, const Samples<real> *samples, int64_t count, real *weights, \
                                            const double *gamma, const real *state, const double *loss, real *vector, \
                                            int64_t stride, real *product) { \
    return multiply_by_hessian<real>(*plan, *samples, count, weights, gamma, state, loss, vector, stride, product); \
  }
EXPORT(float)
EXPORT(double)

// Reals of the curvature's state for a network and a block of samples.
extern "C" int64_t curvature_size(const Plan *plan) { return Kept(*plan).size; }

// The streams, for the tests that hold them to richness.rng and richness.data: the page draws by them.
extern "C" void words(uint32_t seed, uint32_t name, uint32_t step, int64_t pairs, uint32_t *even, uint32_t *odd) {
  draw_words({seed, name, step}, 0, pairs, even, odd);
}
extern "C" void normals(uint32_t seed, uint32_t name, uint32_t step, int64_t count, double *out) {
  draw_normals({seed, name, step}, 0, count, out);
}
extern "C" void batch(int task, const char *part, uint32_t seed, uint32_t step, int64_t count, const unsigned char *bytes, float *x,
                      float *y) {
  const Digits digits(bytes);
  draw_batch(STREAMS[task], part, seed, step, count, &digits, x, y);
}
extern "C" void held_out(const unsigned char *bytes, int small, float *x, float *y) { Digits(bytes).hold_out(small, x, y); }
