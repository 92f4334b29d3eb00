"""Losses are what they say, negatives are drawn as often as stated, and leaving padding out changes nothing."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sparkrec.config.train_settings import TrainSettings
from sparkrec.models.pairs import PairModel
from sparkrec.models.registry import ARCHITECTURES, LEARNT, build_model
from sparkrec.models.shape import ModelShape
from sparkrec.tables import EVENT_CODES
from sparkrec.train.head_losses import pair_loss
from sparkrec.train.losses import (
    binary,
    chances_of,
    full_softmax,
    in_batch_negatives,
    less_sure_of,
    pairwise,
    shared_softmax,
    shares_of,
)
from sparkrec.train.objective import Objective, loss_for, num_following
from sparkrec.train.plan import Vocabulary
from sparkrec.train.trim import PIECE_COST_ON_GPU, TargetStates, at_targets, cut_pieces, following, piece_ends


def material(num_targets: int = 5, width: int = 4, size: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    states, items = torch.randn(num_targets, width, generator=generator), torch.randn(size, width, generator=generator)
    return states, items, torch.tensor([4, 2, 8, 2, 3])[:num_targets]


def test_shared_softmax_over_all_items_is_the_full_softmax() -> None:
    states, items, targets = material()
    follow, share = targets[:, None], torch.ones(5, 1)
    shared = shared_softmax(states, items.__getitem__, follow, share, torch.arange(2, 9), torch.zeros(9))
    full = full_softmax(states, items, follow, share, torch.ones(9, dtype=torch.bool))
    by_hand = torch.nn.functional.cross_entropy(states @ items[2:].T, targets - 2)
    assert torch.allclose(shared, by_hand)
    assert torch.allclose(full, by_hand)


FOLLOW = torch.tensor([[4, 2], [2, 0], [8, 4], [2, 6], [3, 3]])
KNOWN = torch.tensor([True, True, True, True, True, False, True, True, True])


def test_the_full_softmax_has_the_gradients_of_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparkrec.train.losses.BLOCK_LOGITS", 2 * 9)  # two targets at a time
    states, items, _ = material()
    share = shares_of(FOLLOW, 0.5)
    gradients = []
    for plain in (False, True):
        state_TD, item_VD = states.clone().requires_grad_(), items.clone().requires_grad_()
        if plain:
            log_chance = (state_TD @ item_VD.T).index_fill(1, torch.tensor([0, 1, 5]), -1e9).log_softmax(dim=1)
            loss = -(share * log_chance.gather(1, FOLLOW)).sum(dim=1).mean()
        else:
            loss = full_softmax(state_TD, item_VD, FOLLOW, share, KNOWN)
        (3 * loss).backward()
        gradients.append((loss, state_TD.grad, item_VD.grad))
    for mine, wanted in zip(*gradients, strict=True):
        assert torch.allclose(mine, wanted, atol=1e-6)


def test_the_full_softmax_in_bfloat16_is_about_the_same_and_its_gradients_are_float32() -> None:
    torch.manual_seed(3)
    states, items = torch.randn(40, 32), torch.randn(50, 32)
    targets, share, known = torch.randint(2, 50, (40, 1)), torch.ones(40, 1), torch.ones(50, dtype=torch.bool)
    found = []
    for in_bfloat16 in (False, True):
        state_TD, item_VD = states.clone().requires_grad_(), items.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = full_softmax(state_TD, item_VD, targets, share, known, in_bfloat16)
        loss.backward()
        found.append((loss.detach(), state_TD.grad, item_VD.grad))
    assert torch.allclose(found[0][0], torch.nn.functional.cross_entropy(states @ items[2:].T, targets[:, 0] - 2))
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - exact).norm() < 0.01 * exact.norm()


def test_the_shared_softmax_sets_each_item_that_follows_against_the_negatives_alone() -> None:
    states, items, _ = material()
    share, negatives = shares_of(FOLLOW, 0.5), torch.tensor([5, 6, 7, 6])
    loss = shared_softmax(states, items.__getitem__, FOLLOW, share, negatives, torch.zeros(9))
    by_hand = 0.0
    for state, follow, shares in zip(states, FOLLOW.tolist(), share.tolist(), strict=True):
        for item, much in zip(follow, shares, strict=True):
            logits = state @ items[[item, *(n for n in negatives.tolist() if n not in follow)]].T
            by_hand -= much * logits.log_softmax(dim=0)[0].item() / len(states)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_what_follows_counts_less_the_later_and_padding_not_at_all() -> None:
    assert shares_of(torch.tensor([[5, 6, 7], [5, 0, 0]]), 0.5).tolist() == [
        pytest.approx([4 / 7, 2 / 7, 1 / 7]),
        [1.0, 0.0, 0.0],
    ]
    assert [num_following(later) for later in (0, 0.01, 0.1, 0.5)] == [1, 1, 2, 6]
    assert shares_of(torch.tensor([[5]]), 0.0).tolist() == [[1.0]]


def test_what_follows_a_target_is_the_rest_of_its_window() -> None:
    piece = {"target_idxs": torch.tensor([[0, 4, 5, 6], [7, 0, 8, 9]])}
    assert following([piece], 3).tolist() == [[4, 5, 6], [5, 6, 0], [6, 0, 0], [7, 0, 8], [8, 9, 0], [9, 0, 0]]


def test_auto_takes_all_items_where_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.ones(9, dtype=torch.bool)
    vocabulary = Vocabulary(torch.ones(9, dtype=torch.int64), known, torch.full((9,), -1))
    assert loss_for("auto", vocabulary) == "softmax"
    monkeypatch.setattr("sparkrec.train.objective.FEW_ITEMS", 8)
    assert loss_for("auto", vocabulary) == "sampled_softmax"
    assert loss_for("binary", vocabulary) == "binary"


def test_the_log_of_the_chance_lowers_what_is_drawn_often() -> None:
    states, items = torch.ones(1, 2), torch.zeros(5, 2)
    chance = torch.tensor([1.0, 1.0, 0.5, 0.4, 0.1])
    negatives, alone = torch.tensor([3, 3, 4]), torch.ones(1, 1)
    loss = shared_softmax(states, items.__getitem__, torch.tensor([[2]]), alone, negatives, chance.log())
    by_hand = -np.log((1 / 0.5) / (1 / 0.5 + 1 / 0.4 + 1 / 0.4 + 1 / 0.1))
    assert loss.item() == pytest.approx(by_hand)


def test_shared_negatives_are_drawn_by_the_chances_that_correct_them() -> None:
    counts, known = torch.tensor([9, 9, 100, 50, 25, 7]), torch.tensor([False, False, True, True, True, False])
    chances = chances_of(counts, known, 0.75)
    drawn = chances.draw(60_000, torch.Generator().manual_seed(3))
    observed = torch.bincount(drawn, minlength=6)
    expected = chances.log_V.exp() * len(drawn)
    assert observed[~known].sum() == 0
    assert ((observed - expected) ** 2 / expected)[known].sum() < 13.8, "0.1 % of true draws, 2 degrees of freedom"
    assert (chances.log_V.exp()[2] / chances.log_V.exp()[3]).item() == pytest.approx(2**0.75)


def test_in_batch_negatives_are_the_batchs_targets() -> None:
    drawn = in_batch_negatives(torch.tensor([5, 5, 6, 7]), 10, torch.Generator().manual_seed(1))
    assert sorted(drawn.tolist()) == [5, 5, 6, 7]
    assert len(in_batch_negatives(torch.arange(50), 10, torch.Generator().manual_seed(1))) == 10


def test_binary_cross_entropy_counts_each_targets_own_negatives_once() -> None:
    states, items, targets = material(2)
    negatives = torch.tensor([[3, 5], [7, 0]])
    loss = binary(states, items.__getitem__, targets, negatives)

    def term(target: int, logit_sign: float, state: torch.Tensor) -> torch.Tensor:
        return -torch.log(torch.sigmoid(logit_sign * (state @ items[target])))

    first = term(4, 1, states[0]) + (term(3, -1, states[0]) + term(5, -1, states[0])) / 2
    second = term(2, 1, states[1]) + term(7, -1, states[1])  # the other place is padding
    assert torch.allclose(loss, (first + second) / 2)


def test_generalised_binary_cross_entropy_is_less_sure_of_targets_the_fewer_negatives_there_are() -> None:
    states, items, targets = material(2)
    negatives = torch.tensor([[3, 5], [7, 6]])
    plain = binary(states, items.__getitem__, targets, negatives, less_sure=1.0)
    surer = -torch.nn.functional.logsigmoid((states * items[targets]).sum(-1)).mean()
    less = binary(states, items.__getitem__, targets, negatives, less_sure=0.25)
    assert torch.allclose(plain - less, 0.75 * surer / 3)
    of_means = binary(states, items.__getitem__, targets, negatives)
    assert torch.allclose(3 * plain, surer + 2 * (of_means - surer)), "two negatives count twice as much as their mean"
    assert less_sure_of(8, 9, 0.75) == pytest.approx(1.0), "all others are negatives"
    assert less_sure_of(2, 101, 0.0) == pytest.approx(1.0)
    assert less_sure_of(2, 101, 1.0) == pytest.approx(0.02)


def test_pairwise_loss_compares_a_target_with_its_own_negatives() -> None:
    states, items, targets = material(2)
    loss = pairwise(states, items.__getitem__, targets, torch.tensor([[3, 5], [7, 0]]))

    def term(row: int, negative: int) -> torch.Tensor:
        return -torch.nn.functional.logsigmoid(states[row] @ (items[targets[row]] - items[negative]))

    assert torch.allclose(loss, ((term(0, 3) + term(0, 5)) / 2 + term(1, 7)) / 2)


def batch_of(lengths: list[int], length: int = 12, num_negatives: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    batch = {
        name: torch.randint(2, 30, (len(lengths), width), generator=generator)
        for name, width in (("item_idxs", length), ("target_idxs", length), ("negative_idxs", length * num_negatives))
    }
    batch["event_types"] = torch.randint(1, 4, (len(lengths), length), generator=generator)
    for row, real in enumerate(lengths):
        for name, values in batch.items():
            values[row, : (length - real) * (num_negatives if name == "negative_idxs" else 1)] = 0
    users = torch.arange(len(lengths))
    return {"window_id": users, "user_idx": users, **batch}


def test_pieces_hold_all_that_is_not_padding_and_little_else() -> None:
    batch = batch_of([1, 12, 3, 2, 3, 12, 1, 5] * 60)
    pieces = cut_pieces(batch, 3)
    assert len(pieces) > 1
    for name in ("target_idxs", "negative_idxs"):
        values = at_targets(pieces, name)
        assert sorted(values.reshape(-1).tolist()) == sorted(batch[name][batch[name] != 0].tolist())
    assert at_targets(pieces, "negative_idxs").shape == (len(at_targets(pieces, "target_idxs")), 3)
    computed = sum(piece["item_idxs"].numel() for piece in pieces)
    assert computed < 0.8 * batch["item_idxs"].numel()


@pytest.mark.parametrize("piece_cost", [1, 9, 30])
def test_pieces_take_the_least_time_of_all_ways_to_cut(piece_cost: int) -> None:
    lengths = [1, 1, 2, 4, 4, 5, 9, 12]

    def time_of(ends: Sequence[int]) -> int:
        starts = [0, *ends[:-1]]
        return sum(piece_cost + (end - start) * lengths[end - 1] for start, end in zip(starts, ends, strict=True))

    inner = range(1, len(lengths))
    every_way = [[*ends, len(lengths)] for num in range(len(lengths)) for ends in combinations(inner, num)]
    assert time_of(piece_ends(lengths, piece_cost)) == min(map(time_of, every_way))


def test_one_length_is_one_piece() -> None:
    assert piece_ends([50] * 128) == [128]
    assert piece_ends([7]) == [1]
    assert piece_ends([5] * 64 + [50] * 64, PIECE_COST_ON_GPU) == [128]


@pytest.mark.parametrize("architecture", LEARNT)
def test_states_at_targets_are_those_of_the_padded_batch(architecture: str) -> None:
    torch.manual_seed(3)
    model = build_model(architecture, ModelShape(30, 12, 16, 2, 2, 0.0)).eval()
    batch = batch_of([1, 12, 3, 2, 9, 12, 1, 5] * 40)
    pieces = cut_pieces(batch, 3)
    order = torch.argsort((batch["item_idxs"] != 0).sum(dim=1), stable=True)
    is_target = batch["target_idxs"][order] != 0
    padded = model.states({name: values[order] for name, values in batch.items()})[is_target]
    assert torch.allclose(TargetStates(model)(pieces), padded, atol=1e-5)
    assert (at_targets(pieces, "target_idxs") == batch["target_idxs"][order][is_target]).all()


def test_negatives_of_the_batch_are_corrected_by_how_often_items_are_targets() -> None:
    vocabulary = Vocabulary(torch.tensor([0, 0, 16, 1]), torch.tensor([False, False, True, True]), torch.full((4,), -1))

    def chances(loss: str) -> torch.Tensor:
        return Objective(TrainSettings(loss=loss), vocabulary, 0.5, torch.device("cpu"))._chances.log_V.exp()

    assert (chances("in_batch_softmax")[2] / chances("in_batch_softmax")[3]).item() == pytest.approx(16)
    assert (chances("sampled_softmax")[2] / chances("sampled_softmax")[3]).item() == pytest.approx(4)


@pytest.mark.parametrize("loss", ["sampled_softmax", "in_batch_softmax", "softmax", "binary", "pairwise"])
def test_a_batch_without_any_target_changes_nothing(loss: str) -> None:
    model = build_model("sasrec", ModelShape(30, 12, 16, 2, 2, 0.0))
    model.is_known_V = torch.ones(30, dtype=torch.bool)
    vocabulary = Vocabulary(torch.ones(30, dtype=torch.int64), model.is_known_V, torch.full((30,), -1))
    batch = batch_of([3, 5])
    batch["target_idxs"].zero_()
    objective = Objective(TrainSettings(loss=loss), vocabulary, 0.75, torch.device("cpu"))
    value = objective(TargetStates(model), model, cut_pieces(batch, 3), torch.Generator())
    value.backward()
    assert value.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("loss", ["softmax", "binary", "pairwise"])
def test_members_of_an_ensemble_learn_each_by_itself(loss: str) -> None:
    torch.manual_seed(4)
    model = build_model("sasrec", ModelShape(30, 12, 16, 2, 2, 0.0, temperature=0.07, num_members=2))
    vocabulary = Vocabulary(torch.ones(30, dtype=torch.int64), torch.ones(30, dtype=torch.bool), torch.full((30,), -1))
    pieces = cut_pieces(batch_of([3, 12, 5, 9]), 3)
    objective = Objective(TrainSettings(loss=loss), vocabulary, 0.75, torch.device("cpu"))
    losses = []
    for learner in (model, *model.parts):
        learner.is_known_V[2:] = True
        losses.append(objective(TargetStates(learner), learner, pieces, torch.Generator()))
    together, *alone = losses
    assert together.item() == pytest.approx(sum(loss.item() for loss in alone) / 2, rel=1e-5)
    assert alone[0].item() != alone[1].item()
    weights = list(model.parameters())
    of_all = torch.autograd.grad(together, weights, allow_unused=True)
    of_each = torch.autograd.grad(alone[0] + alone[1], weights, allow_unused=True)
    for found, wanted in zip(of_all, of_each, strict=True):
        assert (found is None) == (wanted is None)
        assert found is None or torch.allclose(found, wanted / 2, atol=1e-6)


@pytest.mark.parametrize("architecture", [name for name in LEARNT if ARCHITECTURES[name].reads_past])
def test_a_tiny_set_is_learnt_by_heart(architecture: str) -> None:
    torch.manual_seed(1)
    heads = ("next_action", "own_action", "purchase")
    model = build_model(architecture, ModelShape(14, 6, 16, 2, 2, 0.0, temperature=0.07, num_users=8, heads=heads))
    model.is_known_V[2:] = True
    vocabulary = Vocabulary(torch.ones(14, dtype=torch.int64), model.is_known_V, torch.full((14,), -1))
    objective = Objective(TrainSettings(loss="softmax", later_targets=0), vocabulary, 0.75, torch.device("cpu"))
    past_B7 = torch.stack([2 + torch.randperm(12)[:7] for _ in range(4)])
    batch = {
        "item_idxs": past_B7[:, :-1], "target_idxs": past_B7[:, 1:], "user_idx": torch.arange(4),
        "event_types": 1 + past_B7[:, :-1] % 3, "target_types": 1 + past_B7[:, 1:] % 3,
    }  # fmt: skip
    # Whatever a user never turns to.
    own = [set(past) for past in past_B7.tolist()]
    batch["negative_idxs"] = torch.tensor([[n for n in range(2, 14) if n not in past][:4] * 6 for past in own])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(300):
        loss = objective(TargetStates(model), model, cut_pieces(batch, 4), torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    state_TD = TargetStates(model)([batch])
    target_T, negative_TK = batch["target_idxs"].flatten(), batch["negative_idxs"].view(24, -1)
    for head, kinds in (("next_action", batch["target_types"]), ("own_action", batch["event_types"])):
        is_right_T = model.action_logits(state_TD, head).argmax(dim=1) == kinds.flatten()
        assert is_right_T.float().mean() > 0.9, head
    is_bought_T = model.purchase_logits(state_TD, target_T[:, None]).flatten() > 0
    assert (is_bought_T == (batch["target_types"].flatten() == EVENT_CODES["purchase"])).float().mean() > 0.9
    if isinstance(model, PairModel):
        assert (model.interest_logits(state_TD, target_T[:, None]) > 0).float().mean() > 0.9
        assert (model.interest_logits(state_TD, negative_TK) < 0).float().mean() > 0.9


@pytest.mark.parametrize("heads", [(), ("purchase",)])
def test_scores_of_pairs_are_log_odds_of_interest_or_the_log_of_the_chance_of_both(heads: tuple[str, ...]) -> None:
    for name in ("ite", "cnn_hybrid", "cnn_only", "long_only"):
        model = build_model(name, ModelShape(14, 6, 16, 2, 2, 0.0, temperature=0.07, num_users=8, heads=heads)).eval()
        assert isinstance(model, PairModel)
        state_BD, items_BM = torch.randn(3, model.state_width), torch.randint(2, 14, (3, 5))
        wanted_BM = interest_BM = model.interest_logits(state_BD, items_BM)
        if heads:
            wanted_BM = (interest_BM.sigmoid() * model.purchase_logits(state_BD, items_BM).sigmoid()).log()
        assert torch.allclose(model.pair_scores(state_BD, items_BM), wanted_BM, atol=1e-5)


def test_negatives_that_are_none_teach_pairs_nothing() -> None:
    torch.manual_seed(2)
    model = build_model("ite", ModelShape(14, 6, 16, 2, 2, 0.0, num_users=8)).eval()
    assert isinstance(model, PairModel)
    state_TD, target_T = torch.randn(2, 16), torch.tensor([3, 4])
    few, padded = torch.tensor([[5], [6]]), torch.tensor([[5, 0, 0], [6, 0, 0]])
    assert pair_loss(model, state_TD, target_T, few).item() == pytest.approx(
        pair_loss(model, state_TD, target_T, padded).item()
    )


def test_heads_learn_where_no_item_follows_too() -> None:
    piece = {
        "item_idxs": torch.tensor([[0, 4, 1, 5]]), "target_idxs": torch.tensor([[0, 0, 5, 0]]),
        "target_types": torch.tensor([[0, 4, 1, 2]]), "event_types": torch.tensor([[0, 1, 4, 1]]),
    }  # fmt: skip
    assert at_targets([piece], "target_types").tolist() == [4, 1, 2]
    assert at_targets([piece], "event_types").tolist() == [1, 4, 1]
    assert following([piece], 2).tolist() == [[0, 5], [5, 0], [0, 0]]
    without = {name: values for name, values in piece.items() if name != "target_types"}
    assert following([without], 2).tolist() == [[5, 0]]
    model = build_model("sasrec", ModelShape(14, 4, 16, 1, 2, 0.0, heads=("next_action",)))
    model.is_known_V[2:] = True
    vocabulary = Vocabulary(torch.ones(14, dtype=torch.int64), model.is_known_V, torch.full((14,), -1))
    objective = Objective(TrainSettings(later_targets=0), vocabulary, 0.75, torch.device("cpu"))
    loss = objective(TargetStates(model), model, [piece], torch.Generator())
    states_LD = model.states(piece)[0]
    of_kinds = functional.cross_entropy(model.action_logits(states_LD[1:], "next_action"), torch.tensor([4, 1, 2]))
    of_item = -model.scores(states_LD[2:3]).log_softmax(dim=1)[0, 5]
    assert loss.item() == pytest.approx(float(of_kinds + of_item), rel=1e-5)
