"""What every model must pass, whatever its architecture."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sparkrec.config.train_settings import COUNTED, SINGLE, WITHOUT_NEIGHBOURS, WITHOUT_PAST
from sparkrec.errors import SparkrecError
from sparkrec.models.attention import by_distance
from sparkrec.models.best import Finder, coarse_numbers, vectors_of
from sparkrec.models.lately import first_pass, scored_items, scored_states
from sparkrec.models.registry import ARCHITECTURES, LEARNT, build_model
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import CARD, WEIGHTS, Card, has_model, is_readable, load_model, read_card, save_model

HEADS = ("next_action", "purchase")
SHAPE = ModelShape(30, 8, width=16, num_blocks=2, num_heads=2, dropout=0.1, num_users=50, heads=HEADS)
TWO = "two "
"""Before the name of an architecture: an ensemble of two of them."""
BUILT = (*LEARNT, f"{TWO}sasrec", f"{TWO}caser")
models = pytest.mark.parametrize("name", BUILT)
readers = pytest.mark.parametrize("name", [name for name in BUILT if ARCHITECTURES[name.removeprefix(TWO)].reads_past])
"""Those whose states follow from what a user did."""


def card_of(name: str) -> Card:
    shape = replace(SHAPE, num_members=2) if name.startswith(TWO) else SHAPE
    return Card("v", name.removeprefix(TWO), shape, "line")


def untrained(name: str) -> SequenceModel:
    torch.manual_seed(7)
    card = card_of(name)
    model = build_model(card.architecture, card.shape).eval()
    model.is_known_V[2:] = True
    return model


def inputs(items: list[int]) -> dict[str, Tensor]:
    item_BL = torch.tensor([[0] * (SHAPE.length - len(items)) + items])
    kinds = (item_BL > 0).long()
    return {"item_idxs": item_BL, "event_types": kinds, "user_idx": torch.tensor([5])}


@readers
def test_a_later_event_changes_no_earlier_state(name: str) -> None:
    model = untrained(name)
    one, other = model.states(inputs([5, 6, 7, 8])), model.states(inputs([5, 6, 7, 20]))
    assert torch.allclose(one[:, :-1], other[:, :-1], atol=1e-6)
    assert not torch.allclose(one[:, -1], other[:, -1])


@readers
def test_an_earlier_event_does_change_the_state(name: str) -> None:
    model = untrained(name)
    assert not torch.allclose(model.states(inputs([5, 6, 7]))[:, -1], model.states(inputs([9, 6, 7]))[:, -1])


@models
def test_padding_changes_no_score(name: str) -> None:
    model = untrained(name)
    padded = inputs([5, 6, 7])
    short = {column: values[:, -3:] if values.dim() > 1 else values for column, values in padded.items()}
    with torch.inference_mode():
        assert torch.allclose(model.states(padded)[:, -1], model.states(short)[:, -1], atol=1e-6)


@models
def test_other_users_of_a_batch_change_no_score(name: str) -> None:
    model = untrained(name)
    together = {k: torch.cat([v, inputs([9, 10])[k]]) for k, v in inputs([5, 6, 7]).items()}
    assert torch.allclose(model.states(together)[:1], model.states(inputs([5, 6, 7])), atol=1e-6)


def test_the_settings_know_what_the_models_are() -> None:
    assert set(COUNTED) == ARCHITECTURES.keys() - set(LEARNT)
    assert set(WITHOUT_PAST) == {name for name in LEARNT if not ARCHITECTURES[name].reads_past}
    assert set(SINGLE) == {*COUNTED, *(name for name in LEARNT if ARCHITECTURES[name].scores_pairs)}
    assert set(SINGLE) - {"item_knn"} <= set(WITHOUT_NEIGHBOURS)


@models
def test_the_matrix_holds_every_items_vector(name: str) -> None:
    model = untrained(name)
    assert torch.equal(model.item_matrix(), model.item_vectors(torch.arange(SHAPE.vocabulary_size)))
    assert model.states(inputs([5]))[:, -1].shape[1] == model.item_matrix().shape[1] == model.state_width
    assert model.item_matrix()[2:].abs().sum(dim=1).all()


@pytest.mark.parametrize("name", [name for name in BUILT if ARCHITECTURES[name.removeprefix(TWO)].reads_user])
def test_another_user_gets_other_scores(name: str) -> None:
    model = untrained(name)
    scores = []
    for user in (5, 6):
        told = {**inputs([5, 6, 7]), "user_idx": torch.tensor([user])}
        state_BD = model.states(told)[:, -1]
        if model.scores_pairs:  # by its own part alone, for the whole state has a length of its own
            state_BD = torch.cat([torch.ones(1, state_BD.shape[1] - SHAPE.width), state_BD[:, -SHAPE.width :]], dim=1)
        score_BV = model.all_pair_scores(state_BD) if model.scores_pairs else model.scores(state_BD)
        scores.append(score_BV[0, 2:])
    assert not torch.allclose(*scores)


@pytest.mark.parametrize("name", [f"{TWO}sasrec", f"{TWO}caser"])
def test_scores_of_an_ensemble_are_the_mean_of_its_members(name: str) -> None:
    model = untrained(name)
    told = inputs([5, 6, 7])
    score_BV = model.scores(model.last_state(told))
    of_members = []
    for member in model.parts:
        member.is_known_V[2:] = True
        of_members.append(member.scores(member.last_state(told)))
    assert len(of_members) == 2
    assert not torch.allclose(*of_members), "each has random weights of its own"
    assert torch.allclose(score_BV, sum(of_members) / 2, atol=1e-6)
    assert torch.allclose(model.states(told)[:, -1], model.last_state(told), atol=1e-6)


@pytest.mark.parametrize("name", [name for name, of in ARCHITECTURES.items() if not of.scores_pairs])
def test_what_is_popular_lately_is_added_to_the_models_own_scores_as_much_as_it_counts(name: str) -> None:
    model = untrained(name)
    past = model.last_state(inputs([5, 6, 7]))
    item_V, lately_V = torch.arange(SHAPE.vocabulary_size), torch.arange(SHAPE.vocabulary_size) % 4
    own_BV = past.float() @ model.item_matrix().float().T
    for lately in (0.0, 3.0):
        model.take(SecondOpinion(lately=lately))
        found_BV = scored_states(model, past, 1, 2) @ scored_items(model, item_V, [item_V, lately_V]).T
        assert torch.allclose(found_BV, own_BV + lately * lately_V.float().log1p(), atol=1e-4)


def test_what_is_popular_lately_leaves_the_first_pass_of_a_list_sharp_enough() -> None:
    generator = torch.Generator().manual_seed(3)
    model = build_model("sasrec", replace(SHAPE, vocabulary_size=20_000, width=128, temperature=0.07)).eval()
    assert first_pass(model, "auto") == "auto"
    model.take(SecondOpinion(lately=16.0))
    assert first_pass(model, "bfloat16") == "bfloat16", "as it was asked for"
    events_V = (2.0 ** (12 * torch.rand(20_000, generator=generator))).long()
    state_BD = functional.normalize(torch.randn(8, 128, generator=generator), dim=1) / 0.07
    with torch.inference_mode():
        item_KD = scored_items(model, torch.arange(20_000), [events_V])
        finder = Finder(vectors_of(item_KD), 8, coarse_numbers(first_pass(model, "auto"), item_KD.device))
        nobody = torch.zeros(0, dtype=torch.long)
        found_BN, _ = finder.best(scored_states(model, state_BD), nobody, nobody, (), 10)
        whole_BK = state_BD @ model.item_matrix().T + 16 * events_V.float().log1p()
    assert torch.allclose(found_BN, whole_BK.topk(10).values)
    assert finder.one_by_one == 0


@models
def test_only_known_items_are_scored(name: str) -> None:
    model = untrained(name)
    model.is_known_V[:] = True  # padding and 'unknown' are no items even then
    model.is_known_V[4] = False
    state_BD = model.states(inputs([5]))[:, -1]
    score_V = (model.all_pair_scores(state_BD) if model.scores_pairs else model.scores(state_BD))[0]
    assert [index for index, score in enumerate(score_V.tolist()) if score == -torch.inf] == [0, 1, 4]


@models
def test_a_saved_model_scores_the_same(name: str, tmp_path: Path) -> None:
    model = untrained(name)
    save_model(tmp_path / "m", model, card_of(name))
    loaded = load_model(str(tmp_path / "m"))
    assert torch.allclose(loaded.states(inputs([5, 6])), model.states(inputs([5, 6])), atol=1e-6)
    assert torch.equal(loaded.is_known_V, model.is_known_V)
    state_BD, items_BM = model.states(inputs([5, 6]))[:, -1], torch.tensor([[7, 8]])
    for ask in (lambda m: m.purchase_logits(state_BD, items_BM), lambda m: m.action_logits(state_BD, "next_action")):
        assert torch.allclose(ask(loaded), ask(model), atol=1e-6)
    assert read_card(tmp_path / "m") == card_of(name)


@pytest.mark.parametrize("name", [name for name in LEARNT if ARCHITECTURES[name].scores_pairs])
def test_scores_of_the_best_pairs_are_those_of_all_pairs(name: str) -> None:
    model = untrained(name)
    state_BD = torch.cat([model.states(inputs(past))[:, -1] for past in ([5, 6], [9, 8, 7])])
    whole_BV = model.all_pair_scores(state_BD)
    items_BM = torch.arange(2, 30).expand(2, -1)
    assert torch.allclose(whole_BV[:, 2:], model.pair_scores(state_BD, items_BM), atol=1e-5)
    best_BV = model.best_pair_scores(state_BD, model.item_matrix(), 7)
    for row in range(2):
        kept = (best_BV[row] > -torch.inf).nonzero().flatten()
        assert kept.tolist() == sorted(model.scores(state_BD)[row].topk(7).indices.tolist())
        assert torch.allclose(best_BV[row, kept], whole_BV[row, kept], atol=1e-5)
    model.is_known_V[5:] = False
    assert (model.best_pair_scores(state_BD, model.item_matrix(), 7) > -torch.inf).sum(dim=1).tolist() == [3, 3]


def test_numbers_by_distance_stand_where_an_event_lies_so_far_back() -> None:
    numbers_HL = torch.arange(8.0).view(2, 4)
    assert by_distance(numbers_HL, 2, 4)[1].tolist() == [[6, 5, 4, 4], [7, 6, 5, 4]]
    assert by_distance(numbers_HL, 2, 4).shape == (2, 2, 4)


def test_half_a_model_is_no_model(tmp_path: Path) -> None:
    model = untrained("sasrec")
    save_model(tmp_path / "m", model, Card("v", "sasrec", SHAPE, "line"))
    (tmp_path / "m" / WEIGHTS).unlink()
    assert not has_model(tmp_path / "m")
    (tmp_path / "m" / CARD).write_text("{")
    with pytest.raises(SparkrecError, match="not a readable model"):
        read_card(tmp_path / "m")


def test_a_model_of_another_layout_is_refused_and_no_champion(tmp_path: Path) -> None:
    model = untrained("sasrec")
    save_model(tmp_path / "m", model, Card("v", "sasrec", SHAPE, "line"))
    assert is_readable(tmp_path / "m")
    told = json.loads((tmp_path / "m" / CARD).read_text())
    del told["layout"]  # as models of before had none
    (tmp_path / "m" / CARD).write_text(json.dumps(told))
    assert has_model(tmp_path / "m")
    assert not is_readable(tmp_path / "m")
    with pytest.raises(SparkrecError, match="another version of sparkrec; train it again"):
        load_model(str(tmp_path / "m"))


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    model = untrained("sasrec")
    save_model(tmp_path / "m", model, Card("v1", "sasrec", SHAPE, "line"))
    (tmp_path / "m" / "left over").touch()
    save_model(tmp_path / "m", model, Card("v2", "sasrec", replace(SHAPE, dropout=0.3), "line"))
    assert sorted(file.name for file in (tmp_path / "m").iterdir()) == [CARD, WEIGHTS]
    assert read_card(tmp_path / "m").model_version == "v2"
