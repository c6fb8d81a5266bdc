"""What is in the splits of a task."""

from __future__ import annotations


def texts(task, split):
    data = task.data
    part = data.splits[split]
    return [
        (
            task.source_text(data.source_vocabulary.decode(part.source[row])),
            task.target_text(data.target_vocabulary.decode(part.accepted(row, 2)[0])),
        )
        for row in range(len(part))
    ]


def disjoint(task) -> bool:
    sources = {
        name: {tuple(row.source) for row in rows} for name, rows in task.examples()[0].items()
    }
    return not (
        sources["train"] & sources["validation"]
        or sources["train"] & sources["test"]
        or sources["validation"] & sources["test"]
    )
