import pytest
import torch
from torch import nn

from src.layers.consistent_dropout import ConsistentDropout
from src.layers.stochastic import start_passes, stochastic_layers


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture
def nested() -> nn.Module:
    """Dropouts at three depths, as a network built of blocks has them."""
    return nn.Sequential(
        ConsistentDropout(0.5),
        nn.Sequential(nn.ReLU(), nn.ModuleDict({"deep": ConsistentDropout(0.25)})["deep"]),
    )


def test_evaluation_without_passes_is_the_identity() -> None:
    x = torch.randn(1, 5, 7)
    assert torch.equal(ConsistentDropout(0.5).eval()(x), x)


def test_a_pass_shares_one_mask_among_all_inputs_and_passes_differ() -> None:
    layer = ConsistentDropout(0.5)
    start_passes(layer, 4, seed=1)
    masks_K_N_F = layer(torch.ones(1, 6, 200))
    assert masks_K_N_F.shape == (4, 6, 200)
    assert torch.equal(masks_K_N_F, masks_K_N_F[:, :1].expand_as(masks_K_N_F))
    assert len({tuple(mask.tolist()) for mask in masks_K_N_F[:, 0]}) == 4


def test_every_element_of_a_feature_map_has_its_own_mask() -> None:
    """As nn.Dropout has it, and not a channel at a time."""
    layer = ConsistentDropout(0.5)
    start_passes(layer, 2, seed=1)
    masks_K_N_C_H_W = layer(torch.ones(1, 3, 4, 6, 5))
    assert masks_K_N_C_H_W.shape == (2, 3, 4, 6, 5)
    assert torch.equal(masks_K_N_C_H_W, masks_K_N_C_H_W[:, :1].expand(-1, 3, -1, -1, -1))
    dropped_share = (masks_K_N_C_H_W[:, 0] == 0).double().mean((-1, -2))
    assert ((dropped_share > 0) & (dropped_share < 1)).all()


def test_masks_stay_the_same_from_batch_to_batch_until_redrawn() -> None:
    layer, x = ConsistentDropout(0.5), torch.ones(1, 3, 200)
    start_passes(layer, 2, seed=1)
    first = layer(x)
    assert torch.equal(layer(x[:, :1]), first[:, :1])
    start_passes(layer, 2, seed=1)
    assert torch.equal(layer(x), first)
    start_passes(layer, 2, seed=2)
    assert not torch.equal(layer(x), first)


def test_kept_units_are_scaled_so_that_the_mean_is_kept() -> None:
    layer = ConsistentDropout(0.25)
    start_passes(layer, 50, seed=3)
    masks = layer(torch.ones(1, 1, 2000))
    assert masks.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert masks.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("mode", [True, False])
def test_a_parents_change_of_mode_ends_the_passes_of_nested_layers(nested: nn.Module, mode: bool) -> None:
    start_passes(nested, 3, seed=1)
    assert nested(torch.ones(1, 2, 50)).shape[0] == 3
    nested.train(mode)
    nested.eval()
    assert torch.equal(nested(torch.ones(1, 2, 50)), torch.ones(1, 2, 50))


def test_layers_of_one_network_draw_different_masks() -> None:
    model = nn.Sequential(ConsistentDropout(0.5), nn.Sequential(ConsistentDropout(0.5)))
    start_passes(model, 1, seed=1)
    first, second = (layer(torch.ones(1, 1, 300)) > 0 for layer in stochastic_layers(model))
    assert not torch.equal(first, second)


def test_start_passes_refuses_a_network_without_dropout() -> None:
    with pytest.raises(ValueError, match="ConsistentDropout"):
        start_passes(nn.Linear(2, 2), 3, seed=0)


def test_training_draws_a_fresh_mask_an_input_and_a_call() -> None:
    layer = ConsistentDropout(0.5).train()
    layer.use_generators(generators(0))
    x = torch.ones(1, 2, 200)
    first = layer(x)
    assert not torch.equal(first[0, 0], first[0, 1])
    assert not torch.equal(layer(x), first)


def test_members_in_training_draw_what_each_would_draw_alone() -> None:
    together = ConsistentDropout(0.5).train()
    together.use_generators(generators(4, 5))
    masks_M_N_F = together(torch.ones(2, 3, 40))
    for member, seed in enumerate((4, 5)):
        alone = ConsistentDropout(0.5).train()
        alone.use_generators(generators(seed))
        assert torch.equal(alone(torch.ones(1, 3, 40))[0], masks_M_N_F[member])
