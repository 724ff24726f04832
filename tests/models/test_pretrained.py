import os
import re
from http.client import HTTPException
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from src.config import Config
from src.models.build import build_model, check_model
from src.models.network import Network
from src.models.pretrained import download_weights, load_weights, read_weights
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

RGB, GREY = (3, 32, 32), (1, 32, 32)


def net(**options: object) -> torch.nn.Module:
    torch.manual_seed(1)
    model = torchvision.models.resnet18(**{"num_classes": 7, **options})
    for _ in range(3):  # statistics that are not the initial ones
        model(torch.randn(8, *RGB))
    return model.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a ResNet-18 for seven classes."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net().state_dict(), path)
    return path


def config(path: Path | None = None, **model: object) -> Config:
    given = {"name": "resnet18", "pretrained": True, "pretrained_model": path and str(path), **model}
    return Config.model_validate({"name": "test", "model": given})


def build(given: Config, shape: tuple[int, ...], classes: int) -> Network:
    assert check_model(given, shape, classes) > 0
    return build_model(given, shape, classes, RoundSeeds(3, 0), torch.device("cpu")).eval()


def close(ours: Tensor, theirs: Tensor) -> None:
    assert not torch.allclose(theirs[0], theirs[1], atol=0.01), "outputs should depend on the input"
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_file_gives_torchvisions_outputs_statistics_included(file: Path) -> None:
    x = torch.randn(2, *RGB)
    close(build(config(file), RGB, 7)(x[None])[0], net()(x))


def test_a_file_can_be_named_from_the_home_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert check_model(config(Path("~", file.name)), RGB, 7) == check_model(config(file), RGB, 7)


def test_another_number_of_classes_keeps_the_initial_classifier_alone(file: Path) -> None:
    x = torch.randn(2, *RGB)
    model, at_random = (
        build(given, RGB, 5) for given in (config(file), config(pretrained=False, pretrained_model=None))
    )
    convolutional = torch.nn.Sequential(*list(net().children())[:-2])
    close(model.encode(x[None])[0], convolutional(x).flatten(1))
    assert torch.equal(model.head.weight_M_O_I, at_random.head.weight_M_O_I)


def test_grey_images_get_the_response_to_equal_colours(file: Path) -> None:
    x = torch.randn(2, *GREY)
    close(build(config(file), GREY, 7)(x[None])[0], net()(x.expand(-1, 3, -1, -1)))


def test_mir_begins_with_its_backbones_weights_and_members_share_them(file: Path) -> None:
    x = torch.randn(1, 2, *RGB)
    mir = build(config(file, name="MIR", mir_configs={"backbone": "resnet18"}), RGB, 7)
    close(mir(x)[0], net()(x[0]))
    ensemble = build(config(file, ensemble=2), RGB, 5)
    assert torch.equal(*ensemble.encode(x.expand(2, -1, -1, -1, -1)))
    assert not torch.equal(*ensemble.head.weight_M_O_I)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_checkpoints_of_training_scripts_are_unwrapped(wrapper: str, file: Path, tmp_path: Path) -> None:
    expected = read_weights(file)
    parallel = {f"module.{name}": tensor for name, tensor in expected.items()}
    torch.save({"epoch": 3, wrapper: parallel}, tmp_path / "checkpoint.pth")
    found = read_weights(tmp_path / "checkpoint.pth")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_whole_model_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"model\.pth: holds more than tensors.*save model\.state_dict\(\)"):
        read_weights(tmp_path / "model.pth")


def test_half_precision_files_are_read_into_float32() -> None:
    model = torchvision.models.resnet18(num_classes=7)
    load_weights(model, {name: tensor.half() for name, tensor in net().state_dict().items()})
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda: torchvision.models.resnet34(num_classes=7).state_dict(), "layer1.2.bn1.bias is unknown"),
        (lambda: {n: t for n, t in net().state_dict().items() if n != "layer4.1.bn2.weight"}, "is missing"),
        (
            lambda: {**net().state_dict(), "conv1.weight": torch.zeros(64, 3, 3, 3)},
            r"conv1.weight has the shape \(64, 3, 3, 3\) and not \(64, 3, 7, 7\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused_with_the_differences(
    weights: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(weights(), path)
    with pytest.raises(UserError, match=f"model.pretrained_model.*{message}"):
        check_model(config(path), RGB, 7)


class Intruder:
    """Unpickled, it makes the directory of this name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_no_file_runs_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cached = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir()
    torch.save({"conv1.weight": Intruder(tmp_path / "intruded")}, cached)
    for read in (lambda: read_weights(cached), lambda: download_weights("resnet18")):
        with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth"):
            read()
    assert not (tmp_path / "intruded").exists()


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    torch.save(net(), tmp_path / "pickled.pth")  # a whole module
    (tmp_path / "page.pth").write_text("<!DOCTYPE html>")
    (tmp_path / "greeting.pth").write_text("hello world")  # begins as a pickle does
    (tmp_path / "bytes.pth").write_bytes(b"\x80garbage")
    torch.save({0: torch.zeros(3)}, tmp_path / "numbered.pth")
    (tmp_path / "empty.pth").touch()
    for path in (*tmp_path.iterdir(), tmp_path / "absent.pth"):
        with pytest.raises(UserError, match=re.escape(str(path))) as caught:
            read_weights(path)
        assert "weights_only" not in str(caught.value), "torch's advice to run what is in the file"


@pytest.mark.parametrize("kind", [OSError, HTTPException])
def test_without_a_network_the_error_names_the_address_and_the_local_file(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise kind("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError) as caught:
        build_model(config(), RGB, 7, RoundSeeds(3, 0), torch.device("cpu"))
    message = str(caught.value)
    assert message.startswith("model.pretrained: ")
    for part in ("no route to host", "/resnet18-f37072fd.pth", str(tmp_path), "model.pretrained_model"):
        assert part in message


def test_checking_a_config_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.models, "get_model_weights", None)
    assert check_model(config(), RGB, 7) == sum(p.numel() for p in net().parameters())


def test_a_cached_download_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    expected = net().state_dict()
    torch.save(expected, tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    found = download_weights("resnet18")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
