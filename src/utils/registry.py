"""Named extension points: heuristics, density heads, architectures, datasets. What an entry is, its owner says."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from src.utils.errors import UserError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Case-insensitive names for the entries of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorate an entry with its name; a second entry of the same name raises ValueError."""

        def add(entry: Entry) -> Entry:
            if name.lower() in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name.lower()] = entry
            return entry

        return add

    def get(self, name: str) -> Entry:
        """The entry of that name; UserError with the choices and the nearest spelling where there is none."""
        key = name.lower()
        if key in self._entries:
            return self._entries[key]
        choices = ", ".join(self)
        near = get_close_matches(key, self._entries, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown {self.kind} {name!r}{hint}; choices: {choices}")

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))
