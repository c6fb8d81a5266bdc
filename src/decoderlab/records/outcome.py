"""What became of a run, in a line."""

from __future__ import annotations

from decoderlab.metrics.shipped import score_label
from decoderlab.records.run_folder import RunFolder


def outcome(folder: RunFolder) -> str:
    """Return what became of a run, in a line.

    Args:
        folder: of the run.
    """
    record = folder.status()
    if record["status"] == "INTERRUPTED":
        return f"({folder.path})"
    if record["status"] != "FINISHED":
        more = folder.traceback if folder.traceback.exists() else folder.path
        return f"{record.get('reason', '')} ({more})"
    result = folder.result()
    if result is None:
        return f"its result is missing ({folder.result_file})"
    scores = result.metrics.test.items()
    shown = ", ".join(f"{score_label(name, result.scores)} {value:.4g}" for name, value in scores)
    return f"test: {shown}; {result.train_seconds:.0f} s of training ({folder.path})"
