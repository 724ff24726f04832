"""Sheets show the images that they are given, with their words."""

from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import torch

from src.utils.contact_sheet import COLUMNS, SheetGroup, save_contact_sheet
from src.utils.errors import UserError


def some_groups(*sizes: int) -> list[SheetGroup]:
    generator = torch.Generator().manual_seed(0)
    return [
        SheetGroup(
            f"group {number}",
            torch.randint(256, (size, 1, 5, 7), dtype=torch.uint8, generator=generator),
            [f"image {place}\nof {number}" for place in range(size)],
        )
        for number, size in enumerate(sizes)
    ]


def test_every_image_is_there_with_its_words_under_its_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure: matplotlib.figure.Figure, *args: object, **kwargs: object) -> None:
        kept.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    groups = some_groups(COLUMNS + 3, 0, 2)
    save_contact_sheet(tmp_path / "sheet.png", groups)
    (figure,) = kept
    first, last = figure.subfigs
    for part, group in ((first, groups[0]), (last, groups[2])):
        assert part.get_suptitle() == group.title
        shown = [axes for axes in part.axes if axes.images]
        assert len(shown) == len(group.captions)
        for axes, image, caption in zip(shown, group.images_N_C_H_W, group.captions, strict=True):
            np.testing.assert_array_equal(
                axes.images[0].get_array(), image.permute(1, 2, 0).expand(-1, -1, 3)
            )
            assert [text.get_text() for text in axes.texts] == [caption]


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_contact_sheet(tmp_path / name, some_groups(2))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"sheet\.png: cannot write"):
        save_contact_sheet(tmp_path / "file" / "sheet.png", some_groups(1))
