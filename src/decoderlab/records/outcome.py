"""The outcome of a run in a line of text."""

from __future__ import annotations

from decoderlab.common.errors import Invalid
from decoderlab.metrics.shipped import score_label
from decoderlab.records.opened_run import open_run
from decoderlab.records.run_folder import RunFolder


def outcome(folder: RunFolder, metric: str | None = None) -> str:
    """Return the outcome of a run in a line of text.

    Args:
        folder: of the run.
        metric: the only one to show of a finished run, in a short line; None: all of them.
    """
    record = folder.status()
    reason = record.get("reason", "")
    if record["status"] == "INTERRUPTED" and reason.startswith("interrupted by"):
        return f"({folder.path})"
    if record["status"] != "FINISHED":
        more = folder.traceback if folder.traceback.exists() else folder.path
        return f"{reason} ({more})"
    try:
        result = open_run(folder).result
    except Invalid as error:
        return str(error)
    if metric is not None and metric in result.metrics.test:
        score = f"{score_label(metric, result.scores)} {result.metrics.test[metric]:.4g}"
        return f"{score}, {result.train_seconds:.0f} s"
    scores = result.metrics.test.items()
    shown = ", ".join(f"{score_label(name, result.scores)} {value:.4g}" for name, value in scores)
    return f"test: {shown}; {result.train_seconds:.0f} s of training ({folder.path})"
