"""From a YAML file and ``--set`` overrides to a ``Config`` or one whole error, and from a ``Config`` to text.

What the keys are is in ``schema.py`` and how errors word it in ``wording.py``; here every problem gets its
line, with its place in front.
"""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from src.config.schema import Config, Sources
from src.config.wording import SECTIONS, bad_value, show, unknown_key
from src.config.yaml_source import dump, parse
from src.utils.errors import UserError

# Keys that say where things are, how they are shown or how many runs there are; a run computes the same.
WITHOUT_EFFECT = frozenset(
    {
        *("runs", "random_state", "week", "data.path", "training.verbose"),
        *("save_plot", "save_df", "save_gallery", "tensorboard_logging"),
        *("wandb_logging", "wandb_project", "wandb_entity", "wandb_mode"),
    }
)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The config in the YAML file at ``path``, with each "key.sub=value" of ``overrides`` put over it.

    Raises UserError for a file that cannot be read, is not plain YAML, or does not fit the schema.
    """
    data, places = parse(_read(path), str(path))
    if data is None:
        raise UserError(f"{path}: the file is empty; a config needs at least `name: ...`")
    if not isinstance(data, dict):
        raise UserError(f"{path}:1: a config is a mapping of keys to values, not {show(data)}")
    for override in overrides:
        _apply(override, data, places)
    sources = Sources(places)
    try:
        return Config.model_validate(data, context=sources)
    except ValidationError as error:
        raise UserError("\n".join(_describe(error, data, sources, path))) from None


def to_yaml(config: Config) -> str:
    """The resolved config, every key included, as YAML that loads equal to ``config``."""
    return dump(config.model_dump(mode="json"))


def what_counts(config: Config) -> str:
    """The config as YAML less what has no effect on results, for a fingerprint of how something was made."""
    return dump({key: value for key, value in _flat(config).items() if key not in WITHOUT_EFFECT})


def differences(old: Config, new: Config, leave_out: Set[str] = frozenset()) -> list[str]:
    """One line for each key whose change alters results; more runs, or seeds added at the end, do not.

    ``leave_out`` are dotted keys of which the caller knows that they do not either.
    """
    before, after = _flat(old), _flat(new)
    lines = [
        f"{key}: {show(before[key])} -> {show(after[key])}"
        for key in before
        if key not in WITHOUT_EFFECT | leave_out and before[key] != after[key]
    ]
    shared = min(len(old.random_state), len(new.random_state))
    if old.random_state[:shared] != new.random_state[:shared]:
        lines.append(f"random_state: {show(old.random_state)} -> {show(new.random_state)}")
    return lines


def _flat(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in model:
        if isinstance(value, BaseModel):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; give a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _apply(override: str, data: dict[str, Any], places: dict[str, str]) -> None:
    """Put one "key.sub=value" into ``data``; the place of everything it gives is the option itself."""
    key, equals, text = override.partition("=")
    key = key.strip()
    *parents, last = key.split(".")
    if not equals or not all([*parents, last]):
        raise UserError(f"--set {override}: write --set key.sub=value, for example --set training.epochs=30")
    place = f"--set {key}"
    value, inner = parse(text, place)
    section = data
    for depth, parent in enumerate(parents):
        if section.get(parent) is None:
            section[parent] = {}
            places[".".join(parents[: depth + 1])] = place
        section = section[parent]
        if not isinstance(section, dict):
            raise UserError(f"{place}: {'.'.join(parents[: depth + 1])} is a value, not a section of keys")
    section[last] = value
    for stale in [known for known in places if known.startswith(f"{key}.")]:
        del places[stale]
    places[key] = place
    places.update({f"{key}.{name}": place for name in inner})


def _describe(error: ValidationError, data: dict[str, Any], sources: Sources, path: Path) -> list[str]:
    """One line for each key in error, however many complaints the schema has about it."""
    lines: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        if problem["type"] == "contradiction":
            return [f"{sources.prefix(key)}: {message}" for key, message in problem["ctx"]["problems"]]
        names, value = _given(data, problem["loc"])
        if not names:
            lines["name"] = f"{path}: name: missing; every experiment needs one"
            continue
        key, section = ".".join(names), ".".join(names[:-1])
        unknown = problem["type"] == "extra_forbidden"
        message = unknown_key(section, names[-1]) if unknown else bad_value(section, names[-1], value)
        lines[key] = f"{sources.prefix(key)}: {message}"
    return list(lines.values())


def _given(data: Any, location: Sequence[int | str]) -> tuple[list[str], Any]:
    """The keys that begin pydantic's location (list indices and union branches follow), and their value."""
    names: list[str] = []
    for part in location:
        if ".".join(names) not in SECTIONS or part not in data:
            break
        names.append(str(part))
        data = data[part]
    return names, data
