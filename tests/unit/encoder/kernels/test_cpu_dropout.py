import pytest
import torch
from torch import nn

from patent_embed.encoder.kernels.cpu_dropout import FastDropout, dropout, keep_mask, kept_share, use_fast_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_share_and_scale(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(400, 501, dtype=dtype), p)
    assert out.dtype == dtype
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    kept = out[out != 0].float()
    assert kept.unique().numel() == 1
    assert kept[0].item() == pytest.approx(1 / (1 - p), rel=1e-2 if dtype is torch.bfloat16 else 1e-4)


def test_the_seed_decides_the_mask_and_masks_differ() -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [dropout(torch.ones(1000), 0.3) for _ in range(2)]

    first, again, other = draw(1), draw(1), draw(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    # Neighbours are independent: both of a pair are dropped as often as chance has it.
    torch.manual_seed(3)
    zero = dropout(torch.ones(200_000), 0.3) == 0
    assert (zero[:-1] & zero[1:]).float().mean().item() == pytest.approx(0.09, abs=0.004)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.25, 0.9, 0.999])
def test_every_probability_is_exact(p: float) -> None:
    """Also what a byte alone does not give: within five standard errors, in each place of a word."""
    count = 2_000_000
    dropped = ~keep_mask(torch.Size((count // 8, 8)), p, 5)
    assert kept_share(p) == pytest.approx(1 - p, abs=2**-17)
    error = (p * (1 - p) / count) ** 0.5
    assert abs(dropped.double().mean().item() - (1 - kept_share(p))) < 5 * error
    assert (dropped.double().mean(0) - (1 - kept_share(p))).abs().max() < 5 * error * 8**0.5


def test_gradient_is_that_of_the_mask() -> None:
    torch.manual_seed(0)
    values = torch.randn(50, 7, requires_grad=True)
    out = dropout(values, 0.4)
    out.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad * values.detach(), out.detach())


def test_modules_are_replaced_and_silent_in_evaluation() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25), nn.ModuleDict({"a": nn.Dropout(0.1)}))
    use_fast_dropout(model)
    assert [type(m) for m in model.modules() if isinstance(m, nn.Dropout)] == [FastDropout, FastDropout]
    assert model[1].p == 0.25
    values = torch.ones(8)
    assert torch.equal(model[1].eval()(values), values)
    assert torch.equal(dropout(values, 0.0), values)
