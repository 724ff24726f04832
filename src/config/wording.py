"""The schema in words, for error messages: what a key allows, and which key a misspelt one meant.

It only reads the schema's annotations; nothing is checked here.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from src.config.schema import Config

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}


def _sections(model: type[BaseModel], name: str = "") -> dict[str, type[BaseModel]]:
    found = {name: model}
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _sections(field.annotation, f"{name}.{key}".lstrip("."))
    return found


# Every section by its dotted name; the top level's is empty.
SECTIONS = _sections(Config)


def show(value: Any) -> str:
    """The value as a config would write it, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def bad_value(section: str, key: str, value: Any) -> str:
    """Why ``value`` cannot stand at ``key``: what the schema allows there, and the nearest spelling."""
    annotation = get_type_hints(SECTIONS[section], include_extras=True)[key]
    hint = _did_you_mean(value, _choices(annotation)) if isinstance(value, str) else ""
    return f"must be {allowed(annotation)}; not {show(value)}{hint}"


def unknown_key(section: str, key: str) -> str:
    """That ``section`` has no such key, with the key's home, the spelling meant or the keys there are."""
    keys = SECTIONS[section].model_fields
    homes = [name or "the top level" for name, model in SECTIONS.items() if key in model.model_fields]
    belongs = f"; {key!r} belongs to {' or '.join(homes)}" if homes else ""
    hint = belongs + _did_you_mean(key, keys)
    return f"unknown key{hint or '; the keys here are ' + ', '.join(keys)}"


def allowed(annotation: Any) -> str:
    """The values a schema annotation accepts, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Literal:
        words = [choice if isinstance(choice, str) else show(choice) for choice in arguments]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if origin in (Union, UnionType):
        return " or ".join(allowed(argument) for argument in arguments)
    if origin is tuple:
        length = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
        return f"a list{length} with each entry {allowed(arguments[0])}"
    return _PLAIN.get(annotation, "a section of keys")


def _annotated(base: Any, metadata: Iterable[Any]) -> str:
    words, bounds = allowed(base), []
    for item in metadata:
        match item:
            case FieldInfo(description=str(description)):
                return description
            case Ge(ge=bound):
                bounds.append(f"at least {bound}")
            case Gt(gt=bound):
                bounds.append(f"above {bound}")
            case Le(le=bound):
                bounds.append(f"at most {bound}")
            case Lt(lt=bound):
                bounds.append(f"below {bound}")
            case MinLen():
                words = f"non-empty {words}".replace("non-empty a list", "a non-empty list")
    return " ".join([words, " and ".join(bounds)]).strip()


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return [choice for argument in get_args(annotation) for choice in _choices(argument)]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    # Half the letters must agree: with the usual 0.6 a slip in a key of two letters would find nothing.
    near = get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[name] for name in near)}?" if near else ""
