// The doors of the kernel, in float and in double: `train_float`, `train_double`, `outputs_float`, … See network.h.

#include "network.h"

#define EXPORT(real) \
  extern "C" int train_##real(const Plan *plan, const Data<real> *data, int64_t count, const int64_t *which, real *const *weights, \
                              real *const *memory, const double *gamma, const double *eta, const double *epsilon, double *loss) { \
    return train<real>(*plan, *data, count, which, weights, memory, gamma, eta, epsilon, loss); \
  } \
  extern "C" int outputs_##real(const Plan *plan, int64_t steps, real *const *weights, const real *x, real *out) { \
    return outputs<real>(*plan, steps, weights, x, out); \
  }
EXPORT(float)
EXPORT(double)
