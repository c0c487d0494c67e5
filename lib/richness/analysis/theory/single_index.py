r"""A target richer than a constant: f(x) = (w^{L−1} ⟨u, x⟩^p − ⟨u₀, x⟩^p)/γ against y(x) = ⟨a, x⟩^p with Gaussian x.

One neuron whose first layer u is a vector: it must turn towards a (with |a| = 1) and grow. The loss is the population's,

    ℓ = ½ E (f(x) − y(x))²,   x ~ N(0, 1),   w₀ = 1,   |u₀| = 1,   ⟨u₀, a⟩ = m,

so nothing depends on the input's dimension but through m: u stays in the plane of u₀ and a, and is written there as its
components, *along* a and *across* it. With x's two components in that plane standard normal, ℓ is a polynomial in
(w, along, across), whose moments E xⁱ = (i−1)!! for even i. It is built, differentiated twice and compiled by SymPy: the
closed form, its gradient and its Hessian are one definition.

Conventions: w is one number shared by L − 1 layers, as in `one_weight`; u is a layer of its own. f is homogeneous of
degree H = L − 1 + p in the weights (`degree`): for p = 1 that is L, the depth, and the exponents are the constant
target's. For p > 1 the centred target cannot be reached exactly: at small γ no weight may move far, u cannot turn, and a
share of the loss stays (`floor`), which vanishes as 1/γ² on the rich side.

References:
    The Optimization Landscape of SGD Across the Feature Learning Strength, Atanasov, Meterez, Simon and Pehlevan,
    ICLR 2025, whose section 4 has the constant target; this extension is the book's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import root

from richness.analysis.theory.scan import check_model, check_positive, find_largest_good

#: m = ⟨u₀, a⟩ at the start: that of a random direction in about eleven dimensions.
OVERLAP = 0.3

#: A run has converged when it ends within this share of the initial loss above gradient flow's last loss.
CONVERGED_WITHIN = 1e-2

#: The plateau counts as left when this share of the loss that can go is still there (MSE half way to the target).
ESCAPE_LEVEL = 0.25

_DIVERGED_BEYOND = 1e6  # in the loss over its initial value
_FROM = 1e-4  # the minimum is followed from here


@dataclass(frozen=True)
class Loss:
    """The population loss of one depth L and power p; each function takes (w, along, across, γ, m), broadcast.

    Attributes:
        value: ℓ. gradient: its three derivatives by (w, along, across), a tuple. hessian: their nine, a 3 × 3 list.
        symbolic: ℓ as a SymPy expression.
    """

    value: Callable[..., np.ndarray]
    gradient: Callable[..., tuple[np.ndarray, ...]]
    hessian: Callable[..., list[list[np.ndarray]]]
    symbolic: object


def degree(depth: int, power: int) -> int:
    """H = L − 1 + p: the degree in which f is homogeneous. Exponents: η_crit ∝ γ^{2/H} rich; a logarithm at H = 2."""
    _check(depth, power)
    return depth - 1 + power


@cache
def population_loss(depth: int, power: int) -> Loss:
    """½ E (f − y)² for depth L and power p, exactly, with its derivatives.

    Raises:
        ValueError: a depth below 2 or a power below 1.
    """
    import sympy

    _check(depth, power)
    w, along, across, gamma, m = sympy.symbols("w along across gamma m", positive=True)
    x, z = sympy.symbols("x z")  # ⟨a, x⟩, and the component of x across it
    start = m * x + sympy.sqrt(1 - m**2) * z
    residual = (w ** (depth - 1) * (along * x + across * z) ** power - start**power) / gamma - x**power
    terms = sympy.Poly(residual**2, x, z).terms()
    value = sum(c * _moment(i) * _moment(j) for (i, j), c in terms) / 2
    weights = (w, along, across)
    gradient = tuple(sympy.diff(value, one) for one in weights)
    hessian = [[sympy.diff(one, other) for other in weights] for one in gradient]
    names = (*weights, gamma, m)

    def compiled(expression: object) -> Callable[..., Any]:
        return sympy.lambdify(names, expression, "numpy", cse=True)

    return Loss(compiled(value), compiled(gradient), compiled(hessian), value)


def _moment(order: int) -> int:
    """E xⁱ of a standard normal: (i − 1)!! for even i, else 0."""
    return 0 if order % 2 else int(np.prod(np.arange(order - 1, 0, -2)))


def _check(depth: int, power: int) -> None:
    check_model(depth)
    if isinstance(power, bool) or power != int(power) or power < 1:
        raise ValueError(f"power must be a whole number, 1 or more, got {power!r}.")


def _start(m: float) -> tuple[float, float, float]:
    return 1.0, m, float(np.sqrt(1 - m**2))


def minimum(depth: int, power: int, gamma: ArrayLike, m: float = OVERLAP) -> np.ndarray:
    """Where gradient flow from the start ends: (w, along, across), with shape (3, number of γ).

    Gradient flow conserves w²/(L−1) − |u|²/p, which gives w by u; the minimum in the two components of u is followed by
    Newton's method from γ = 1e-4, where it lies beside the start, up to each γ; where it ends, the flow itself is run.

    Raises:
        ValueError: γ below 1e-4, or the method did not converge.
    """
    wanted = np.atleast_1d(check_positive("gamma", gamma))
    if wanted.min() < _FROM * (1 - 1e-9):
        raise ValueError(f"gamma must be {_FROM:g} or more here, got {float(wanted.min()):g}.")
    loss = population_loss(depth, power)
    conserved = 1 / (depth - 1) - 1 / power

    def weights(u: np.ndarray) -> tuple[float, float, float]:
        return float(np.sqrt((depth - 1) * (conserved + u @ u / power))), float(u[0]), float(u[1])

    def along_the_flow(u: np.ndarray, at: float) -> np.ndarray:
        w, *_ = here = weights(u)
        by_w, *by_u = loss.gradient(*here, at, m)
        return at**2 * (np.array(by_u) + by_w * (depth - 1) / (power * w) * u)

    def solved(u: np.ndarray, at: float) -> np.ndarray | None:
        answer = root(along_the_flow, u, args=(at,), tol=1e-13)
        # at large γ rounding keeps the residual from the tolerance asked for; what counts is its size beside its terms
        return answer.x if answer.success or np.abs(answer.fun).max() <= 1e-6 * at**2 else None

    path = np.geomspace(_FROM, wanted.max(), 2 + int(8 * np.log10(wanted.max() / _FROM)))
    found, u = {}, np.array(_start(m)[1:])
    for at in np.union1d(path, wanted):
        here = solved(u, at)
        if here is None:  # with a small overlap the minimum that was followed ends, and the flow goes on to another
            here = solved(_flow(loss, at, m, 1e5).y[1:, -1], at)
        if here is None:
            raise ValueError(f"no minimum found at γ = {at:g} for L = {depth}, p = {power}, m = {m:g}.")
        u = here
        found[at] = weights(u)
    return np.array([found[at] for at in wanted]).T


def floor(depth: int, power: int, gamma: ArrayLike, m: float = OVERLAP) -> np.ndarray:
    """The share of the initial loss at which gradient flow ends: 0 for p = 1; falling with γ for p > 1."""
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    loss = population_loss(depth, power)
    end = loss.value(*minimum(depth, power, gamma, m), gamma, m)
    return np.maximum(end / loss.value(*_start(m), gamma, m), 0)


def critical_eta(depth: int, power: int, gamma: ArrayLike, m: float = OVERLAP) -> np.ndarray:
    """η_crit = 2/λ*, with λ* the largest eigenvalue of the Hessian where gradient flow ends."""
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    entries = population_loss(depth, power).hessian(*minimum(depth, power, gamma, m), gamma, m)
    matrix = np.array([[np.broadcast_to(entry, gamma.shape) for entry in line] for line in entries])
    return 2 / np.linalg.eigvalsh(np.moveaxis(matrix, -1, 0))[:, -1]


def simulate(depth: int, power: int, gamma: ArrayLike, eta: ArrayLike, steps: int, m: float = OVERLAP) -> np.ndarray:
    """The loss, over its initial value, after ``steps`` steps of gradient descent; ``inf`` where it diverged."""
    loss = population_loss(depth, power)
    gamma, eta = np.broadcast_arrays(check_positive("gamma", gamma), check_positive("eta", eta))
    weights = tuple(np.full(gamma.shape, one) for one in _start(m))
    initial = loss.value(*weights, gamma, m)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            slopes = loss.gradient(*weights, gamma, m)
            weights = tuple(one - eta * slope for one, slope in zip(weights, slopes, strict=True))
        share = loss.value(*weights, gamma, m) / initial
    return np.where(share < _DIVERGED_BEYOND, share, np.inf)


def convergent_eta(depth: int, power: int, gamma: ArrayLike, steps: int = 2000, m: float = OVERLAP) -> np.ndarray:
    """The largest η of the contiguous stretch that converges, by simulation; NaN where none does within ``steps``."""
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    low, scale = floor(depth, power, gamma, m), critical_eta(depth, power, gamma, m)

    def good(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        return simulate(depth, power, gamma[at, None], etas, steps, m) < low[at, None] + CONVERGED_WITHIN

    return find_largest_good(good, scale * 0.2, scale * 10, points=24, refinements=1)


def escape_time(depth: int, power: int, gamma: ArrayLike, m: float = OVERLAP) -> np.ndarray:
    """η·t until a quarter of the loss that gradient flow can remove is left, by an ODE solver; one for each γ."""
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    loss, low = population_loss(depth, power), floor(depth, power, gamma, m)

    def time(at: float, lowest: float) -> float:
        level = float(loss.value(*_start(m), at, m)) * (lowest + ESCAPE_LEVEL * (1 - lowest))

        def left(_: float, y: np.ndarray) -> float:
            return float(loss.value(*y, at, m)) - level

        left.terminal = True  # type: ignore[attr-defined]
        path = _flow(loss, at, m, 1e6, left)
        return at * float(path.t_events[0][0]) if path.t_events[0].size else float("nan")

    return np.array([time(*each) for each in zip(gamma, low, strict=True)])


def _flow(loss: Loss, gamma: float, m: float, until: float, event: Callable[..., float] | None = None) -> Any:
    """Gradient flow from the start, in units of γ: SciPy's solution up to η·t = γ·until, or to the event."""

    def down(_: float, y: np.ndarray) -> list[float]:
        return [-gamma * float(slope) for slope in loss.gradient(*y, gamma, m)]

    return solve_ivp(down, (0, until), _start(m), method="LSODA", events=event, rtol=1e-8, atol=1e-10)
