"""Files and overrides become configs; whatever is wrong comes back at once, with places and remedies."""

import string
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from src.config import Config, differences, load_config, to_yaml
from src.config.wording import SECTIONS
from src.utils.errors import UserError

KEYS = [(section, key) for section, model in SECTIONS.items() for key in model.model_fields]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all tests to write to: hypothesis repeats tests within one fixture."""
    return tmp_path_factory.mktemp("configs") / "some.yaml"


def complaint(file: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the error that the text raises, with the file's path written as FILE."""
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(file, overrides)
    return str(caught.value).replace(str(file), "FILE").splitlines()


def test_every_problem_gets_a_line_with_its_place(file: Path) -> None:
    text = "\n".join(
        [
            "runs: 2.0",
            "epochs: 3",
            "training:",
            "  epoch: 60",
            "  lr: 1e-3",
            "  scheduler: stpe",
            "  ndata_to_label: [1, -3]",
            "model:",
            "  mir_configs: {warmup: true}",
            "  hidden_layers: []",
            "  input_height: 1.5",
            "optimizer: {betas: [0.9]}",
        ]
    )
    assert set(complaint(file, text)) == {
        "FILE: name: missing; every experiment needs one",
        "FILE:1: runs: must be a whole number at least 1; not 2.0",
        "FILE:2: epochs: unknown key; 'epochs' belongs to training",
        "FILE:4: training.epoch: unknown key; did you mean epochs?",
        "FILE:5: training.lr: unknown key; 'lr' belongs to optimizer",
        "FILE:6: training.scheduler: must be one of step, poly, reduce_on_plateau, cosineannealing or null; "
        'not "stpe"; did you mean step?',
        "FILE:7: training.ndata_to_label: must be a whole number at least 0 or a list with each entry a "
        "whole number at least 0; not [1, -3]",
        "FILE:9: model.mir_configs.warmup: must be false or a whole number at least 1; not true",
        "FILE:10: model.hidden_layers: must be a non-empty list with each entry a whole number "
        "at least 1; not []",
        "FILE:11: model.input_height: must be a whole number at least 1 or null; not 1.5",
        "FILE:12: optimizer.betas: must be a list of 2 with each entry a number at least 0 "
        "and below 1; not [0.9]",
    }


def test_a_key_like_no_other_gets_the_list_of_keys(file: Path) -> None:
    (line,) = complaint(file, "name: x\noptimizer:\n  zzz: 1\n")
    assert line == (
        "FILE:3: optimizer.zzz: unknown key; the keys here are type, lr, weight_decay, betas, momentum, T0"
    )


def test_every_contradiction_gets_a_line_with_its_place(file: Path) -> None:
    lines = complaint(file, "name: x\nruns: 5\nmodel:\n  ensemble: 3\n  mc_iterations: 3\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["random_state (default)", "5 runs need 5 seeds and the list has 3; add seeds or lower runs"],
        ["FILE:4", "model.ensemble"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "FILE: the file is empty"),
        (b"# only a comment\n", "FILE: the file is empty"),
        (b"- name: x\n", "FILE:1: a config is a mapping of keys to values, not [{"),
        (b"hello", 'FILE:1: a config is a mapping of keys to values, not "hello"'),
        (b"name: \xff\xfe", "FILE: not UTF-8 text (byte 6)"),
        (b"name: x\nname: y\n", "FILE:2: duplicate key 'name', first given at FILE:1"),
        (b"name: !!python/name:os.system\n", "FILE:1: the tag !!python/name:os.system is not allowed"),
        (b"name: [x\n", "FILE:2:1: not valid YAML"),
        (b"name: x\n---\nname: y\n", "FILE:2:1: a second YAML document"),
        (b"name: x\n3: y\n", "FILE:2: 3: unknown key"),
        (b"name: x\ntraining: 3\n", "FILE:2: training: must be a section of keys; not 3"),
        (
            b"name: x\ntraining: {ndata_to_label: {constrained-int: 1}}\n",
            "FILE:2: training.ndata_to_label: must be",
        ),
    ],
)
def test_a_file_that_is_no_config_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(file)
    assert str(caught.value).replace(str(file), "FILE").startswith(message)


def test_a_path_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such config file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="is a directory"):
        load_config(tmp_path)


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert load_config(file) == Config(name="x")


def test_overrides_are_typed_by_the_schema(file: Path) -> None:
    file.write_text("name: x\ntraining:\n  epochs: 3\n")
    overrides = ["training.epochs=7", "optimizer.lr=1e-4", "model.hidden_layers=[64]", "training.scheduler="]
    config = load_config(file, [*overrides, "model.mir_configs.metric=L2", "training.epochs = 9", "name=a"])
    assert (config.name, config.training.epochs, config.training.scheduler) == ("a", 9, None)
    assert (config.optimizer.lr, config.model.hidden_layers) == (1e-4, (64,))
    assert config.model.mir_configs.metric == "l2"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("foo", "--set foo: write --set key.sub=value"),
        ("=3", "--set =3: write --set key.sub=value"),
        ("training..epochs=3", "--set training..epochs=3: write --set key.sub=value"),
        ("training.epchs=3", "--set training.epchs: unknown key; did you mean epochs?"),
        ("trainning.epochs=3", "--set trainning.epochs: trainning: unknown key; did you mean training?"),
        ("training.lr=3", "--set training.lr: unknown key; 'lr' belongs to optimizer"),
        ("training.epochs=three", '--set training.epochs: must be a whole number at least 1; not "three"'),
        ("training.epochs=[1", "--set training.epochs:1:3: not valid YAML"),
        (
            "optimizer={lr: 0}",
            "--set optimizer: optimizer.lr: must be a number above 0 and at most 1e+38; not 0",
        ),
        ("name.sub=3", "--set name.sub: name is a value, not a section of keys"),
        ("runs=4", "random_state (default): 4 runs need 4 seeds"),
        (
            "training.epochs=!!python/name:os.system",
            "--set training.epochs:1: the tag !!python/name:os.system",
        ),
    ],
)
def test_a_bad_override_names_the_option(file: Path, override: str, message: str) -> None:
    (line,) = complaint(file, "name: x\n", override)
    assert line.startswith(message)


def test_errors_of_a_loaded_config_name_the_place(file: Path) -> None:
    file.write_text("name: x\nmodel:\n  name: mlp\n  ensemble: 2\n")
    config = load_config(file, ["model.ensemble=3"])
    assert str(config.error("model.name", "no")) == f"{file}:3: model.name: no"
    assert str(config.error("model.ensemble", "no")) == "--set model.ensemble: no"
    assert str(config.error("data.dataset", "no")) == "data.dataset (default): no"


EDITS = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from(["insert", "delete", "replace"]),
    st.integers(0, 30),
    st.sampled_from(string.ascii_letters + string.digits + "_"),
)


@given(EDITS)
def test_a_key_mistyped_by_one_character_is_suggested(file: Path, edit: tuple[Any, str, int, str]) -> None:
    (section, key), kind, position, character = edit
    at = position % len(key)
    typo = key[:at] + ("" if kind == "delete" else character) + key[at + (kind != "insert") :]
    assume(typo not in SECTIONS[section].model_fields)
    dotted = f"{section}.{typo}".lstrip(".")
    (line,) = complaint(file, "name: x\n", f"{dotted}=1")
    assert line.startswith(f"--set {dotted}: unknown key")
    assert key in line.partition("did you mean ")[2].rstrip("?").split(" or ")


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Valid values of a schema annotation, lists where the schema stores tuples."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return bounded(arguments[0], arguments[1:])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of([values(argument) for argument in arguments])
    if origin is tuple:
        size = None if arguments[-1] is Ellipsis else len(arguments)
        return st.lists(values(arguments[0]), min_size=size or 1, max_size=size or 4)
    if origin is dict:
        return st.dictionaries(*map(values, arguments), max_size=3)
    texts = st.text(min_size=1) | st.sampled_from(["1e5", "no", "~", "010", " ", "2024-01-01"])
    return {bool: st.booleans(), int: st.integers(), NoneType: st.none(), str: texts}.get(
        annotation, st.floats(allow_nan=False, allow_infinity=False)
    )


def bounded(base: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    found = {type(item): item for item in metadata}
    if base is int:
        return st.integers(min_value=found[Ge].ge, max_value=2**63)
    if base is float and found.keys() & {Ge, Gt, Le, Lt}:
        low, high = found.get(Ge) or found.get(Gt), found.get(Le) or found.get(Lt)
        return st.floats(
            getattr(low, "ge", getattr(low, "gt", None)),
            getattr(high, "le", getattr(high, "lt", None)),
            exclude_min=Gt in found,
            exclude_max=Lt in found,
            allow_infinity=False,
        )
    if base is str and MinLen not in found:
        return st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True)
    return values(base)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """A config with up to ten keys off their defaults; combinations that contradict are thrown away."""
    data: dict[str, Any] = {"name": draw(values(get_type_hints(Config, include_extras=True)["name"]))}
    for section, key in draw(st.lists(st.sampled_from(KEYS), max_size=10, unique=True)):
        annotation = get_type_hints(SECTIONS[section], include_extras=True)[key]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            continue
        home = data
        for name in section.split(".") if section else []:
            home = home.setdefault(name, {})
        home[key] = draw(st.integers(1, 3) if key in ("runs", "iterations") else values(annotation))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        assume(error.errors()[0]["type"] != "contradiction")
        raise


@given(configs())
def test_a_written_config_loads_equal(file: Path, config: Config) -> None:
    file.write_text(to_yaml(config), encoding="utf-8")
    loaded = load_config(file)
    assert loaded == config
    assert to_yaml(loaded) == to_yaml(config)
    assert differences(config, loaded) == []


BASE = Config(name="x", random_state=(3, 11), runs=1)


@pytest.mark.parametrize(
    "change",
    [
        {"runs": 2},
        {"runs": 3, "random_state": [3, 11, 42]},
        {"random_state": [3]},
        {"save_plot": True, "save_df": False, "wandb_logging": True, "week": 5},
        {"save_gallery": True, "tensorboard_logging": True},
        {"wandb_project": "mine", "wandb_entity": "us", "wandb_mode": "offline"},
        {"data": {"path": "/elsewhere"}},
        {"training": {"verbose": False}},
    ],
)
def test_changes_without_effect_on_results_are_no_differences(change: dict[str, Any]) -> None:
    assert differences(BASE, Config.model_validate({"name": "x", "random_state": [3, 11]} | change)) == []


def test_a_difference_names_the_key_and_both_values() -> None:
    new = Config.model_validate(
        {
            "name": "x",
            "random_state": [3, 12, 42],
            "training": {"epochs": 5},
            "model": {"mir_configs": {"warmup": 4}},
        }
    )
    assert differences(BASE, new) == [
        "training.epochs: 60 -> 5",
        "model.mir_configs.warmup: false -> 4",
        "random_state: [3, 11] -> [3, 12, 42]",
    ]
