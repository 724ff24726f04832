"""YAML text to plain data that remembers the line of every key, and plain data back to YAML text.

Only plain data can come out: tags, duplicate keys and aliases that recurse or explode are refused. What the
keys mean is ``schema.py``'s business.
"""

import re
from typing import Any

import yaml

from src.utils.errors import UserError

# A config has about eighty keys; aliases can multiply nodes without writing them.
MAX_NODES = 10_000

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null")}
_MERGE_TAG = _TAG + "merge"


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    pass


# YAML 1.1 reads 1e-3 as text, 010 as eight, 1:30 as ninety and 2024-01-01 as a date. Here a number is what
# Python calls one and the rest is text. The dumper shares the rules, so that it quotes text like 1e-3.
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] not in (_TAG + "int", _TAG + "float", _TAG + "timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_DIGITS = list("-+.0123456789")
_FLOAT = r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
_Loader.add_implicit_resolver(_TAG + "int", re.compile(r"[-+]?(0|[1-9][\d_]*)\Z", re.ASCII), _DIGITS)
_Loader.add_implicit_resolver(_TAG + "float", re.compile(_FLOAT, re.ASCII), _DIGITS)
_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence(_TAG + "seq", items, flow_style=True)
)


def parse(text: str, source: str) -> tuple[Any, dict[str, str]]:
    """The data of one YAML document and where each dotted key stands, as "source:line".

    An empty document is None. Raises UserError, naming ``source`` and the line, for anything but plain data.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        reader = _Reader(loader, source)
        return (None if node is None else reader.value(node, "")), reader.places
    except yaml.MarkedYAMLError as error:
        raise UserError(_syntax_message(error, source)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{source}:{line}: the character {error.character:#x} is not allowed in YAML"
        ) from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply for a config") from None


def dump(data: dict[str, Any]) -> str:
    """ASCII YAML text that ``parse`` reads back as ``data``; lists stand on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=110)


def _syntax_message(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    if error.context == "expected a single document in the stream":
        return f"{where}: a second YAML document begins here; a config is one document"
    what = " ".join(part for part in (error.problem, error.context) if part)
    return f"{where}: not valid YAML: {what}"


class _Reader:
    """Walks the nodes of one document; ``places`` fills up on the way."""

    def __init__(self, loader: _Loader, source: str) -> None:
        self.places: dict[str, str] = {}
        self._loader = loader
        self._source = source
        self._visits = 0
        self._open: set[yaml.Node] = set()

    def value(self, node: yaml.Node, key: str) -> Any:
        """The plain value of ``node``, which stands under the dotted ``key``."""
        self._enter(node)
        result: Any
        if isinstance(node, yaml.MappingNode):
            result = {}
            for name, (name_node, value_node) in self._entries(node).items():
                dotted = f"{key}.{name}" if key else name
                self.places[dotted] = self._place(name_node)
                result[name] = self.value(value_node, dotted)
        elif isinstance(node, yaml.SequenceNode):
            self._refuse_tag(node, {_TAG + "seq"})
            result = [self.value(item, key) for item in node.value]
        else:
            result = self._scalar(node)
        self._open.discard(node)
        return result

    def _entries(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key and value nodes by name. Keys under ``<<`` are defaults for the mapping's own."""
        self._refuse_tag(node, {_TAG + "map"})
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name_node, value_node in node.value:
            if name_node.tag == _MERGE_TAG:
                merged = {**self._merged(value_node), **merged}
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                raise UserError(f"{self._place(name_node)}: a key must be a name, not a list or a mapping")
            self._refuse_tag(name_node, _SCALAR_TAGS)
            if name_node.value in own:
                second, first = self._place(name_node), self._place(own[name_node.value][0])
                raise UserError(f"{second}: duplicate key {name_node.value!r}, first given at {first}")
            own[name_node.value] = (name_node, value_node)
        return {**merged, **own}

    def _merged(self, node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                raise UserError(f"{self._place(source)}: '<<' takes a mapping or a list of mappings")
            self._enter(source)
            entries.update(self._entries(source))
            self._open.discard(source)
        return entries

    def _scalar(self, node: yaml.Node) -> Any:
        self._refuse_tag(node, _SCALAR_TAGS)
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError):
            kind = node.tag.removeprefix(_TAG)
            raise UserError(f"{self._place(node)}: {node.value[:60]!r} cannot be read as {kind}") from None

    def _enter(self, node: yaml.Node) -> None:
        self._visits += 1
        if self._visits > MAX_NODES:
            raise UserError(f"{self._place(node)}: aliases multiply the file to more than {MAX_NODES} values")
        if node in self._open:
            raise UserError(f"{self._place(node)}: an alias refers to the value that contains it")
        self._open.add(node)

    def _refuse_tag(self, node: yaml.Node, allowed: set[str]) -> None:
        if node.tag not in allowed:
            tag = node.tag.replace(_TAG, "!!", 1)
            raise UserError(f"{self._place(node)}: the tag {tag} is not allowed; a config is plain data")

    def _place(self, node: yaml.Node) -> str:
        return f"{self._source}:{node.start_mark.line + 1}"
