// What the kernel's two files for a page share. A door is a function that JavaScript calls: addresses are 32-bit numbers in the
// module's memory, integers are 32-bit, reals double. Samples of some steps lie together: inputs (steps, batch, D) and then targets
// (steps, batch, K), in float, as the streams make them.

#pragma once

#define DOOR(name) extern "C" __attribute__((export_name(#name)))
