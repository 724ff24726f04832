"""The benchmarks can be found and started, and both contestants of a comparison do the same work. Nothing is timed."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import al_round
from benchmarks.__main__ import main, names
from src.active.pool import Pool
from src.data import DataBundle, DatasetInfo, Split


def synthetic(train: int = 60, test: int = 20) -> DataBundle:
    """Noise in MNIST's shape, each image brightened in the row of its class."""

    def split(count: int, seed: int) -> Split:
        labels_N = torch.arange(count) % 10
        generator = torch.Generator().manual_seed(seed)
        images_N_C_H_W = torch.randint(60, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
        images_N_C_H_W[torch.arange(count), 0, 2 * labels_N] += 180
        return Split(images_N_C_H_W, labels_N)

    info = DatasetInfo("mnist", "classification", 10, 1, 28, 28, train, test, tuple("0123456789"))
    return DataBundle(info, split(train, 0), split(test, 1))


@pytest.mark.parametrize("arguments", [[], ["no_such_benchmark"], ["__main__"]])
def test_an_unknown_name_lists_the_choices_and_exits_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.endswith(f"choices: {', '.join(names())}\n")


@pytest.mark.parametrize("name", names())
def test_every_benchmark_has_a_docstring_and_a_main(name: str) -> None:
    module = import_module(f"benchmarks.{name}")
    assert module.__doc__
    assert callable(module.main)


def test_al_round_is_among_the_names() -> None:
    assert "al_round" in names()


def test_al_round_without_baal_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "baal", None)
    monkeypatch.setitem(sys.modules, "baal.modelwrapper", None)
    assert main(["al_round"]) == 2
    assert "pip install --no-deps -r benchmarks/requirements.txt" in capsys.readouterr().err


def test_our_round_trains_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(al_round, "make_deterministic", lambda: None)  # it would outlast this test
    data = synthetic()
    pool = Pool.start(len(data.train), data.train.labels_N, 0.2, 40, al_round.SEEDS)
    turn = al_round.ours(al_round.round_config(Path("unused"), epochs=30), data, pool)
    assert turn.who == "ours"
    assert turn.seconds == turn.train + turn.score > 0
    assert turn.accuracy > 0.9


def test_both_contestants_begin_as_the_same_function() -> None:
    data = synthetic()
    model = al_round._initial_model(al_round.round_config(Path("unused")), data).eval()
    sequential = al_round.as_sequential(model, 0.25)
    kinds = [type(layer).__name__ for layer in sequential]
    assert kinds == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]
    inputs_N_C_H_W = data.test.inputs(data.test.indices)
    torch.testing.assert_close(sequential.eval()(inputs_N_C_H_W), model(inputs_N_C_H_W[None])[0])


def test_both_contestants_see_the_same_images(tmp_path: Path) -> None:
    """torchvision reads back from the idx files what the split holds, as the same floats."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    data = synthetic()
    al_round.write_idx_files(data, tmp_path)
    for split, train in ((data.train, True), (data.test, False)):
        theirs = MNIST(str(tmp_path), train=train, transform=ToTensor())
        images, labels = zip(*theirs, strict=True)
        assert list(labels) == split.labels_N.tolist()
        torch.testing.assert_close(torch.stack(images), split.inputs(split.indices))
