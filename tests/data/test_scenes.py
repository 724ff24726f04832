"""Batches of scenes are the obvious arithmetic on their bytes; sizes and void are the config's to say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from src.data import Source, availability, dataset_info, load_dataset, scene_cache
from src.data.cityscapes_labels import TRAIN_ID_OF_ID
from src.data.label_images import id_table
from src.data.scene_cache import CACHE_FOLDER
from src.data.scenes import SceneSplit
from src.utils.errors import UserError
from tests.data.scene_files import SIZE, config, grow, image_path, save

BYTES_N_4_H_W = torch.randint(
    256, (20, 4, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def split(*normalisation: tuple[float, ...], ignore_label: int = 255, device: str = "cpu") -> SceneSplit:
    return SceneSplit(
        BYTES_N_4_H_W[:, :3], BYTES_N_4_H_W[:, 3], device, *normalisation, ignore_label=ignore_label
    )


@given(st.lists(st.integers(0, 19), max_size=30), st.sampled_from([255, -1, -100, 300]))
def test_a_batch_is_the_chosen_scenes_in_order(indices: list[int], ignore_label: int) -> None:
    chosen = split(ignore_label=ignore_label)
    at_B = torch.tensor(indices, dtype=torch.int64)
    inputs, labels = chosen.inputs(at_B), chosen.labels(at_B)
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
    bytes_N = BYTES_N_4_H_W.numpy()[np.array(indices, dtype=int)]
    np.testing.assert_allclose(inputs.numpy(), bytes_N[:, :3] / 255, rtol=1e-6)
    expected = bytes_N[:, 3].astype(int)
    assert np.array_equal(labels.numpy(), np.where(expected == 255, ignore_label, expected))


def test_normalisation_is_per_channel_after_division_by_255() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 2.0)
    inputs = split(mean, std).inputs(torch.arange(20)).numpy()
    for channel in range(3):
        expected = (BYTES_N_4_H_W[:, channel].numpy() / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(inputs[:, channel], expected, rtol=1e-5, atol=1e-6)


def test_taking_a_batch_leaves_the_bytes_as_they_were() -> None:
    before = BYTES_N_4_H_W.clone()
    for take in (split().inputs, split(ignore_label=-1).labels):
        take(torch.arange(20)).zero_()
        assert torch.equal(BYTES_N_4_H_W, before)


def test_an_index_outside_the_split_raises() -> None:
    for take in (split().inputs, split().labels):
        for outside in (20, -1):
            with pytest.raises((IndexError, RuntimeError)):
                take(torch.tensor([outside]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_the_gpu_are_the_same() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 2.0)
    on_cpu, on_gpu = split(mean, std), split(mean, std, device="cuda")
    assert on_gpu.device == on_gpu.indices.device == on_gpu.inputs(on_gpu.indices).device
    torch.testing.assert_close(on_gpu.inputs(on_gpu.indices).cpu(), on_cpu.inputs(on_cpu.indices))
    assert torch.equal(on_gpu.labels(on_gpu.indices).cpu(), on_cpu.labels(on_cpu.indices))


# ---- datasets of scenes -------------------------------------------------------------------------------------------


def taken(source: Source) -> tuple[Tensor, Tensor]:
    return source.inputs(source.indices), source.labels(source.indices)


def test_a_second_loading_reads_no_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path)
    first = load_dataset(config(tmp_path), "cpu")

    def decoded(*_: object) -> None:
        raise AssertionError("a PNG was decoded")

    monkeypatch.setattr(scene_cache.SceneCache, "_decode", decoded)
    second = load_dataset(config(tmp_path), "cpu")
    for one, other in ((first.train, second.train), (first.test, second.test)):
        for ours, theirs in zip(taken(one), taken(other), strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(AssertionError, match="was decoded"):
        load_dataset(config(tmp_path, resize=True, img_rows=4, img_cols=4), "cpu")


def test_the_size_is_the_scenes_own_and_a_contradiction_is_told(tmp_path: Path) -> None:
    grow(tmp_path)
    info = dataset_info(config(tmp_path))
    assert (info.rows, info.cols, info.train_size, info.test_size) == (*SIZE, 5, 2)
    assert load_dataset(config(tmp_path, img_rows=12, img_cols=20), "cpu").info == info
    with pytest.raises(
        UserError, match=r"^data.img_rows: 13 contradicts cityscapes, which has 12; .*data.resize"
    ):
        dataset_info(config(tmp_path, img_rows=13))


def test_scenes_are_resized_where_the_config_asks_for_it(tmp_path: Path) -> None:
    grow(tmp_path)
    save(image_path(tmp_path, "val", "f1"), np.zeros((*SIZE, 3), np.uint8))
    bundle = load_dataset(config(tmp_path, resize=True, img_rows=4, img_cols=6), "cpu")
    assert (bundle.info.rows, bundle.info.cols) == (4, 6)
    for source, count in ((bundle.train, 5), (bundle.test, 2)):
        inputs, labels = taken(source)
        assert (inputs.shape, labels.shape) == ((count, 3, 4, 6), (count, 4, 6))


@pytest.mark.parametrize("key", ["img_rows", "img_cols"])
def test_a_size_to_resize_to_is_needed(key: str, tmp_path: Path) -> None:
    other = {"img_rows": "img_cols", "img_cols": "img_rows"}[key]
    with pytest.raises(
        UserError, match=f"^data.{key}: data.resize is true and needs data.img_rows and data.img"
    ):
        dataset_info(config(tmp_path, resize=True, **{other: 8}))


def test_normalisation_and_void_of_the_config_reach_both_splits(tmp_path: Path) -> None:
    written = grow(tmp_path)
    normalisation = {"rgb_normalization": True, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    bundle = load_dataset(config(tmp_path, ignore_label=-7, **normalisation), "cpu")
    for source, part in ((bundle.train, "train"), (bundle.test, "val")):
        inputs, labels = taken(source)
        expected = (written[part][..., :3] / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
        np.testing.assert_allclose(inputs.permute(0, 2, 3, 1).numpy(), expected, rtol=1e-4, atol=1e-5)
        train_ids = id_table(TRAIN_ID_OF_ID)[written[part][..., 3]].astype(int)
        assert np.array_equal(labels.numpy(), np.where(train_ids == 255, -7, train_ids))


def test_availability_counts_and_tells_whether_they_are_decoded(tmp_path: Path) -> None:
    grow(tmp_path)
    found = f"cityscapes found at {tmp_path}: 5 and 2 scenes, "
    assert availability(config(tmp_path)) == found + "to be decoded on first use"
    assert not (tmp_path / CACHE_FOLDER).exists()
    load_dataset(config(tmp_path), "cpu")
    assert availability(config(tmp_path)) == found + "decoded already"


@pytest.mark.parametrize("dataset", ["cityscapes", "cityscapes_yu", "voc"])
@pytest.mark.parametrize(("root", "message"), [("absent", "does not exist"), ("file", "is no folder")])
def test_a_path_that_is_no_folder_is_told_and_not_what_it_lacks(
    dataset: str, root: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    there = config(tmp_path / root, dataset, resize=True, img_rows=8, img_cols=8)
    assert availability(there) == f"{dataset} is absent: {tmp_path / root} {message}"
    with pytest.raises(UserError, match=f"^data.path: {tmp_path / root} {message}; put the dataset there"):
        load_dataset(there, "cpu")
