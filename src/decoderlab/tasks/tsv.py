"""Your own data: a file with a source and a target in each line, separated by a tab."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from decoderlab import checks
from decoderlab.tasks.sampling import split_by_source
from decoderlab.tasks.task import Example, Task
from decoderlab.tasks.vocabulary import Vocabulary

TOKENS = ("character", "word", "separator")


class TSVTask(Task):
    r"""Pairs from a tab-separated UTF-8 file, split so that no source is in two splits.

    The first line names the columns. Windows line ends and a byte-order mark are fine; there is
    no quoting; text is taken as it is, without Unicode normalisation. Empty lines, pairs with an
    empty side and pairs over a maximum length are dropped and counted. If a source stands in
    several lines, each of its targets counts as right in validation and test.

    Args:
        path: the file.
        tokens: `character` (a token each), `word` (split at white space) or `separator` (split at
            `separator`).
        separator: the text between tokens, with `tokens: separator` only.
        source_column, target_column: the columns' names in the first line.
        validation_share, test_share: shares of the different sources, above 0, below 1 together.
        minimum_count: tokens seen less often in training become `<unk>`, at least 1.
        max_source_length, max_target_length: longest pair to keep, in tokens; None for no limit.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: for a file that is missing, is not UTF-8, lacks a column or has a line with
            another number of columns (the message has the line's number).
    """

    def __init__(
        self,
        *,
        path: str,
        tokens: str = "character",
        separator: str | None = None,
        source_column: str = "source",
        target_column: str = "target",
        validation_share: float = 0.1,
        test_share: float = 0.1,
        minimum_count: int = 1,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        checks.choice("tokens", tokens, TOKENS)
        if (tokens == "separator") != bool(separator):
            raise ValueError(
                f"tokens is {tokens!r} and separator is {separator!r}; give a separator exactly "
                "when tokens is 'separator'"
            )
        checks.positive("validation_share", validation_share)
        checks.positive("test_share", test_share)
        if validation_share + test_share >= 1:
            raise ValueError(
                f"validation_share + test_share is {validation_share + test_share}; "
                "keep it below 1, so that something is left to train on"
            )
        checks.at_least("minimum_count", minimum_count, 1)
        self.path = Path(path).expanduser()
        self.tokens, self.separator = tokens, separator
        self.columns = (source_column, target_column)
        self.shares = (validation_share, test_share)
        self.minimum_count, self.data_seed = minimum_count, data_seed
        self.limits = (max_source_length, max_target_length)

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the file."""
        counts = {"lines": 0, "dropped_empty": 0, "dropped_too_long": 0, "repeated_pairs": 0}
        targets: dict[tuple[str, ...], list[Sequence[str]]] = {}
        for source_text, target_text in self._pairs():
            counts["lines"] += 1
            source = tuple(self._split(source_text))
            target = tuple(self._split(target_text))
            if not source or not target:
                counts["dropped_empty"] += 1
            elif any(
                limit is not None and len(side) > limit
                for side, limit in zip((source, target), self.limits, strict=True)
            ):
                counts["dropped_too_long"] += 1
            elif target in targets.setdefault(source, []):
                counts["repeated_pairs"] += 1
            else:
                targets[source].append(target)
        if len(targets) < 3:
            raise ValueError(
                f"path {self.path}: {len(targets)} different sources are left ({counts}); "
                "at least 3 are needed, one for each split"
            )
        num_validation, num_test = (max(1, round(share * len(targets))) for share in self.shares)
        splits = split_by_source(
            targets,
            num_train=None,
            num_validation=num_validation,
            num_test=num_test,
            data_seed=self.data_seed,
        )
        return splits, counts

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return the tokens seen at least `minimum_count` times in training."""
        return (
            Vocabulary.of((row.source for row in train), self.minimum_count),
            Vocabulary.of((row.target for row in train), self.minimum_count),
        )

    def source_tokens(self, text: str) -> list[str]:
        """Split a line as the file's cells are split."""
        return self._split(text)

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join tokens as the file has them."""
        joint = {"character": "", "word": " ", "separator": self.separator}[self.tokens]
        return joint.join(tokens)

    source_text = target_text

    def _split(self, text: str) -> list[str]:
        if self.tokens == "character":
            return list(text)
        # Splitting at a separator leaves empty strings where two of them meet; they say nothing.
        return [token for token in text.split(self.separator) if token]

    def _pairs(self):
        places = None
        for number, line in enumerate(self._lines(), start=1):
            cells = line.split("\t")
            if places is None:
                header = cells
                missing = [name for name in self.columns if name not in header]
                if missing:
                    raise ValueError(
                        f"path {self.path}: the first line names the columns {header}, but "
                        f"not {missing[0]!r}; add a first line 'source<TAB>target', or set "
                        "task.source_column and task.target_column"
                    )
                places = [header.index(name) for name in self.columns]
            elif line:
                if len(cells) != len(header):
                    raise ValueError(
                        f"path {self.path}, line {number}: {len(cells)} columns, but the "
                        f"first line names {len(header)}; separate columns by one tab"
                    )
                yield cells[places[0]], cells[places[1]]
        if places is None:
            raise ValueError(f"path {self.path} is empty; it needs a first line of column names")

    def _lines(self):
        try:
            with self.path.open(encoding="utf-8-sig", newline="\n") as file:
                for line in file:
                    yield line.rstrip("\r\n")
        except OSError as error:
            raise ValueError(
                f"path {self.path} cannot be read ({error.strerror}); give a tab-separated "
                "UTF-8 file whose first line is source<TAB>target"
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"path {self.path} is not UTF-8 ({error.reason} at byte {error.start}); "
                "convert it, for example: iconv -f latin1 -t utf-8"
            ) from error
