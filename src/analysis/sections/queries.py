"""What the methods asked for: how balanced its classes are, and how much of it two methods share."""

import math
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from src.analysis.figures import heatmap, panels, style
from src.analysis.page import LeftOut, Picture, Section, Table
from src.analysis.rounds import curve_of
from src.analysis.sections.against_labels import label_scale
from src.analysis.sections.paired_tests import pairing
from src.analysis.study import Run, Study


def class_balance(study: Study) -> Section:
    """The classes of what was queried, whole and round by round."""
    whole = {
        method: np.sum([added_C for run in method.runs for _, added_C in queried_classes(run)], axis=0)
        for method in study.recorded
        if any(True for run in method.runs for _ in queried_classes(run))
    }
    if not whole:
        raise LeftOut("no records of two rounds with a class balance; CSVs hold none")
    figure, (axes,) = panels(xscale=label_scale(study))
    numbers: list[list[object]] = [["method", "run", "labels", "class", "queried"]]
    for number, method in enumerate(study.methods):
        if method not in whole:
            continue
        curve = curve_of(
            [{labels: evenness(added_C) for labels, added_C in queried_classes(run)} for run in method.runs]
        )
        color, marker = style(number)
        axes.plot(curve.labels_R, curve.mean_R, color=color, marker=marker, markersize=4, label=method.name)
        for run in method.runs:
            for labels, added_C in queried_classes(run):
                for class_, count in enumerate(added_C.tolist()):
                    numbers.append([method.experiment, run.number, labels, class_, count])
    axes.set(xlabel="labels before the query", ylabel="evenness of the queried classes")
    axes.legend(fontsize="small")
    names, classes = [method.name for method in whole], max(map(len, whole.values()))
    share = np.array([100 * counts_C / counts_C.sum() for counts_C in whole.values()])
    counted = "pixels" if study.measure.metric == "miou" else "inputs"
    rows = [
        [
            method.name,
            f"{evenness(counts_C):.3f}",
            *(f"{100 * part:.1f}" for part in counts_C / counts_C.sum()),
        ]
        for method, counts_C in whole.items()
    ]
    return Section(
        "classes",
        "Class balance of the queries",
        [
            f"Classes of the queried {counted}, without the initial ones. Evenness is the entropy of their shares "
            "over the logarithm of the number of classes: 1 where all classes are asked for alike, 0 where it is one "
            "alone. A small query is uneven by chance."
        ],
        [
            Picture(
                "evenness",
                "Evenness of the classes of each query, mean over runs.",
                "Line chart of the evenness of queried classes against labels, a line for each of "
                f"{', '.join(names)}.",
                figure,
            ),
            Picture(
                "class_balance",
                f"Share of each class in all queried {counted}, in percent.",
                f"Matrix of methods ({', '.join(names)}) by class: the share of the class in what was queried. The "
                "table below has the numbers.",
                heatmap(
                    {"": share}, names, [str(class_) for class_ in range(classes)], "% of what was queried"
                ),
            ),
        ],
        [
            Table(
                "class_balance",
                f"Share of each class in all queried {counted} of all runs (%), and evenness of the shares.",
                ["method", "evenness", *(f"class {class_}" for class_ in range(classes))],
                rows,
                numbers,
            )
        ],
    )


def queried_classes(run: Run) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Of every round that asked for something: its labels, and how many of each class the query added to them.

    The rows hold the balance of what is labelled; its growth is that of the next round.
    """
    balances = [(int(row["labelled"]), row.get("class_balance")) for row in run.rows]
    for (labels, before), (_, after) in pairwise(balances):
        if before is not None and after is not None:
            added_C = np.array(after) - np.array(before)
            if added_C.sum() > 0:
                yield labels, added_C


def evenness(counts_C: NDArray[np.int64]) -> float:
    """Entropy of the shares over log C (J. Pielou 1966); NaN for one class alone."""
    if len(counts_C) < 2:
        return math.nan
    share_C = counts_C[counts_C > 0] / counts_C.sum()
    # Rounding must not make it −0 or pass 1.
    return float(np.clip(-(share_C * np.log(share_C)).sum() / math.log(len(counts_C)), 0, 1))


def overlap(study: Study) -> Section:
    """The Jaccard index of what two methods asked for in the same round of runs that are pairs."""
    methods = [method for method in study.recorded if any(run.queries for run in method.runs)]
    if len(methods) < 2:
        raise LeftOut("fewer than two methods have queries.npz, and CSVs do not hold queries")
    numbers: list[list[object]] = [["one", "other", "pair", "round", "jaccard"]]
    by_pair: dict[tuple[int, int], dict[int, list[float]]] = {}
    for one, other in combinations(range(len(methods)), 2):
        mine, theirs = (
            dict(zip(study.pairs_of(methods[place]), methods[place].runs, strict=True))
            for place in (one, other)
        )
        for pair in sorted(mine.keys() & theirs.keys()):
            ours, others = mine[pair].queries or {}, theirs[pair].queries or {}
            for round_ in sorted(ours.keys() & others.keys()):
                if len(ours[round_]) or len(others[round_]):
                    index = jaccard(ours[round_], others[round_])
                    by_pair.setdefault((one, other), {}).setdefault(round_, []).append(index)
                    numbers.append([methods[one].experiment, methods[other].experiment, pair, round_, index])
    if not by_pair:
        raise LeftOut("no two methods have queries of a round of runs that are pairs")
    rounds = sorted({round_ for found in by_pair.values() for round_ in found})
    names = [method.name for method in methods]
    matrix = np.array(
        [
            [np.mean(found[round_]) if round_ in found else np.nan for round_ in rounds]
            for found in by_pair.values()
        ]
    )
    pair_names = [f"{names[one]} – {names[other]}" for one, other in by_pair]
    mean = {
        pair: float(np.mean([value for values in found.values() for value in values]))
        for pair, found in by_pair.items()
    }
    rows = [
        [
            names[row],
            *(
                ""
                if row == column
                else "–"
                if (key := (min(row, column), max(row, column))) not in mean
                else f"{mean[key]:.3f}"
                for column in range(len(names))
            ),
        ]
        for row in range(len(names))
    ]
    return Section(
        "overlap",
        "Overlap of the queries",
        [
            "The Jaccard index of two methods' queries in a round: what both asked for over what either did, from 0 "
            f"to 1. {pairing(study)} From the second round on the methods choose from pools that differ, so that a "
            "low index is in part their history. Queries of q inputs drawn by chance from N have about q / (2N − q)."
        ],
        [
            Picture(
                "overlap",
                "Jaccard index of the queries of two methods by round (counted from 1), mean over runs of a pair.",
                f"Matrix of pairs of the methods {', '.join(names)} by round: the Jaccard index of their queries.",
                heatmap({"": matrix}, pair_names, [str(round_ + 1) for round_ in rounds], "Jaccard index"),
            )
        ],
        [
            Table(
                "overlap",
                "Jaccard index of the queries, mean over rounds and runs.",
                ["", *names],
                rows,
                numbers,
            )
        ],
    )


def jaccard(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """|A ∩ B| / |A ∪ B|; NaN of nothing."""
    union = len(np.union1d(one, other))
    return len(np.intersect1d(one, other)) / union if union else math.nan
