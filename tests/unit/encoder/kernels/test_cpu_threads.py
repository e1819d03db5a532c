import threading

import pytest
import torch

from patent_embed.encoder.kernels.cpu_threads import each_alone


@pytest.fixture
def four_threads():  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("pieces", "share"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_threads_are_shared_out_and_given_back(pieces: int, share: int) -> None:
    def work(piece: int) -> tuple[int, int, bool, int]:
        return piece, torch.get_num_threads(), torch.is_grad_enabled(), threading.get_ident()

    found = list(each_alone(work, range(pieces)))
    assert [(piece, threads, grad) for piece, threads, grad, _ in found] == [(i, share, False) for i in range(pieces)]
    assert (threading.get_ident() in {thread for *_, thread in found}) == (pieces == 1)
    assert torch.get_num_threads() == 4
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("four_threads")
def test_an_error_comes_out_and_the_threads_are_given_back() -> None:
    def work(piece: int) -> int:
        return 1 // piece

    with pytest.raises(ZeroDivisionError):
        list(each_alone(work, [1, 0, 2]))
    assert torch.get_num_threads() == 4
