"""Contracts of every registered model, kind of member and density head with every registered acquisition."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from src.active import plan as plans
from src.active.acquisition import ACQUISITIONS
from src.active.batch import Batch
from src.active.checkpoint import Checkpoint
from src.active.loop import run_round, start_pool
from src.active.plan import check_heuristic, make_plan, mc_passes
from src.active.pool import Pool
from src.active.scoring import PoolView, fit_density
from src.config import Config, ModelConfig
from src.data import DataBundle, load_dataset
from src.data.bundle import Split
from src.data.digits import Digits
from src.layers.stochastic import passes_of
from src.models import architectures
from src.models.build import build_density, check_model
from src.models.density import DensityModel
from src.models.network import Network
from src.models.resnet import ResNet
from src.utils.console import RunConsole
from src.utils.errors import UserError
from src.utils.records import RunRecords
from src.utils.seeding import RoundSeeds
from tests.active.pairs import NETWORKS, WAYS, Model, Way, config, models
from tests.experiments import one_thread


def test_every_registered_acquisition_has_its_needs_written_down() -> None:
    assert {way.keys["heuristic"] for way in WAYS} == set(ACQUISITIONS)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_pair_is_refused_before_data_is_touched_exactly_where_its_needs_are_not_met(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Digits) -> None:
        raise AssertionError("data was read")

    @cache
    def parameters(model: ModelConfig) -> int:
        return check_model(Config(name="built_once", model=model), (1, 8, 8), 10)

    monkeypatch.setattr(Digits, "read", read)
    monkeypatch.setattr(architectures, "ResNet", cache(ResNet))
    monkeypatch.setattr(plans, "check_model", lambda config, *_, **__: parameters(config.model))
    for model in models(network):
        for way in WAYS:
            if way.needs <= model.has:
                make_plan(config(model, way))
            else:
                with pytest.raises(UserError, match=r"^training\.heuristic"):
                    make_plan(config(model, way))


@pytest.mark.parametrize("ensemble", [False, True], ids=["one", "ensemble"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_allowed_pair_looks_chooses_and_labels_in_two_rounds(
    network: str, ensemble: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of models whose training is the same, one is trained, and all of them look at it; those that differ in their
    density heads alone are one model to an acquisition that reads no density.

    ResNet-18 has its own width, all other residual networks a quarter of theirs, with all their blocks.
    """
    if not network.endswith("resnet18"):
        monkeypatch.setattr(torchvision.models, "get_model", quarter_width)
    alike = [model for model in models(network) if (model.kind == "ensemble") == ensemble]
    allowed = [
        (model, way)
        for model in alike
        for way in WAYS
        if way.needs <= model.has and (way.reads_density or model.head == alike[0].head)
    ]
    given = config(*allowed[-1])
    data = few_digits(given)
    pool = start_pool(given, data, 3)
    panel = Panel(allowed, pool)
    plan, records = replace(make_plan(given), acquisition=panel), RunRecords(tmp_path, 3)
    with one_thread(), RunConsole(1, 1, 3, 0, verbose=False) as console:
        for round_ in range(2):
            checkpoint = Checkpoint(tmp_path, RoundSeeds(3, round_), given, "few digits", torch.device("cpu"))
            run_round(round_, given, plan, data, pool, records, checkpoint, console)
    assert panel.batches == 2 * len(allowed)
    assert [row["labelled"] for row in records.rows] == [30, 36]
    assert len(pool.labelled_indices) == 42


def quarter_width(name: str, weights: None, num_classes: int) -> nn.Module:
    """torchvision's residual network of that name, with a quarter of the channels in every block."""
    make_stage = torchvision.models.ResNet._make_layer

    def narrow_stage(net: nn.Module, block: type, planes: int, *args: Any, **options: Any) -> nn.Module:
        return make_stage(net, block, planes // 4, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models.ResNet, "_make_layer", narrow_stage)
        net = getattr(torchvision.models, name)(weights=weights, num_classes=num_classes)
    net.fc = nn.Linear(net.inplanes, num_classes)
    return net


def few_digits(config: Config) -> DataBundle:
    """96 digits to label from and 24 to validate on, since a wide residual network has to look at all of them."""
    data = load_dataset(config, torch.device("cpu"))
    train, test = (
        Split(split.images_N_C_H_W[:count], split.labels_N[:count])
        for split, count in ((data.train, 120), (data.test, 20))
    )
    return DataBundle(data.info, train, test)


class Panel:
    """Stands where one acquisition does: every pair observes the same trained network and chooses a batch of its own.

    Their models differ in the passes they make and in their density head, in which training has no part. The last
    pair's batch is what the round labels.
    """

    def __init__(self, pairs: list[tuple[Model, Way]], pool: Pool) -> None:
        self.pairs, self.pool, self.batches = pairs, pool, 0

    def observe(self, view: PoolView) -> tuple[Any, ...]:
        self.candidates_N = view.candidates_N
        remember_features(view.model)
        densities: dict[str | None, DensityModel | None] = {}
        evidence = []
        for model, way in self.pairs:
            given = config(model, way)
            if model.head not in densities:
                density = densities[model.head] = build_density(given, view.seeds)
                if density is not None:
                    fit_density(density, view.model, view.source, view.labelled_L, self.pool.val_indices)
            own = replace(view, density=densities[model.head], mc_passes=mc_passes(given))
            evidence.append(check_heuristic(given).observe(own))
        return tuple(evidence)

    def choose(self, evidence: tuple[Any, ...], count: int, seeds: RoundSeeds) -> Batch:
        for (model, way), seen in zip(self.pairs, evidence, strict=True):
            batch = check_heuristic(config(model, way)).choose(seen, count, seeds)
            pair = model.network, model.kind, model.head, way.keys
            assert len(batch.positions_Q) == count, pair
            assert batch.scores_Q.isfinite().all(), pair
            if way.keys["heuristic"] == "variance":
                assert batch.pool_scores_N.min() > 1e-12, f"{pair}: all members are one"
            # Refuses an input that is not in the pool, and one that comes twice.
            Pool(self.pool.labelled_in_round_N.clone()).label(self.candidates_N[batch.positions_Q], 1)
            self.batches += 1
        return batch


def remember_features(model: Network) -> None:
    """Run no batch through the encoder twice: under a round's masks it is a fixed function."""
    encode, seen = model.encode, {}

    def remembered(inputs_M_N_S: torch.Tensor) -> torch.Tensor:
        assert not model.training
        key = passes_of(model), inputs_M_N_S.numpy().tobytes()
        if key not in seen:
            seen[key] = encode(inputs_M_N_S)
        return seen[key]

    model.encode = remembered
