"""Vectors of items: their own, those of attributes, and what makes scores cosines."""

import numpy as np
import torch

from sparkrec.models.dropout import Dropout
from sparkrec.models.items import Items, on_sphere
from sparkrec.models.shape import ModelShape
from sparkrec.train.attributes import MAX_ATTRIBUTES, number

PLAIN = ModelShape(vocabulary_size=6, length=4, width=8, num_blocks=1, num_heads=1, dropout=0.0)
WITH_ATTRIBUTES = ModelShape(6, 4, 8, 1, 1, 0.0, num_attributes=3, max_attributes=2)


def with_attributes() -> Items:
    torch.manual_seed(1)
    items = Items(WITH_ATTRIBUTES)
    items.attributes_VA[2] = torch.tensor([1, 3])
    items.attributes_VA[3] = torch.tensor([2, 0])
    return items


def test_the_mean_of_an_items_attributes_is_added_to_its_own_vector() -> None:
    items = with_attributes()
    own, told = items.own.weight, items.attributes.weight
    assert torch.allclose(items(torch.tensor(2)), own[2] + (told[1] + told[3]) / 2)
    assert torch.allclose(items(torch.tensor(3)), own[3] + told[2]), "padding is no attribute"
    assert torch.equal(items(torch.tensor([[4, 0]])), own[[4, 0]][None]), "an item without any has its own vector"


def test_the_matrix_is_every_items_vector_and_no_item_at_all_is_none() -> None:
    for items in (with_attributes(), Items(PLAIN)):
        assert torch.equal(items.matrix(), items.scored(torch.arange(6)))
        assert items.scored(torch.zeros(0, dtype=torch.long)).shape == (0, 8)


def test_with_a_temperature_scores_are_cosines_over_it() -> None:
    items = Items(ModelShape(6, 4, 8, 1, 1, 0.0, temperature=0.5))
    encoded = torch.randn(3, 8)
    scores = items.as_states(encoded) @ items.matrix().T
    wanted = torch.nn.functional.cosine_similarity(encoded[:, None], items.own.weight[None, 1:], dim=-1) / 0.5
    assert torch.allclose(scores[:, 1:], wanted, atol=1e-5)


def test_vectors_on_the_sphere_and_their_gradients_are_pytorchs_own() -> None:
    torch.manual_seed(4)
    vectors, weights = torch.randn(5, 3, 8) * 10 ** torch.arange(-3.0, 2.0)[:, None, None], torch.randn(5, 3, 8)
    vectors[2, 1] = 0
    found = []
    for normalized in (on_sphere, torch.nn.functional.normalize):
        given = vectors.clone().requires_grad_()
        normal = normalized(given) if normalized is on_sphere else normalized(given, dim=-1)
        (normal * weights).sum().backward()
        found.append((normal.detach(), given.grad))
    for mine, wanted in zip(*found, strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-6)


def test_dropout_leaves_out_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(5)
    layer, ones = Dropout(0.3), torch.ones(400, 500)
    dropped = layer(ones)
    assert abs(float((dropped == 0).double().mean()) - 0.3) < 0.005
    assert torch.allclose(dropped[dropped > 0], torch.tensor(1 / 0.7))
    assert layer(ones.bfloat16()).dtype == torch.bfloat16
    torch.manual_seed(5)
    assert torch.equal(dropped, layer(ones)), "the seed decides"
    assert torch.equal(layer.eval()(ones), ones)
    assert torch.equal(Dropout(0.0)(ones), ones)


def test_a_shape_survives_being_written_as_json() -> None:
    import json
    from dataclasses import asdict

    assert ModelShape.read(json.loads(json.dumps(asdict(WITH_ATTRIBUTES)))) == WITH_ATTRIBUTES
    older = {"vocabulary_size": 6, "length": 4, "width": 8, "num_blocks": 1, "num_heads": 1, "dropout": 0.0}
    assert ModelShape.read(older) == PLAIN


def test_attributes_are_numbered_by_key_and_those_of_one_known_item_left_out() -> None:
    known = np.array([False, False, True, True, True, False])
    item, key = np.array([2, 2, 3, 4, 4, 5, 9]), np.array([70, 50, 50, 70, 60, 60, 50])
    found = number(item, key, known)
    assert found.keys.tolist() == [0, 50, 70], "60 is shared with an item that is not known only"
    assert found.numbers_VA.tolist() == [[0, 0], [0, 0], [1, 2], [1, 0], [2, 0], [0, 0]]


def test_of_many_attributes_those_count_that_few_items_share() -> None:
    known = np.ones(30, dtype=bool)
    common = [(item, 1) for item in range(30)]
    rare = [(item, 100 + number) for item in (5, 6) for number in range(MAX_ATTRIBUTES)]
    item, key = np.array(common + rare).T
    found = number(item, key, known)
    assert found.keys[found.numbers_VA[5]].tolist() == [100 + number for number in range(MAX_ATTRIBUTES)]
    assert found.keys[found.numbers_VA[7, 0]] == 1
