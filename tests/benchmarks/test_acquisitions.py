"""Both contestants of the acquisitions benchmark see the same pool. Nothing is timed."""

import sys
import time

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from benchmarks import acquisitions
from benchmarks.__main__ import main
from benchmarks._memory import STATUS
from benchmarks.acquisitions import CLASSES, MEMBERS, Evidence, Method

linux = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")


def test_the_made_up_pool_has_members_that_disagree_somewhere() -> None:
    probs_N_K_C = Evidence.draw(300, 100).log_probs_N_K_C().exp()
    assert probs_N_K_C.shape == (300, MEMBERS, CLASSES)
    torch.testing.assert_close(probs_N_K_C.sum(2), torch.ones(300, MEMBERS))
    assert 0.01 < probs_N_K_C.var(1).sum(1).mean() < 0.9


@pytest.mark.parametrize("method", [method.name for method in acquisitions.METHODS])
def test_ours_picks_as_many_as_are_asked_for(method: str) -> None:
    assert len(set(acquisitions.ours(method, Evidence.draw(300, 100), 12))) == 12


def test_what_scikit_is_given_is_the_pool_and_the_labelled_inputs() -> None:
    evidence = Evidence.draw(300, 100)
    features, labels = acquisitions._for_scikit(evidence)
    np.testing.assert_array_equal(features[np.isnan(labels)], evidence.features_N_D)
    np.testing.assert_array_equal(features[~np.isnan(labels)], evidence.labelled_L_D)
    assert (~np.isnan(labels)).sum() == 100
    farthest = cdist(evidence.features_N_D, evidence.labelled_L_D).min(1).argmax()
    assert acquisitions.ours("coreset", evidence, 1) == [farthest]


@linux
def test_the_memory_of_a_method_is_its_own_whatever_ran_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mib = {"coreset": 300, "badge": 100, "batchbald": 200}

    def grow(name: str, evidence: Evidence, count: int) -> list[int]:
        assert len(bytearray(mib[name] * 2**20)) > 0
        return [0]

    monkeypatch.setattr(acquisitions, "ours", grow)
    peers = [Method(name, "torch", "torch", lambda evidence, count: [0]) for name in mib]
    monkeypatch.setattr(acquisitions, "METHODS", peers)
    assert main(["acquisitions", "--pool", "20", "--count", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = {line[0]: float(line[line.index("MiB") - 1]) for line in lines if "MiB" in line}
    assert told == pytest.approx(mib, abs=10)


@linux
def test_a_peer_that_does_not_finish_is_stopped_and_bounds_the_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(evidence: Evidence, count: int) -> list[int]:
        while True:
            time.sleep(0.01)

    peers = [Method("coreset", "torch", "torch", never), Method("badge", "torch", "torch", lambda *_: [0])]
    monkeypatch.setattr(acquisitions, "METHODS", peers)
    monkeypatch.setattr(acquisitions, "ours", lambda *_: [0])
    assert main(["acquisitions", "--pool", "20", "--count", "1", "--limit", "1"]) == 0
    stopped, finished = (line for line in capsys.readouterr().out.splitlines() if "MiB" in line)
    assert ">1.00 s" in stopped
    assert "stopped before it had finished" in stopped
    assert "1 of 1 picks shared" in finished
    assert ">" not in finished


@linux
@pytest.mark.parametrize(("package", "method"), [("skactiveml", "badge"), ("batchbald_redux", "batchbald")])
def test_without_a_peer_it_says_how_to_get_it(
    package: str, method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["acquisitions", "--methods", method]) == 2
    assert "pip install --no-deps -r benchmarks/requirements.txt" in capsys.readouterr().err
