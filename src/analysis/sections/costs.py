"""What the methods cost: wall-clock seconds of the phases of a round."""

from collections import Counter

import numpy as np

from src.analysis.figures import panels
from src.analysis.page import LeftOut, Picture, Section, Table
from src.analysis.study import Method, Study


def wall_clock(study: Study) -> Section:
    """Seconds by phase, a run's rounds added up, as the mean over runs."""
    timed = {method: _seconds(method) for method in study.recorded}
    timed = {method: seconds for method, seconds in timed.items() if seconds}
    if not timed:
        raise LeftOut("no records with seconds; CSVs hold none")
    phases = list(dict.fromkeys(phase for seconds in timed.values() for run in seconds for phase in run))
    figure, (axes,) = panels()
    figure.set_size_inches(8, 1.8 + 0.4 * len(timed))
    names = [method.name for method in timed]
    left_M = np.zeros(len(timed))
    for number, phase in enumerate(phases):
        width_M = np.array([_mean(seconds, phase) for seconds in timed.values()])
        axes.barh(names, width_M, left=left_M, color=f"C{number}", label=phase)
        left_M += width_M
    axes.invert_yaxis()
    axes.set_xlabel("seconds of a run")
    figure.legend(loc="outside upper center", ncols=len(phases), fontsize="small")
    rows = [
        [
            method.name,
            *(f"{_mean(seconds, phase):,.1f}" for phase in phases),
            f"{sum(_mean(seconds, phase) for phase in phases):,.1f}",
            str(len(method.runs[0].rows)) if len({len(run.rows) for run in method.runs}) == 1 else "differ",
        ]
        for method, seconds in timed.items()
    ]
    numbers: list[list[object]] = [["method", "run", "labels", "phase", "seconds"]]
    for method in timed:
        for run in method.runs:
            for row in run.rows:
                spent = row.get("seconds", {}).items()
                numbers += [
                    [method.experiment, run.number, row["labelled"], phase, value] for phase, value in spent
                ]
    devices = {method.device for method in timed}
    where = (
        f"On {devices.pop()}."
        if len(devices) == 1 and None not in devices
        else (
            "The methods' last runs were not all on one device, or it is not recorded: compare with care. "
            + "; ".join(f"{method.name}: {method.device or 'not recorded'}" for method in timed)
        )
    )
    return Section(
        "seconds",
        "Wall-clock time by phase",
        [f"{where} Seconds of all rounds of a run, mean over runs; runs with more rounds take longer."],
        [
            Picture(
                "seconds",
                "Wall-clock seconds of a run by phase, mean over runs.",
                f"Stacked bars of seconds by phase ({', '.join(phases)}), a bar for each of {', '.join(names)}.",
                figure,
            )
        ],
        [
            Table(
                "seconds", "Seconds of a run by phase.", ["method", *phases, "total", "rounds"], rows, numbers
            )
        ],
    )


def _seconds(method: Method) -> list[Counter[str]]:
    """By phase, for every run that has any."""
    runs = []
    for run in method.runs:
        total: Counter[str] = Counter()
        for row in run.rows:
            total.update(row.get("seconds", {}))
        runs.append(total)
    return [total for total in runs if total]


def _mean(runs: list[Counter[str]], phase: str) -> float:
    return float(np.mean([run[phase] for run in runs]))
