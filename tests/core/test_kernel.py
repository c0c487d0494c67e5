"""What only the kernel has: its vectorised tanh, its text."""

from __future__ import annotations

import pytest
import torch

from richness import kernel


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_tanh_to_a_few_units_in_the_last_place(dtype):
    """Through a network of two layers whose weights are the identity; at NaN and the infinities too."""
    x = torch.cat([s * torch.logspace(-30, 3, 999, dtype=torch.float64) for s in (1, -1)]).to(dtype)
    x = torch.cat([x, torch.tensor([0.0, torch.inf, -torch.inf, torch.nan], dtype=dtype)])
    shape = kernel.Shape([1, 1, 1], [1.0, 1.0], len(x), dtype, "mse", "tanh")
    one, columns = kernel.pad_rows(torch.ones(1, 1, dtype=dtype)), kernel.pad_rows(x[None])
    out = torch.empty_like(columns)
    kernel.call("outputs", dtype, shape.plan, 1, kernel.pointers([one, one]), columns, out)
    exact = torch.tanh(x.double())
    torch.testing.assert_close(
        out[0, : len(x)].double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=0, equal_nan=True
    )


def test_the_kernels_text_holds_every_header():
    text = kernel.compiler.source()
    for path in kernel.compiler.FOLDER.glob("*.h"):
        assert path.read_text(encoding="utf-8") in text, path
