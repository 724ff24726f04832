"""Panels show the pixels that they are given, in the palette's colours and with its names."""

import io
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.utils.errors import UserError
from src.utils.panels import VOID_COLOUR, save_panels

PALETTE = ((128, 64, 128), (0, 0, 0), (70, 130, 180))
NAMES = ("road", "building", "sky")
VOID = 255


def some_scenes(n: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(3, (n, 12, 20), generator=generator)
    masks[:, -2:] = VOID
    return {
        "images_N_C_H_W": torch.randint(256, (n, 3, 12, 20), dtype=torch.uint8, generator=generator),
        "masks_N_H_W": masks,
        "predicted_N_H_W": torch.randint(3, (n, 12, 20), generator=generator),
        "uncertainty_N_H_W": torch.rand(n, 12, 20, generator=generator),
        "palette": PALETTE,
        "class_names": NAMES,
        "ignore_label": VOID,
    }


def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **scenes: Any) -> matplotlib.figure.Figure:
    """The figure that was saved."""
    kept = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure: matplotlib.figure.Figure, *args: Any, **kwargs: Any) -> None:
        kept.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    save_panels(tmp_path / "panels.png", **scenes)
    return kept[0]


def coloured(labels_H_W: Tensor) -> np.ndarray:
    """Pixel by pixel."""
    return np.array(
        [[VOID_COLOUR if label == VOID else PALETTE[label] for label in row] for row in labels_H_W.tolist()]
    )


def test_every_row_shows_its_scene_and_all_share_one_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = some_scenes()
    figure = drawn(tmp_path, monkeypatch, **scenes)
    shown = [axes.images[0] for axes in figure.axes[:8]]
    uncertainty = scenes["uncertainty_N_H_W"].numpy()
    for number in range(2):
        image, labels, prediction, uncertain = shown[4 * number : 4 * number + 4]
        np.testing.assert_array_equal(
            image.get_array(), scenes["images_N_C_H_W"][number].permute(1, 2, 0).numpy()
        )
        np.testing.assert_array_equal(labels.get_array(), coloured(scenes["masks_N_H_W"][number]))
        np.testing.assert_array_equal(prediction.get_array(), coloured(scenes["predicted_N_H_W"][number]))
        np.testing.assert_array_equal(uncertain.get_array(), uncertainty[number])
        assert uncertain.get_clim() == (uncertainty.min(), uncertainty.max())
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["image", "labels", "prediction", "uncertainty"]


def test_the_legend_names_every_class_in_its_colour_and_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (legend,) = drawn(tmp_path, monkeypatch, **some_scenes()).legends
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, "void"]
    colours = [np.rint(255 * np.array(patch.get_facecolor()[:3])).tolist() for patch in legend.get_patches()]
    assert colours == [list(colour) for colour in (*PALETTE, VOID_COLOUR)]


def test_the_same_maps_give_the_same_bytes_and_others_do_not(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first.png", "again.png", "other.png")]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        scenes = some_scenes()
        scenes["predicted_N_H_W"] = (scenes["predicted_N_H_W"] + seed) % 3
        save_panels(path, **scenes)
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again != other
    assert Image.open(io.BytesIO(first)).format == "PNG"


@pytest.mark.parametrize("kind", ["float", "grey", "one scene", "constant uncertainty", "void is -1"])
def test_other_kinds_of_maps_are_drawn_too(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = some_scenes(1 if kind == "one scene" else 2)
    expected = scenes["images_N_C_H_W"][0].permute(1, 2, 0).numpy()
    match kind:
        case "float":
            scenes["images_N_C_H_W"] = scenes["images_N_C_H_W"] / 255
        case "grey":
            scenes["images_N_C_H_W"] = scenes["images_N_C_H_W"][:, :1]
            expected = expected[:, :, [0, 0, 0]]
        case "constant uncertainty":
            scenes["uncertainty_N_H_W"] = torch.zeros(2, 12, 20)
        case "void is -1":
            scenes["masks_N_H_W"][scenes["masks_N_H_W"] == VOID] = -1
            scenes["ignore_label"] = -1
    figure = drawn(tmp_path, monkeypatch, **scenes)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), expected)
    assert (figure.axes[1].images[0].get_array()[-2:] == VOID_COLOUR).all()


def test_what_is_not_there_has_no_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = some_scenes() | {"predicted_N_H_W": None, "uncertainty_N_H_W": None}
    figure = drawn(tmp_path, monkeypatch, **scenes)
    assert [axes.get_title() for axes in figure.axes] == ["image", "labels", "", ""]


def test_captions_stand_beside_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(tmp_path, monkeypatch, **some_scenes(), captions=["highest", "lowest"])
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes[:8:4]] == [
        ["highest"],
        ["lowest"],
    ]


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"panels\.png: cannot write"):
        save_panels(tmp_path / "file" / "panels.png", **some_scenes())


@pytest.mark.cuda
def test_maps_on_a_gpu_are_drawn_as_those_on_the_cpu(tmp_path: Path) -> None:
    scenes = some_scenes()
    save_panels(tmp_path / "cpu.png", **scenes)
    on_gpu = {name: value.cuda() if isinstance(value, Tensor) else value for name, value in scenes.items()}
    save_panels(tmp_path / "gpu.png", **on_gpu)
    assert (tmp_path / "cpu.png").read_bytes() == (tmp_path / "gpu.png").read_bytes()
