"""The second opinion: what it adds, and that lists with it are those of a full ranking."""

import pytest
import torch

from sparkrec.models.best import Finder, vectors_of
from sparkrec.models.neighbours import LEAST, OWN_AT_MOST, Neighbours
from sparkrec.models.second_opinion import FADES

A, B, C, D, E, BEYOND = 2, 3, 4, 5, 6, 7
NEWEST = 20
"""Events that count where each counts .8 of the one after it."""


def neighbours() -> Neighbours:
    """A leads to B (3) and C (1), B to C (2), E to A (1) and C (1); nothing is known of C and D."""
    found = Neighbours(BEYOND, 2)
    found.next_VK[A], found.weight_VK[A] = torch.tensor([B, C], dtype=torch.int32), torch.tensor([3.0, 1.0])
    found.next_VK[B], found.weight_VK[B] = torch.tensor([C, 0], dtype=torch.int32), torch.tensor([2.0, 0.0])
    found.next_VK[E], found.weight_VK[E] = torch.tensor([C, A], dtype=torch.int32), torch.ones(2)
    found.counts.fill_(10.0)
    return found


def added(*past: int, by: Neighbours | None = None) -> dict[int, float]:
    opinions = (by or neighbours())(torch.tensor([[0] * (NEWEST + 2 - len(past)) + list(past)]))
    rows = zip(opinions.item_BM[0].tolist(), opinions.score_BM[0].tolist(), strict=True)
    return {item: score for item, score in rows if item < BEYOND}


def test_the_neighbours_of_the_newest_items_add_to_scores_less_the_older_the_item() -> None:
    assert added(A) == {B: 10.0, C: pytest.approx(10 / 3)}
    # C is spoken for by B, and by A one event before it.
    assert added(A, B) == {B: pytest.approx(10 * 3 * FADES / (2 + FADES), rel=1e-5), C: 10.0}
    assert added(D) == {}
    assert FADES ** (NEWEST - 1) > LEAST > FADES**NEWEST
    assert added(A, *[D] * (NEWEST - 1)) == {B: 10.0, C: pytest.approx(10 / 3)}
    assert added(A, *[D] * NEWEST) == {}, "too long ago"


def test_how_much_older_events_count_and_how_many_of_them_is_one_number() -> None:
    by = neighbours()
    by.counts.fill_(6.0)
    by.fades.fill_(0.5)
    assert (by.newest(50), by.newest(5)) == (7, 5)
    assert added(A, D, B, by=by) == {B: pytest.approx(6 * 3 / 4 / (2 + 1 / 4)), C: 6.0}
    by.fades.fill_(1.0)
    assert added(A, *[D] * NEWEST, B, by=by) == {B: pytest.approx(6 * 3 / (2 + 1)), C: 6.0}


def test_what_an_item_adds_to_itself_is_bounded_and_no_measure_for_others() -> None:
    by = neighbours()
    by.next_VK[B], by.weight_VK[B] = torch.tensor([B, C], dtype=torch.int32), torch.tensor([9.0, 2.0])
    assert added(B, by=by) == {B: 10 * OWN_AT_MOST, C: 10.0}
    by.weight_VK[B, 0] = 3.0
    assert added(B, by=by) == {B: 15.0, C: 10.0}
    by.weight_VK[B, 1] = 0.0
    by.next_VK[B, 1] = 0
    assert added(B, by=by) == {B: 10.0}, "where it has no others"


def test_parts_of_pasts_are_measured_by_the_whole() -> None:
    by = neighbours()
    whole, part = (by(torch.tensor([[0, 0, *past]])) for past in ((A, B), (0, A)))
    assert part.of(torch.tensor([[B]])).item() == 10.0
    assert part.measured_by(whole).of(torch.tensor([[B]])).item() == pytest.approx(10 * 3 / (2 + FADES), rel=1e-5)


def test_what_is_added_is_found_by_item() -> None:
    opinions = neighbours()(torch.tensor([[0, A], [0, D]]))
    assert opinions.at(torch.tensor([0, 0, 1]), torch.tensor([B, D, B])).tolist() == [10.0, 0.0, 0.0]
    assert opinions.of(torch.tensor([[D, B], [B, C]])).tolist() == [[0.0, 10.0], [0.0, 0.0]]
    between = neighbours()(torch.tensor([[0, E]]))
    assert between.at(torch.tensor([0, 0, 0]), torch.tensor([A, B, C])).tolist() == [10.0, 0.0, 10.0]
    assert between.of(torch.tensor([[B, D]])).tolist() == [[0.0, 0.0]]
    assert opinions.rows(torch.tensor([1])).at(torch.tensor([0]), torch.tensor([B])).tolist() == [0.0]


@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_lists_with_it_are_those_of_a_full_ranking(numbers: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    num_items, num_users, how_many = 700, 20, 15
    matrix_KD = torch.randint(-2, 3, (num_items, 8), generator=generator).float()  # whole numbers: many ties
    state_BD = torch.randint(-2, 3, (num_users, 8), generator=generator).float()
    item_BM = torch.rand(num_users, num_items, generator=generator).argsort(dim=1)[:, :60]
    item_BM[torch.rand(item_BM.shape, generator=generator) < 0.2] = -1
    more_BM = torch.randint(1, 9, item_BM.shape, generator=generator).float()
    out_user = torch.arange(num_users).repeat_interleave(3)
    out_item = torch.cat([item_BM[:, :2].clamp(min=0), torch.full((num_users, 1), 9)], dim=1).flatten()
    refused = [(slice(5, 11), torch.cat([item_BM[7, 3:6].clamp(min=0), torch.arange(100, 140)]))]
    whole_BK = state_BD @ matrix_KD.T
    for row, (items, more) in enumerate(zip(item_BM, more_BM, strict=True)):
        whole_BK[row, items[items >= 0]] += more[items >= 0]
    whole_BK[out_user, out_item] = -torch.inf
    whole_BK[5:11, refused[0][1]] = -torch.inf
    wanted_BN, wanted_items_BN = whole_BK.sort(dim=1, descending=True, stable=True)
    finder = Finder(vectors_of(matrix_KD), num_users, numbers)
    found_BN, items_BN = finder.best(state_BD, out_user, out_item, refused, how_many, (item_BM, more_BM))
    assert torch.equal(found_BN, wanted_BN[:, :how_many])
    assert torch.equal(items_BN, wanted_items_BN[:, :how_many])
    everything_BN, all_items_BN = finder.best(state_BD, out_user, out_item, refused, num_items, (item_BM, more_BM))
    assert torch.equal(everything_BN, wanted_BN)
    assert torch.equal(all_items_BN, wanted_items_BN.masked_fill(wanted_BN == -torch.inf, -1)), "no item twice"
    without_BN, _ = finder.best(state_BD, out_user, out_item, refused, how_many)
    assert not torch.equal(found_BN, without_BN)


def test_what_the_first_pass_rounds_away_keeps_no_item_out_that_something_is_added_to() -> None:
    # Long vectors whose parts cancel out, which bfloat16 is far off with, beside short ones that it is not.
    generator = torch.Generator().manual_seed(2)
    short_K1, long_K1 = (10 * torch.rand(num, 1, generator=generator) for num in (900, 60))
    apart_K1 = 500 + 100 * torch.rand(60, 1, generator=generator)
    short_KD = torch.cat([short_K1, short_K1], dim=1) / 2
    long_KD = torch.cat([long_K1 / 2 + apart_K1, long_K1 / 2 - apart_K1], dim=1)
    matrix_KD, state_BD = torch.cat([short_KD, long_KD]), torch.ones(1, 2)
    exact_K = (state_BD * matrix_KD).sum(dim=1)
    item_BM = torch.arange(900, 960)[None]
    more_BM = 9.95 + 0.1 * torch.rand(1, 60, generator=generator) - exact_K[900:]
    whole_K = exact_K.clone()
    whole_K[900:] += more_BM[0]
    wanted_N, wanted_items_N = whole_K.sort(descending=True, stable=True)
    finder = Finder(vectors_of(matrix_KD), 1, torch.bfloat16)
    nobody = torch.zeros(0, dtype=torch.long)
    found_BN, items_BN = finder.best(state_BD, nobody, nobody, [], 10, (item_BM, more_BM))
    assert torch.equal(found_BN[0], wanted_N[:10])
    assert torch.equal(items_BN[0], wanted_items_N[:10])
