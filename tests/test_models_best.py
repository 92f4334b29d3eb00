"""The best items are those of a full float32 ranking, whatever the first pass rounds away."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sparkrec.models.best import RUN_ITEMS, Finder, coarse_numbers, rounding_of, vectors_of

NUMBERS = (torch.bfloat16, torch.float32)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    torch.manual_seed(7)
    with torch.inference_mode():
        yield


def plain(
    state_BD: Tensor, matrix_KD: Tensor, how_many: int, pairs: Tensor, refused_KB: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Score everything, leave out, sort: -inf and -1 where nothing is left."""
    score_BK = torch.stack([(state_D * matrix_KD).sum(dim=1) for state_D in state_BD])
    score_BK[pairs[0], pairs[1]] = -torch.inf
    if refused_KB is not None:
        score_BK[refused_KB.T] = -torch.inf
    score_BK, item_BK = score_BK.sort(dim=1, descending=True, stable=True)
    item_BK = item_BK.masked_fill(score_BK == -torch.inf, -1)
    short = (0, max(0, how_many - len(matrix_KD)))
    score_BK = torch.nn.functional.pad(score_BK, short, value=-torch.inf)
    return score_BK[:, :how_many], torch.nn.functional.pad(item_BK, short, value=-1)[:, :how_many]


def some_pairs(num_users: int, num_items: int, per_user: int) -> Tensor:
    user = torch.arange(num_users).repeat_interleave(per_user)
    return torch.stack([user, torch.randint(0, num_items, (len(user),))])


def agree(matrix_KD: Tensor, state_BD: Tensor, how_many: int, pairs: Tensor, refused_KB: Tensor | None = None) -> None:
    wanted = plain(state_BD, matrix_KD, how_many, pairs, refused_KB)
    by_user = [] if refused_KB is None else list(refused_KB.T)
    refused = [(slice(user, user + 1), items.nonzero().flatten()) for user, items in enumerate(by_user)]
    for numbers in NUMBERS:
        found = Finder(vectors_of(matrix_KD), 64, numbers).best(state_BD, pairs[0], pairs[1], refused, how_many)
        assert torch.equal(found[1], wanted[1]), numbers
        assert torch.equal(found[0], wanted[0]), numbers


@pytest.mark.parametrize("num_items", [1, 5, RUN_ITEMS, 100, 700, 5000])
@pytest.mark.parametrize("num_users", [1, 7, 64])
def test_random_vectors_of_uneven_length(num_items: int, num_users: int) -> None:
    matrix_KD = torch.randn(num_items, 24) * (0.1 + 3 * torch.rand(num_items, 1))
    state_BD = torch.randn(num_users, 24)
    agree(matrix_KD, state_BD, 10, some_pairs(num_users, num_items, 3))
    agree(matrix_KD, state_BD, 10, torch.zeros(2, 0, dtype=torch.long))


def test_equal_vectors_stand_in_the_order_of_their_index() -> None:
    few_KD = torch.randn(37, 16)
    state_BD = torch.randn(9, 16)
    agree(few_KD.repeat(40, 1), state_BD, 20, some_pairs(9, 37 * 40, 30))
    agree(torch.ones(3000, 16), state_BD, 20, some_pairs(9, 3000, 30))
    agree(torch.zeros(3000, 16), state_BD, 20, some_pairs(9, 3000, 30))


def test_scores_closer_than_the_first_pass_can_tell_apart() -> None:
    matrix_KD = torch.randn(1, 16) + 1e-4 * torch.randn(4000, 16)
    state_BD = torch.randn(8, 16)
    top = plain(state_BD, matrix_KD, 20, some_pairs(8, 4000, 0))[1]
    in_bfloat16 = (state_BD.bfloat16() @ matrix_KD.bfloat16().T).float().topk(20, dim=1).indices
    assert not torch.equal(in_bfloat16, top), "the case is none if bfloat16 finds them too"
    agree(matrix_KD, state_BD, 20, some_pairs(8, 4000, 5))


def test_very_large_and_very_small_vectors_side_by_side() -> None:
    size = 10.0 ** torch.randint(-12, 12, (3000, 1)).float()
    agree(torch.randn(3000, 16) * size, torch.randn(8, 16) * 1e3, 20, some_pairs(8, 3000, 5))
    agree(torch.randn(3000, 16) * size, torch.zeros(8, 16), 20, some_pairs(8, 3000, 5))


def test_what_is_refused_comes_into_no_list() -> None:
    matrix_KD, state_BD = torch.randn(900, 16), torch.randn(8, 16)
    refused_KB = torch.rand(900, 8) < 0.5
    agree(matrix_KD, state_BD, 20, some_pairs(8, 900, 5), refused_KB)
    all_but_three = torch.ones(900, 8, dtype=torch.bool)
    all_but_three[[4, 400, 800]] = False
    agree(matrix_KD, state_BD, 20, some_pairs(8, 900, 5), all_but_three)
    agree(matrix_KD, state_BD, 20, some_pairs(8, 900, 5), torch.ones(900, 8, dtype=torch.bool))


def test_vectors_that_all_point_the_same_way_are_told_apart_in_the_first_pass() -> None:
    matrix_KD = torch.randn(1, 32) + 0.2 * torch.randn(5000, 32)
    state_BD = torch.randn(20, 32)
    agree(matrix_KD, state_BD, 10, some_pairs(20, 5000, 5))
    finder = Finder(vectors_of(matrix_KD), 64, torch.bfloat16)
    finder.best(state_BD, *some_pairs(20, 5000, 5), [], 10)
    assert finder.one_by_one == 0
    finder.best(torch.zeros(3, 32), *some_pairs(3, 5000, 5), [], 10)
    assert finder.one_by_one == 3


def test_users_who_are_scored_item_by_item_get_the_same_lists() -> None:
    first_ten = torch.stack([torch.arange(3).repeat_interleave(10), torch.arange(10).repeat(3)])
    agree(torch.randn(5000, 32), torch.zeros(3, 32), 10, first_ten)
    agree(torch.ones(9000, 32), torch.randn(3, 32), 10, first_ten)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_the_bound_on_rounding_holds_and_is_not_far_too_wide(numbers: torch.dtype) -> None:
    state_BD, matrix_KD = torch.randn(64, 64), 0.5 + torch.randn(20_000, 64)
    vectors = vectors_of(matrix_KD)
    mean_D = matrix_KD.double().mean(dim=0).float() if numbers == torch.bfloat16 else torch.zeros(64)
    exact = state_BD.double() @ (matrix_KD.double() - mean_D.double()).T
    coarse_KD = vectors.bfloat16_KD if numbers == torch.bfloat16 else matrix_KD
    coarse = torch.mm(coarse_KD, state_BD.to(numbers).T)[:20_000].double().T
    share = (exact - coarse).abs() / (state_BD.norm(dim=1)[:, None] * rounding_of(vectors, numbers)[:20_000])
    assert share.max() < 1
    assert numbers == torch.float32 or share.max() > 0.1


def test_the_hardware_decides_only_where_nobody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for able, numbers in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx512_bf16": able})
        assert coarse_numbers("auto", cpu) == numbers
        assert coarse_numbers("float32", cpu) == torch.float32
        assert coarse_numbers("bfloat16", cpu) == torch.bfloat16
