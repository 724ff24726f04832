"""The experiments that are compared, lined up so that runs of one seed are pairs. Reading them from their files is the
matter of ``study_files``."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from src.analysis.rounds import Curve, DimensionSearch, Measure
from src.analysis.statistics import normalised_area
from src.utils.errors import UserError
from src.utils.records import Row


@dataclass(frozen=True)
class Run:
    """One run: its rows, and the dataset indices that each round asked for, by round (None: no such file)."""

    number: int
    seed: int | None
    rows: list[Row]
    queries: dict[int, NDArray[np.int64]] | None


@dataclass(frozen=True, eq=False)
class Method:
    """One experiment. Run by run, ``numbers`` and ``seeds`` (None: not known) go with the rows of its curves."""

    experiment: str
    name: str
    numbers: list[int]
    seeds: list[int] | None
    curves: dict[Measure, Curve]
    runs: list[Run] = field(default_factory=list)
    """Empty where there is only a CSV."""
    searches: list[DimensionSearch] = field(default_factory=list)
    device: str | None = None
    planned: tuple[int, int] | None = None
    """Runs, and rounds of each, where they are known."""

    @property
    def unfinished(self) -> str:
        """What its config asks for beyond what there is, for people; "" where that is nothing, or not known."""
        if self.planned is None:
            return ""
        runs, rounds = self.planned
        missing = [f"{len(self.numbers)} of {runs} runs"] * (len(self.numbers) < runs)
        for run in self.runs:
            # Rounds also end when nothing is left to label.
            if len(run.rows) < rounds and run.rows[-1].get("pool", 0) > 0:
                missing.append(f"{len(run.rows)} of {rounds} rounds in run {run.number}")
        return ", ".join(missing)

    @property
    def source(self) -> str:
        """Where its numbers come from, for people."""
        return "records" if self.runs else "CSV alone"


@dataclass(frozen=True)
class Study:
    """Methods in the order in which they are shown, all of one dataset and one kind of task."""

    methods: list[Method]
    measures: tuple[Measure, ...]
    given_budgets: tuple[int, ...] = ()
    """Label counts that tables stop at, instead of some that are chosen."""

    def __post_init__(self) -> None:
        chosen = self.shared_labels()[1:] if self.given_budgets else []
        if missing := [budget for budget in self.given_budgets if budget not in chosen]:
            there = ", ".join(map(str, chosen)) or "none"
            raise UserError(
                f"budget {missing[0]}: most methods have no round after the first with so many labels; such counts "
                f"are: {there}"
            )

    @property
    def measure(self) -> Measure:
        """The one that methods are compared by."""
        return self.measures[0]

    @cached_property
    def paired_by_seed(self) -> bool:
        """Else by run number: some method's seeds are not known."""
        return all(method.seeds is not None for method in self.methods)

    def pairs_of(self, method: Method) -> list[int]:
        """What each run of the method is paired by."""
        return method.seeds if self.paired_by_seed and method.seeds is not None else method.numbers

    @property
    def recorded(self) -> list[Method]:
        """The methods with more than a CSV."""
        return [method for method in self.methods if method.runs]

    def shared_labels(self) -> list[int]:
        """Label counts that most methods have a value for.

        Most are more than half: one that is short, or has counts of its own, takes none from the others.
        """
        methods = Counter(count for method in self.methods for count in self._labels_of(method))
        return sorted(count for count, having in methods.items() if 2 * having > len(self.methods))

    def lacking(self) -> dict[tuple[int, ...], list[str]]:
        """Label counts that some method has, by who has no value there: experiments, and single runs of those that do.

        Empty where all runs have the same counts.
        """
        found: dict[tuple[int, ...], list[str]] = {}
        everywhere = set.union(*map(self._labels_of, self.methods))
        for method in self.methods:
            curve, name = method.curves[self.measure], method.experiment
            gaps = {name: everywhere - self._labels_of(method)}
            for number, values_R in zip(method.numbers, curve.values_K_R, strict=True):
                gaps[f"run {number} of {name}"] = set(curve.labels_R[~np.isfinite(values_R)].tolist())
            for who, counts in gaps.items():
                if counts:
                    found.setdefault(tuple(sorted(counts)), []).append(who)
        return found

    def complete_labels(self) -> list[int]:
        """Label counts that every run of every method has a value for."""
        return sorted(set.union(*map(self._labels_of, self.methods)).difference(*self.lacking()))

    def budgets_are_everyones(self) -> bool:
        """Whether the budgets that were asked for are all counts that every run has after the first of all."""
        return bool(self.given_budgets) and {*self.given_budgets} <= {*self.complete_labels()[1:]}

    def start(self) -> int:
        """The label count that areas begin at: the first that most methods have, or all, where they have the budgets
        that were asked for."""
        return (self.complete_labels() if self.budgets_are_everyones() else self.shared_labels())[0]

    def budgets(self) -> list[int]:
        """The label counts that tables stop at: those given, else a third and two thirds through the shared rounds,
        and the last.

        None of them is the first, which has only the initial labels, so that no method has chosen anything yet.
        """
        return sorted(set(self.given_budgets)) or spread_budgets(self.shared_labels())

    def differences(self, one: Method, other: Method, count: int) -> NDArray[np.float64]:
        """``one`` − ``other`` in the study's measure at that many labels, of the runs that are pairs and have it."""
        return self._paired(one, other, lambda curve: _values_at(curve, count))

    def areas(self, method: Method, budget: int) -> NDArray[np.float64]:
        """Of every run, the normalised area under the measure up to that many labels; NaN where it has not so many."""
        return _areas(method.curves[self.measure], budget, self.start())

    def area_differences(self, one: Method, other: Method, budget: int) -> NDArray[np.float64]:
        """``one`` − ``other`` in the area up to that many labels, of the runs that are pairs and have it."""
        start = self.start()
        return self._paired(one, other, lambda curve: _areas(curve, budget, start))

    def _labels_of(self, method: Method) -> set[int]:
        return set(method.curves[self.measure].labels_R.tolist())

    def _paired(
        self, one: Method, other: Method, value: Callable[[Curve], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        mine, theirs = (
            dict(zip(self.pairs_of(method), value(method.curves[self.measure]).tolist(), strict=True))
            for method in (one, other)
        )
        found = np.array([mine[pair] - theirs[pair] for pair in sorted(mine.keys() & theirs.keys())])
        return found[np.isfinite(found)]


def spread_budgets(labels: Sequence[int]) -> list[int]:
    """Of sorted label counts: one a third through those after the first, one two thirds, and the last."""
    chosen = labels[1:]
    places = {math.ceil(len(chosen) * third / 3) - 1 for third in (1, 2, 3)}
    return [chosen[place] for place in sorted(places) if place >= 0]


def _values_at(curve: Curve, count: int) -> NDArray[np.float64]:
    at = np.flatnonzero(curve.labels_R == count)
    return curve.values_K_R[:, at[0]] if at.size else np.full(len(curve.values_K_R), np.nan)


def _areas(curve: Curve, budget: int, start: int) -> NDArray[np.float64]:
    return np.array(
        [normalised_area(curve.labels_R, values_R, budget, start) for values_R in curve.values_K_R]
    )
