"""Peer: JAX, one network's training as ``lax.scan`` over the batches, ``vmap`` over the networks, ``jit`` over it all.

XLA compiles the whole sweep into one program and uses whatever threads it likes. It is compiled before the clock starts
(how long that took is stated); batches and initial weights are already JAX arrays. The network at initialisation does not
depend on the mapped arguments, so ``vmap`` evaluates it once a step for all.

On a CPU a compiled loop over the networks, ``lax.map`` in place of ``vmap``, may be the faster of the two: one network's
weights stay in cache. It is a contender of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.problem import Problem


def prepare(problem: Problem, together: bool = True) -> Callable[[], np.ndarray]:
    """The program: every network's loss before each step, (steps, C).

    Args:
        together: ``vmap`` over the networks; else ``lax.map``.
    """
    scales = problem.scales
    start = [jnp.asarray(w) for w in problem.weights]
    batches = (jnp.asarray(problem.inputs), jnp.asarray(problem.targets))
    gamma, lr = jnp.asarray(problem.gamma), jnp.asarray(problem.lr)

    def raw(weights: list[jax.Array], x: jax.Array) -> jax.Array:
        for weight, scale in zip(weights[:-1], scales[:-1], strict=True):
            x = jax.nn.relu(scale * (x @ weight.T))
        return scales[-1] * (x @ weights[-1].T)

    def loss(weights: list[jax.Array], gamma: jax.Array, x: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.mean(((raw(weights, x) - raw(start, x)) / gamma - target) ** 2)

    def train(gamma: jax.Array, lr: jax.Array, batches: tuple[jax.Array, jax.Array]) -> jax.Array:
        def step(weights: list[jax.Array], batch: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], jax.Array]:
            value, slopes = jax.value_and_grad(loss)(weights, gamma, *batch)
            return [w - lr * s for w, s in zip(weights, slopes, strict=True)], value

        return lax.scan(step, start, batches)[1]

    def in_sequence(gamma: jax.Array, lr: jax.Array, batches: tuple[jax.Array, jax.Array]) -> jax.Array:
        return lax.map(lambda one: train(*one, batches), (gamma, lr))

    sweep = jax.vmap(train, in_axes=(0, 0, None)) if together else in_sequence
    compiled = jax.jit(sweep).lower(gamma, lr, batches).compile()
    return lambda: np.asarray(compiled(gamma, lr, batches).block_until_ready()).T
