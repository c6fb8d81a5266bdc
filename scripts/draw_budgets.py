"""docs/studies/budgets/figures/budgets.png: how scores grow with the updates of training.

    python scripts/draw_budgets.py

From the committed results.csv of the study `budgets`: for each task the mean exact match of each
decoder at each budget, with the 95 % interval of new seeds.
"""

from __future__ import annotations

from collections import defaultdict

from matplotlib.figure import Figure

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.statistics import Summary, summarise
from measuring.arguments import script_parser
from redraw_study import FOLDER, committed, tasks_of

STUDY = "budgets"
PICTURE = FOLDER / STUDY / "figures" / "budgets.png"


def main() -> None:
    """Write the picture."""
    script_parser(__doc__).parse_args()
    analysis = committed(STUDY)
    drawn(Panels(analysis, FOLDER), points(analysis)).savefig(PICTURE, dpi=150)


def points(analysis: Analysis) -> dict[str, dict[str, dict[int, Summary]]]:
    """Return the scores of each task by decoder and budget in updates."""
    known: dict[str, dict[str, dict[int, Summary]]] = defaultdict(lambda: defaultdict(dict))
    for name, given in tasks_of(STUDY).items():
        for variant in analysis.variants:
            rows = analysis.by_cell.get((variant, name), [])
            scores = [score for row in rows if (score := analysis.score(row)) is not None]
            summary = summarise(scores, bounds=(0, 1))
            known[given["task"]][variant][given["training.max_steps"]] = summary
    return known


def drawn(panels: Panels, known: dict[str, dict[str, dict[int, Summary]]]) -> Figure:
    """Return a panel for each task, with a line for each decoder."""
    figure, axes = panels.grid(1, 3.4, columns=len(known), sharey=True)
    budgets = sorted({budget for of in known.values() for each in of.values() for budget in each})
    for axis, (task, by_variant) in zip(axes[0], known.items(), strict=True):
        for variant, by_budget in by_variant.items():
            means = [each.mean for each in by_budget.values()]
            low = [each.mean - each.low for each in by_budget.values()]
            high = [each.high - each.mean for each in by_budget.values()]
            looks = {name: panels.styles[variant][name] for name in ("color", "linestyle")}
            axis.errorbar(
                [*by_budget],
                means,
                (low, high),
                marker="o",
                ms=4,
                capsize=2,
                label=variant,
                **looks,
            )
        axis.set_xscale("log")
        axis.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
        axis.minorticks_off()
        axis.set_title(task, loc="left", fontweight="bold")
        axis.set_xlabel("updates")
        axis.grid(alpha=0.4)
    axes[0][0].set_ylabel(panels.label)
    panels.add_legend(figure, axes)
    return figure


if __name__ == "__main__":
    main()
