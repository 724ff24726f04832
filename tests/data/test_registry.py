"""What every dataset promises, and how a config that does not fit one is refused."""

import re
from pathlib import Path

import pytest
import torch

from src.config import Config, load_config
from src.data import DATASETS, availability, dataset_info, load_dataset, task_of
from src.utils.errors import UserError

SCHEMA_TASKS = {
    "digits": "classification",
    "mnist": "classification",
    "fashion_mnist": "classification",
    "repeated_mnist": "classification",
    "dirty_mnist": "classification",
    "svhn": "classification",
    "cifar10": "classification",
    "cifar100": "classification",
    "image_folder": "classification",
    "cityscapes": "segmentation",
    "cityscapes_yu": "segmentation",
    "voc": "segmentation",
    "synthetic_streets": "segmentation",
}


def configured(tmp_path: Path, *overrides: str, dataset: str = "digits") -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(f"name: test\ndata:\n  dataset: {dataset}\n", encoding="utf-8")
    return load_config(path, overrides)


def test_every_dataset_of_the_schema_is_registered() -> None:
    assert {*DATASETS} == set(SCHEMA_TASKS)


@pytest.mark.parametrize("name", SCHEMA_TASKS)
def test_task_is_known_for_every_dataset_of_the_schema_in_any_case(name: str) -> None:
    assert task_of(name) == task_of(name.upper()) == SCHEMA_TASKS[name]


def test_task_of_an_unknown_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        task_of("mnits")


# The facts of people's own images lie in their folder.
PUBLISHED = [name for name in DATASETS if name != "image_folder"]
SIZE = ("data.resize=true", "data.img_rows=32", "data.img_cols=48")
# What a dataset cannot do without.
NEEDED = {"voc": SIZE}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_path_that_is_too_long_is_one_where_nothing_lies(name: str, tmp_path: Path) -> None:
    overrides = (f"data.path={tmp_path / ('n' * 300)}", *NEEDED.get(name, ()))
    assert re.search(
        "absent|nothing to download|bundled", availability(configured(tmp_path, *overrides, dataset=name))
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_info_is_complete(name: str, tmp_path: Path) -> None:
    info = dataset_info(configured(tmp_path, *NEEDED.get(name, ()), dataset=name))
    assert info.name == name
    assert info.task == DATASETS.get(name).task
    assert len(info.class_names) == len(set(info.class_names)) == info.nb_classes
    assert min(info.channels, info.rows, info.cols, info.train_size, info.test_size) >= 1
    if info.task == "segmentation":
        assert info.palette is not None and len(set(info.palette)) == info.nb_classes
        assert all(0 <= channel <= 255 for colour in info.palette for channel in colour)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if SCHEMA_TASKS[name] == "segmentation"])
def test_scenes_have_the_size_that_they_are_resized_to_and_otherwise_their_own(
    name: str, tmp_path: Path
) -> None:
    resized = configured(tmp_path, *SIZE, "model.input_height=32", dataset=name)
    assert (dataset_info(resized).rows, dataset_info(resized).cols) == (32, 48)
    if name in ("cityscapes", "cityscapes_yu"):
        assert (dataset_info(configured(tmp_path, dataset=name)).rows) == 1024
        with pytest.raises(
            UserError, match=r"data.img_rows: 32 contradicts city.*1024; .* or set data.resize to"
        ):
            dataset_info(configured(tmp_path, "data.img_rows=32", dataset=name))
    with pytest.raises(UserError, match=r"data.ignore_label: 18 is the class .* no class \(0 … (18|20)\)"):
        dataset_info(configured(tmp_path, *SIZE, "data.ignore_label=18", dataset=name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_info_and_availability_need_no_data_and_make_no_files(name: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    config = configured(tmp_path, f"data.path={root}", *NEEDED.get(name, ()), dataset=name)
    assert dataset_info(config).name == name
    assert name in availability(config)
    assert not root.exists()


def test_an_unknown_dataset_is_reported_at_its_line(tmp_path: Path) -> None:
    config = configured(tmp_path, dataset="digitz")
    place = re.escape(f"{tmp_path / 'config.yaml'}:3: data.dataset: ")
    for ask in (dataset_info, availability, lambda config: load_dataset(config, "cpu")):
        with pytest.raises(UserError, match=f"^{place}unknown dataset 'digitz'; did you mean 'digits'"):
            ask(config)


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("data.nb_classes", 10),
        ("data.img_rows", 8),
        ("data.img_cols", 8),
        ("data.img_channels", 1),
        ("model.output_size", 10),
        ("model.input_height", 8),
        ("model.input_width", 8),
        ("model.input_channels", 1),
    ],
)
def test_a_size_may_repeat_the_dataset_but_not_contradict_it(key: str, own: int, tmp_path: Path) -> None:
    assert dataset_info(configured(tmp_path, f"{key}={own}")).name == "digits"
    with pytest.raises(UserError, match=rf"--set {key}: {own + 3} contradicts digits, which has {own};"):
        dataset_info(configured(tmp_path, f"{key}={own + 3}"))


@pytest.mark.parametrize(
    ("mean", "std", "key"),
    [("[0.5, 0.5]", "[0.5, 0.5]", "data.mean"), ("[0.1, 0.1, 0.1]", "[1, 1, 1]", "data.mean")],
)
def test_normalisation_needs_one_entry_a_channel(mean: str, std: str, key: str, tmp_path: Path) -> None:
    overrides = (f"data.mean={mean}", f"data.std={std}", "data.rgb_normalization=true")
    with pytest.raises(UserError, match=rf"{key}: \d values, but digits has 1 channel"):
        dataset_info(configured(tmp_path, *overrides))
    # Without rgb_normalization the two lists are not used.
    assert dataset_info(configured(tmp_path, *overrides[:2])).channels == 1


def test_augmentation_changes_no_split(tmp_path: Path) -> None:
    plain, augmented = (
        load_dataset(configured(tmp_path, f"data.augmentation={flag}"), "cpu") for flag in ("false", "true")
    )
    for one, other in ((plain.train, augmented.train), (plain.test, augmented.test)):
        assert torch.equal(one.inputs(one.indices), other.inputs(other.indices))


def test_normalisation_of_the_config_reaches_both_splits(tmp_path: Path) -> None:
    plain = load_dataset(configured(tmp_path, "data.mean=[0.5]", "data.std=[0.25]"), "cpu")
    normal = load_dataset(
        configured(tmp_path, "data.mean=[0.5]", "data.std=[0.25]", "data.rgb_normalization=true"), "cpu"
    )
    for before, after in ((plain.train, normal.train), (plain.test, normal.test)):
        indices = before.labels_N[:9]
        expected = (before.inputs(indices) - 0.5) / 0.25
        assert after.inputs(indices).numpy() == pytest.approx(expected.numpy(), abs=1e-6)
