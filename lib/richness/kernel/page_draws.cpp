// The doors of the streams. They are compiled for speed, all else for size: more time goes into drawing a batch than training on it.

#include "door.h"
#include "stream.h"

static Digits *digits;
enum Part { PROBE, HELD_OUT };

// From now on digits are drawn from these bytes: see `Digits`.
DOOR(use_digits) void use_digits(const unsigned char *bytes) {
  free(digits);
  digits = (Digits *)malloc(sizeof(Digits));
  *digits = Digits(bytes);
}

// The training samples of `steps` steps from `step` on.
DOOR(draw) void draw(int task, uint32_t seed, uint32_t step, int steps, int count, float *samples) {
  const Stream &stream = STREAMS[task];
  for (int t = 0; t < steps; t++)
    draw_batch(stream, "train", seed, step + t, count, digits, samples + t * count * stream.inputs,
               samples + (steps * stream.inputs + t * stream.outputs) * count);
}

// Other samples than training's, inputs (count, D) and then targets: of a part of the stream, fresh ones; of digits, held out.
DOOR(draw_part) void draw_part(int task, int part, int count, float *samples) {
  const Stream &stream = STREAMS[task];
  float *targets = samples + count * stream.inputs;
  if (part == HELD_OUT && stream.outputs == 10) return digits->hold_out(task == DIGITS8, samples, targets);
  draw_batch(stream, part == HELD_OUT ? "test" : "probe", 0, 0, count, digits, samples, targets);
}

DOOR(draw_direction) void draw_direction(int count, double *out) {  // of measure/curvature.py's DIRECTION
  draw_normals({0, extend_name(NAMELESS, "lanczos/start"), 0}, 0, count, out);
}
