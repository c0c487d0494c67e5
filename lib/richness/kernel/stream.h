// The streams: (seed, name, step) -> draws, and (seed, step) -> batches, as richness.rng and richness.data make them.
//
// Words are those of rng.py to the bit, and what is drawn by integers alone. Normals agree to 1e-14: logarithm, sine and cosine are
// series here, which the compiler turns into vectors, and libm's there. Normalised digits agree to 2e-6 at 8×8, to 2e-5 at 28×28:
// torch adds the place of a pixel up in another order, float32 holds it to 1e-6 of a pixel, and greys leap by 3 from one to the next.

#pragma once

#include <cmath>

#include "tiles.h"

// Draws -----------------------------------------------------------------------------------------------------------------

constexpr uint32_t NAMELESS = 0x811c9dc5;  // FNV-1a, 32 bits: the second half of a Threefry key

constexpr uint32_t extend_name(uint32_t name, const char *more) {
  for (; *more; more++) name = (name ^ (unsigned char)*more) * 0x01000193u;
  return name;
}

struct Draws {  // who asks, for which run and when
  uint32_t seed, name, step;

  Draws of(const char *more) const { return {seed, extend_name(name, more), step}; }
};

// Threefry-2x32-20: the two words of `pairs` counters (first, step), (first + 1, step), …
static void draw_words(const Draws &draws, uint32_t first, Size pairs, uint32_t *__restrict even, uint32_t *__restrict odd) {
  const uint32_t key[3] = {draws.seed, draws.name, draws.seed ^ draws.name ^ 0x1bd11bdau};
  constexpr int ROTATION[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  for (Size i = 0; i < pairs; i++) {
    uint32_t x0 = first + uint32_t(i) + key[0], x1 = draws.step + key[1];
    UNROLL for (int block = 0; block < 5; block++) {
      UNROLL for (int round = 0; round < 4; round++) {
        const int by = ROTATION[block % 2][round];
        x0 += x1;
        x1 = (x1 << by | x1 >> (32 - by)) ^ x0;
      }
      x0 += key[(block + 1) % 3];
      x1 += key[(block + 2) % 3] + block + 1;
    }
    even[i] = x0, odd[i] = x1;
  }
}

// The word at one position: 2i and 2i + 1 are the two of counter i.
static uint32_t draw_word(const Draws &draws, Size position) {
  uint32_t word[2];
  draw_words(draws, uint32_t(position / 2), 1, word, word + 1);
  return word[position % 2];
}

static inline double uniform(uint32_t word) { return (word + .5) * 0x1p-32; }  // in (0, 1)

static inline double as_double(uint64_t bits) { return __builtin_bit_cast(double, bits); }

// log u, 2⁻³³ ≤ u < 1. With u = 2^−k m, ½√2 ≤ m < √2: −k log 2 + 2 artanh s, s = (m − 1)/(m + 1), |s| < .172.
static inline double log_uniform(double u) {
  const uint64_t bits = __builtin_bit_cast(uint64_t, u), k = (0x3ff6a09e667f3bccull - bits) >> 52;
  const double m = as_double(bits + (k << 52)), halvings = as_double(0x4330000000000000ull + k) - 0x1p52;
  const double s = (m - 1) / (m + 1), q = s * s;
  double series = 1. / 21;
  UNROLL for (int n = 19; n > 1; n -= 2) series = series * q + 1. / n;
  return 2 * s + (2 * s * q * series - halvings * 0.6931471805599453094);
}

// sin and cos of 2π turns, |turns| ≤ ⅛, by Taylor's series.
static inline void sine_and_cosine(double turns, double *sine, double *cosine) {
  const double angle = turns * 6.283185307179586477, q = angle * angle;
  double s = 1, c = 1;
  UNROLL for (int n = 16; n > 0; n -= 2) {
    s = 1 - q * s * (1. / (n * (n + 1)));
    c = 1 - q * c * (1. / (n * (n - 1)));
  }
  *sine = angle * s, *cosine = c;
}

// Box–Muller: (r cos φ, r sin φ) of every pair of words, r = √(−2 log u₀), φ = 2πu₁. The quadrant is taken off as an integer.
static void transform_normals(Size pairs, const uint32_t *__restrict even, const uint32_t *__restrict odd, double *__restrict out) {
  for (Size i = 0; i < pairs; i++) {
    const uint32_t quadrant = (odd[i] + 0x20000000u) >> 30;
    double sine, cosine;
    sine_and_cosine((int32_t(odd[i] - (quadrant << 30)) + .5) * 0x1p-32, &sine, &cosine);
    const double radius = __builtin_sqrt(-2 * log_uniform(uniform(even[i])));
    const double along = quadrant & 1 ? sine : cosine, across = quadrant & 1 ? cosine : sine;
    out[2 * i] = (quadrant == 1 || quadrant == 2 ? -radius : radius) * along;
    out[2 * i + 1] = (quadrant & 2 ? -radius : radius) * across;
  }
}

constexpr Size TOGETHER = 64;  // pairs: they stay in the first cache

// Standard normals at the positions 0 … count − 1, or from an even `first` on.
static void draw_normals(const Draws &draws, Size first, Size count, double *out) {
  uint32_t even[TOGETHER], odd[TOGETHER];
  double block[2 * TOGETHER];
  for (Size done = 0; done < count; done += 2 * TOGETHER) {
    const Size wanted = count - done < 2 * TOGETHER ? count - done : 2 * TOGETHER, pairs = (wanted + 1) / 2;
    draw_words(draws, uint32_t((first + done) / 2), pairs, even, odd);
    transform_normals(pairs, even, odd, block);
    memcpy(out + done, block, wanted * sizeof(double));
  }
}

// Analytic tasks: inputs (count, 32), targets (count, K) --------------------------------------------------------------------

constexpr Size DIMENSIONS = 32;

// Along ±1/√32, signs by row `row` of the 32 × 32 Hadamard matrix.
static float project(const float *x, unsigned row) {
  constexpr float SHARE = 0.17677669529663687f;
  float sum = 0;
  for (unsigned j = 0; j < DIMENSIONS; j++) sum += x[j] * (__builtin_popcount(row & j) % 2 ? -SHARE : SHARE);
  return sum;
}

static void draw_gaussian(const Draws &draws, Size count, float *x) {
  double numbers[DIMENSIONS];
  for (Size i = 0; i < count; i++) {
    draw_normals(draws, i * DIMENSIONS, DIMENSIONS, numbers);
    for (Size j = 0; j < DIMENSIONS; j++) x[i * DIMENSIONS + j] = float(numbers[j]);
  }
}

static void draw_teacher(const Draws &draws, Size count, float *x, float *y) {
  constexpr float STRENGTH[4] = {4, 2, 1, .5f};
  draw_gaussian(draws, count, x);
  for (Size i = 0; i < count; i++)
    for (unsigned k = 0; k < 4; k++) y[4 * i + k] = STRENGTH[k] * project(x + i * DIMENSIONS, 1 << k);
}

static void draw_halfspace(const Draws &draws, Size count, float *x, float *y) {
  draw_gaussian(draws, count, x);
  for (Size i = 0; i < count; i++) y[i] = project(x + i * DIMENSIONS, 1) > 0 ? 1 : -1;
}

static void draw_staircase(const Draws &draws, Size count, float *x, float *y) {
  uint32_t even[DIMENSIONS / 2], odd[DIMENSIONS / 2];
  for (Size i = 0; i < count; i++, x += DIMENSIONS) {
    draw_words(draws, uint32_t(i * DIMENSIONS / 2), DIMENSIONS / 2, even, odd);
    for (Size j = 0; j < DIMENSIONS / 2; j++) x[2 * j] = even[j] >> 31 ? -1 : 1, x[2 * j + 1] = odd[j] >> 31 ? -1 : 1;
    y[i] = x[0] + x[0] * x[1] + x[0] * x[1] * x[2];
  }
}

// Digits ------------------------------------------------------------------------------------------------------------------

class Digits {
  static constexpr int SIDE = 28, PIXELS = SIDE * SIDE, CONTROL = 8, STRIDE = 32;  // of the original in its black frame
  static constexpr int ORIGINALS = 10000, TRAINING = 8000, CLASSES = 10;
  const unsigned char *images, *labels;
  float spline[SIDE][4];  // cubic B-spline weights of the four control points about a pixel, of unit mean variance
  int span[SIDE];         // the first of the four

 public:
  static constexpr int HELD_OUT = ORIGINALS - TRAINING;

  // Grey levels (10000, 28, 28), then labels, as the page fetches them.
  explicit Digits(const unsigned char *bytes) : images(bytes), labels(bytes + ORIGINALS * PIXELS) {
    double basis[SIDE][4], variance = 0;
    for (int i = 0; i < SIDE; i++) {
      const double position = (i + .5) / SIDE * (CONTROL - 3), u = position - int(position);
      span[i] = int(position);
      basis[i][0] = (1 - u) * (1 - u) * (1 - u) / 6, basis[i][1] = (3 * u * u * u - 6 * u * u + 4) / 6;
      basis[i][2] = (-3 * u * u * u + 3 * u * u + 3 * u + 1) / 6, basis[i][3] = u * u * u / 6;
      for (double b : basis[i]) variance += b * b / SIDE;
    }
    for (int i = 0; i < SIDE; i++)
      for (int k = 0; k < 4; k++) spline[i][k] = float(basis[i][k] / std::sqrt(variance));
  }

  // Freshly deformed digits: x (count, 64 or 784), one-hot y (count, 10).
  void draw(const Draws &draws, Size count, bool small, float *x, float *y) const {
    for (Size i = 0; i < count; i++) {
      const Size original = (uint64_t(draw_word(draws.of("/which"), i)) * TRAINING) >> 32;
      float places[2][PIXELS], bent[PIXELS];
      place(draws, i, places);
      resample(images + original * PIXELS, places, bent);
      finish(bent, labels[original], small, x + i * inputs(small), y + i * CLASSES);
    }
  }

  // The real digits that are never deformed: HELD_OUT of them.
  void hold_out(bool small, float *x, float *y) const {
    float grey[PIXELS];
    for (Size i = 0; i < HELD_OUT; i++) {
      for (int p = 0; p < PIXELS; p++) grey[p] = images[(TRAINING + i) * PIXELS + p] / 255.f;
      finish(grey, labels[TRAINING + i], small, x + i * inputs(small), y + i * CLASSES);
    }
  }

  static constexpr Size inputs(bool small) { return small ? 64 : PIXELS; }

 private:
  // Where each pixel is read from, x then y, in units of half the side from the centre: affine map plus smooth displacement.
  void place(const Draws &draws, Size i, float places[2][PIXELS]) const {
    float map[2][3], bumps[2][CONTROL][SIDE];
    double noise[2 * CONTROL * CONTROL];
    draw_map(draws.of("/affine"), i, map);
    draw_normals(draws.of("/displacement"), i * 2 * CONTROL * CONTROL, 2 * CONTROL * CONTROL, noise);
    for (int axis = 0; axis < 2; axis++)
      for (int row = 0; row < CONTROL; row++)
        for (int column = 0; column < SIDE; column++) {
          const double *point = noise + (axis * CONTROL + row) * CONTROL + span[column];
          float sum = 0;
          for (int k = 0; k < 4; k++) sum += float(point[k]) * spline[column][k];
          bumps[axis][row][column] = sum;
        }
    constexpr float HALF = SIDE / 2.f, DISPLACEMENT = float(1.2 / (SIDE / 2.));
    for (int axis = 0; axis < 2; axis++)
      for (int row = 0; row < SIDE; row++) {
        const float down = (row - (SIDE - 1) / 2.f) / HALF, *weight = spline[row], *bump = bumps[axis][span[row]];
        for (int column = 0; column < SIDE; column++) {
          const float across = (column - (SIDE - 1) / 2.f) / HALF;
          float moved = 0, place = map[axis][0] * across;
          UNROLL for (int k = 0; k < 4; k++) moved += weight[k] * bump[k * SIDE + column];
          place += map[axis][1] * down;
          place += map[axis][2] * (1 / HALF);
          places[axis][row * SIDE + column] = place + DISPLACEMENT * moved;
        }
      }
  }

  // Rotation, log-scale, shear and the two shifts, uniform within their ranges, as the matrix (2, 3).
  static void draw_map(const Draws &draws, Size i, float map[2][3]) {
    double u[5], sine, cosine;
    for (int n = 0; n < 5; n++) u[n] = 2 * uniform(draw_word(draws, 5 * i + n)) - 1;
    sine_and_cosine(12. / 360 * u[0], &sine, &cosine);
    const double scale = std::exp(.12 * u[1]), slant = .15 * u[2];
    map[0][0] = float(cosine * scale), map[0][1] = float((slant * cosine - sine) * scale), map[0][2] = float(2 * u[3]);
    map[1][0] = float(sine * scale), map[1][1] = float((slant * sine + cosine) * scale), map[1][2] = float(2 * u[4]);
  }

  // torch's grid_sample: bilinear, zeros outside, align_corners=False. The frame's zeros stand for all that is outside.
  static void resample(const unsigned char *image, const float places[2][PIXELS], float *out) {
    float framed[(SIDE + 3) * STRIDE] = {};
    for (int row = 0; row < SIDE; row++)
      for (int column = 0; column < SIDE; column++)
        framed[(row + 1) * STRIDE + column + 1] = image[row * SIDE + column] / 255.f;
    constexpr float HALF = SIDE / 2.f, LAST = SIDE + 1;
    for (int p = 0; p < PIXELS; p++) {
      float x = (places[0][p] + 1) * HALF + .5f, y = (places[1][p] + 1) * HALF + .5f;  // in the frame
      x = x < 0 ? 0 : x > LAST ? LAST : x, y = y < 0 ? 0 : y > LAST ? LAST : y;
      const int left = int(x), top = int(y);
      const float u = x - left, v = y - top, *at = framed + top * STRIDE + left;
      out[p] = at[0] * ((1 - u) * (1 - v)) + at[1] * (u * (1 - v)) + at[STRIDE] * ((1 - u) * v) + at[STRIDE + 1] * (u * v);
    }
  }

  // As a network takes it: normalised; small, padded to 32 × 32 and averaged in 4 × 4 blocks first.
  static void finish(const float *grey, int label, bool small, float *x, float *y) {
    constexpr float MEAN = .1307f, STD = .3081f;
    if (small)
      for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) {
          float sum = 0;
          for (int row = i ? 4 * i - 2 : 0; row < 4 * i + 2 && row < SIDE; row++)
            for (int column = j ? 4 * j - 2 : 0; column < 4 * j + 2 && column < SIDE; column++) sum += grey[row * SIDE + column];
          x[8 * i + j] = (sum / 16 - MEAN) / STD;
        }
    else
      for (int p = 0; p < PIXELS; p++) x[p] = (grey[p] - MEAN) / STD;
    for (int k = 0; k < CLASSES; k++) y[k] = k == label;
  }
};

// All of them -------------------------------------------------------------------------------------------------------------

enum Task { DIGITS, DIGITS8, TEACHER, HALFSPACE, STAIRCASE };  // mirrored in layout.py

struct Stream {
  Task task;
  Size inputs, outputs;
  const char *name;  // of its draws: both digit tasks see the same deformed images
};

constexpr Stream STREAMS[] = {
    {DIGITS, 784, 10, "digits/"},
    {DIGITS8, 64, 10, "digits/"},
    {TEACHER, DIMENSIONS, 4, "teacher/"},
    {HALFSPACE, DIMENSIONS, 1, "halfspace/"},
    {STAIRCASE, DIMENSIONS, 1, "staircase/"},
};

// A batch: x (count, D), y (count, K), real or one-hot. `part`: train, probe or test. `digits`: needed by their tasks alone.
static void draw_batch(const Stream &stream, const char *part, uint32_t seed, uint32_t step, Size count, const Digits *digits, float *x,
                       float *y) {
  const Draws draws{seed, extend_name(extend_name(NAMELESS, stream.name), part), step};
  switch (stream.task) {
    case DIGITS: case DIGITS8: return digits->draw(draws, count, stream.task == DIGITS8, x, y);
    case TEACHER: return draw_teacher(draws, count, x, y);
    case HALFSPACE: return draw_halfspace(draws, count, x, y);
    case STAIRCASE: return draw_staircase(draws, count, x, y);
  }
}
