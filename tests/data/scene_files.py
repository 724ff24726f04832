"""Small scenes in files, laid out as Cityscapes, for tests of what is read from them."""

from pathlib import Path

import numpy as np
from PIL import Image

from src.config import Config

SIZE = (12, 20)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def image_path(root: Path, part: str, frame: str) -> Path:
    return root / "leftImg8bit" / part / "city" / f"{frame}_leftImg8bit.png"


def label_path(root: Path, part: str, frame: str, kind: str = "labelIds") -> Path:
    return root / "gtFine" / part / "city" / f"{frame}_gtFine_{kind}.png"


def grow(root: Path, train: int = 5, test: int = 2, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """Scenes of random pixels and ids; by part, scenes_N_H_W_4 as they were written (RGB, id)."""
    rng = np.random.default_rng(0)
    written = {}
    for part, count in (("train", train), ("val", test)):
        scenes_N_H_W_4 = rng.integers(0, 256, (count, *size, 4), dtype=np.uint8)
        scenes_N_H_W_4[..., 3] %= 34
        for at, scene_H_W_4 in enumerate(scenes_N_H_W_4):
            save(image_path(root, part, f"f{at}"), scene_H_W_4[..., :3].copy())
            save(label_path(root, part, f"f{at}"), scene_H_W_4[..., 3].copy())
        written[part] = scenes_N_H_W_4
    return written


def config(root: Path, dataset: str = "cityscapes", **data: object) -> Config:
    return Config.model_validate(
        {
            "name": "test",
            "training": {"verbose": False},
            "data": {"dataset": dataset, "path": str(root), **data},
        }
    )
