"""Ranks and what they are worth, against plain rules, hand arithmetic and trec_eval."""

from collections.abc import Sequence

import numpy as np
import pytest
import pytrec_eval
import torch

from sparkrec.evaluate.drawn import draw_items
from sparkrec.evaluate.gains import METRICS, NO_RANK, gains_of, ndcg_at
from sparkrec.evaluate.ranks import SharedScores, Sought, drawn_ranks, full_ranks, shared_ranks
from sparkrec.sequences import SPAN

TREC = {"hr": "success", "recall": "recall", "precision": "P", "ndcg": "ndcg_cut", "map": "map_cut"}


def sought(targets: Sequence[Sequence[int]], seen: Sequence[Sequence[int]] | None = None) -> Sought:
    """Cases by what is to be found in each, and what is left out."""
    seen = seen or [[] for _ in targets]
    left_out = [sorted({*found, *out}) for found, out in zip(targets, seen, strict=True)]
    pairs = [
        torch.tensor([(case, item) for case, items in enumerate(lists) for item in items], dtype=torch.long).view(-1, 2)
        for lists in (targets, left_out)
    ]
    return Sought(*(values for pair in pairs for values in pair.T.contiguous()))


def rank(scores: list[float], target: int, seen: list[int] | None = None) -> int:
    """Rank among items 2, 3, …; padding and unknown have no score."""
    score_CV = torch.tensor([[-torch.inf, -torch.inf, *scores]])
    wanted = sought([[target]], [seen or []])
    (found,), (shared,) = (
        full_ranks(score_CV, wanted).tolist(),
        shared_ranks(SharedScores(score_CV[0]), wanted).tolist(),
    )
    if not np.isnan(scores).any():
        assert found == shared
    return int(found)


def plain_ranks(scores: np.ndarray, targets: list[int], seen: list[int]) -> list[int]:
    """Places in the worst of the lists that the scores allow: ties behind all that is not to be found."""
    others = [scores[item] for item in range(2, len(scores)) if item not in targets and item not in seen]
    found = []
    for place, item in enumerate(targets):
        ahead = sum(other >= scores[item] for other in others)
        ahead += sum((scores[t], -n) > (scores[item], -place) for n, t in enumerate(targets))
        found.append(1 + ahead)
    return found


def test_the_rank_counts_better_items() -> None:
    assert rank([0.1, 0.9, 0.5, 0.7], target=4) == 3


def test_ties_count_against_the_model() -> None:
    assert rank([0.5, 0.5, 0.5, 0.1], target=2) == 3
    assert rank([0.0] * 6, target=5) == 6


def test_the_users_other_items_are_left_out_and_the_target_never_is() -> None:
    assert rank([0.1, 0.9, 0.5, 0.7], target=4, seen=[3]) == 2
    assert rank([0.1, 0.9, 0.5, 0.7], target=4, seen=[3, 4, 5]) == 1


@pytest.mark.parametrize("score", [float("nan"), float("-inf"), float("inf")])
def test_a_target_without_a_finite_score_is_a_miss(score: float) -> None:
    assert rank([0.1, 0.9, score, 0.7], target=4) == NO_RANK


def test_scores_that_are_no_numbers_never_help_the_model() -> None:
    assert rank([float("nan"), float("nan"), 0.5, 0.7], target=4) == 4


def test_a_target_outside_the_vocabulary_is_a_miss() -> None:
    assert rank([0.1, 0.9], target=77) == NO_RANK
    assert rank([0.1, 0.9], target=2, seen=[77]) == 2


@pytest.mark.parametrize("most", [1, 4])
def test_ranks_agree_with_the_plain_rule(most: int) -> None:
    rng = np.random.default_rng(7)
    scores = rng.integers(0, 5, (200, 12)).astype(np.float32)
    scores[:, :2] = -np.inf
    targets = [rng.choice(np.arange(2, 12), int(rng.integers(1, most + 1)), replace=False).tolist() for _ in scores]
    seen = [rng.choice(np.arange(2, 12), 3, replace=False).tolist() for _ in scores]
    wanted = sought(targets, seen)
    plain = [rank for row in range(200) for rank in plain_ranks(scores[row], targets[row], seen[row])]
    assert full_ranks(torch.from_numpy(scores), wanted).tolist() == plain
    same = np.repeat(scores[:1], 200, axis=0)
    plain = [rank for row in range(200) for rank in plain_ranks(same[row], targets[row], seen[row])]
    assert shared_ranks(SharedScores(torch.from_numpy(scores[0])), wanted).tolist() == plain


def test_equal_vectors_have_equal_scores_wherever_they_lie() -> None:
    torch.manual_seed(1)
    vector_VD = torch.randn(5003, 64)
    vector_VD[torch.randperm(5003)[:1000]] = vector_VD[7].clone()
    same = int((vector_VD == vector_VD[7]).all(dim=1).sum())
    state_CD = torch.randn(64, 64)
    score_CV = state_CD @ vector_VD.T
    ahead_C = (score_CV > score_CV[:, 7:8]).sum(dim=1)
    ranks = full_ranks(score_CV, sought([[7]] * 64))
    assert torch.equal(ranks, ahead_C + same)


def test_drawn_items_are_those_that_the_user_does_not_know_each_as_likely() -> None:
    own_keys = np.repeat(np.arange(300), 3) * SPAN + np.tile([2, 5, 30], 300)
    for num, vocabulary in ((4, 40), (20, 40), (50, 40), (20, 5000)):
        drawn = draw_items([(7, 10**15 + case) for case in range(300)], own_keys, num, vocabulary)
        assert drawn.shape == (300, num)
        real = drawn[drawn != 0].reshape(300, -1)
        assert real.shape[1] == min(num, vocabulary - 2 - 3)
        assert all(len(set(row)) == len(row) for row in real.tolist())
        assert not np.isin(real, [0, 1, 2, 5, 30]).any()
        assert real.max() < vocabulary
    drawn = draw_items([(7, case) for case in range(3000)], np.zeros(0, dtype=int), 4, 22)
    counts = np.bincount(drawn.ravel(), minlength=22)[2:]
    expected = 3000 * 4 / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8, "chi-square, 19 degrees of freedom, 0.1 %"


def test_what_is_drawn_depends_on_the_case_and_the_seed_alone() -> None:
    own_keys = np.arange(6) * SPAN + 9
    whole = draw_items([(7, case) for case in range(6)], own_keys, 20, 900)
    part = draw_items([(7, case) for case in range(3, 6)], own_keys[:3], 20, 900)
    assert (whole[3:] == part).all()
    assert (whole != draw_items([(8, case) for case in range(6)], own_keys, 20, 900)).any()
    assert (whole[0] != whole[1]).any()


def test_ranks_among_drawn_items_agree_with_the_plain_rule() -> None:
    rng = np.random.default_rng(3)
    drawn = torch.from_numpy(rng.integers(0, 4, (50, 30)).astype(float))
    wanted = sought([[2], [3, 4]] * 25)
    score_P = torch.from_numpy(rng.integers(0, 4, 75).astype(float))
    drawn[0, 20:] = -torch.inf  # a catalogue that was smaller
    found = drawn_ranks(score_P, drawn, wanted).tolist()
    for n, (case, score) in enumerate(zip(wanted.case_P.tolist(), score_P.tolist(), strict=True)):
        same_case = [m for m in range(75) if int(wanted.case_P[m]) == case and m != n]
        ahead = sum(score_P[m] > score or (score_P[m] == score and m < n) for m in same_case)
        assert found[n] == 1 + int((drawn[case] >= score).sum()) + int(ahead)


def test_ndcg_with_one_relevant_item() -> None:
    gains = ndcg_at(np.arange(5), np.array([1, 2, 3, 10, 11]), 5, 10).tolist()
    assert gains == pytest.approx([1, 1 / np.log2(3), 0.5, 1 / np.log2(11), 0])


def test_gains_equal_hand_arithmetic() -> None:
    # Three things to be found: the first and the third of the list, and one that is not in it.
    (found,) = gains_of(np.zeros(3, dtype=int), np.array([3, 1, NO_RANK]), 1, [2, 5])
    told = dict(zip([(metric, k) for metric in METRICS for k in (2, 5)], found.tolist(), strict=True))
    assert told["hr", 2] == told["mrr", 5] == 1
    assert (told["recall", 2], told["recall", 5]) == pytest.approx((1 / 3, 2 / 3))
    assert (told["precision", 2], told["precision", 5]) == pytest.approx((1 / 2, 2 / 5))
    assert told["ndcg", 2] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert told["ndcg", 5] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2))
    assert (told["map", 2], told["map", 5]) == pytest.approx((1 / 3, (1 + 2 / 3) / 3))


def test_gains_agree_with_trec_eval() -> None:
    rng = np.random.default_rng(11)
    cutoffs, num_items = [1, 3, 10, 20], 60
    scores = rng.integers(0, 12, (300, num_items)).astype(np.float64)  # many ties
    targets = [rng.choice(num_items, int(rng.integers(1, 30)), replace=False).tolist() for _ in scores]
    wanted = sought([[2 + item for item in items] for items in targets])
    score_CV = torch.from_numpy(np.concatenate([np.full((300, 2), -np.inf), scores], axis=1))
    rank_P = full_ranks(score_CV, wanted).numpy()
    ours = gains_of(wanted.case_P.numpy(), rank_P, 300, cutoffs)

    relevant = {str(user): {str(item): 1 for item in items} for user, items in enumerate(targets)}
    lists = {}
    for user, items in enumerate(targets):
        # The same list for trec_eval, whose own order of ties is another: items to be found stand behind their equals.
        place_of = {item: place for place, item in enumerate(items)}
        keys = [(-scores[user, item], place_of.get(item, -1), item) for item in range(num_items)]
        lists[str(user)] = {str(item): float(num_items - place) for place, (_, _, item) in enumerate(sorted(keys))}
    asked = {f"{name}.{','.join(map(str, cutoffs))}" for name in TREC.values()}
    judged = pytrec_eval.RelevanceEvaluator(relevant, asked).evaluate(lists)
    for column, (metric, k) in enumerate([(metric, k) for metric in METRICS for k in cutoffs]):
        if metric == "mrr":
            short = {user: {item: s for item, s in found.items() if s > num_items - k} for user, found in lists.items()}
            told = pytrec_eval.RelevanceEvaluator(relevant, {"recip_rank"}).evaluate(short)
            theirs = [told[str(user)]["recip_rank"] for user in range(300)]
        else:
            theirs = [judged[str(user)][f"{TREC[metric]}_{k}"] for user in range(300)]
        assert np.abs(ours[:, column] - theirs).max() < 1e-9, (metric, k)
