"""Every stage that is measured does its work. No time is asserted."""

import pytest
import torch

from benchmarks import _probes, _stages
from benchmarks._memory import STATUS
from benchmarks._probes import PROBES, Bench, Probe

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(torch.device("cpu"), tmp_path_factory.mktemp("pool"), "resnet18", 32, 10)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_every_probe_does_its_work(probe: Probe, bench: Bench) -> None:
    measured = probe.measure(bench, 64, min(probe.others[0], 50), 1)
    assert measured.seconds > 0
    assert measured.growth >= 0


def test_scoring_scores_every_input(bench: Bench) -> None:
    """A repeated source has as many inputs as it is asked for, which repeat."""
    count = _probes.PERIOD + 10
    scores_N = next(probe for probe in PROBES if probe.name == "gmm").prepare(bench, count, 1)()
    assert isinstance(scores_N, torch.Tensor)
    assert len(scores_N) == count
    torch.testing.assert_close(scores_N[-10:], scores_N[:10])


def test_typiclust_is_held_to_its_rounds_and_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(_probes, "typiclust", lambda *_, **__: seen.append(_probes.geometry.LLOYD_ROUNDS))
    _probes._clusters(bench, 64, 3)()
    assert seen == [3]
    assert _probes.geometry.LLOYD_ROUNDS == _stages.LLOYD_ROUNDS == 100
