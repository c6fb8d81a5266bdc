"""Dates as people of several languages write them, to ISO 8601: '3/9/87' to '1987-03-09'."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from typing import Any

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import Example
from decoderlab.data.reading import package_file
from decoderlab.data.splits import check_possible, check_split_sizes, cut
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens

FORMATS = ("short", "medium", "long", "full")
# Where everyday dates are of another calendar than Babel's, by CLDR's calendar preferences:
# Persian in Afghanistan and Iran, Islamic in Saudi Arabia, Buddhist in Thailand.
OTHER_CALENDARS = ("AF", "IR", "SA", "TH")
# The zeros of CLDR's numbering systems that are some locale's default, the digits follow them.
ZEROS = {
    "latn": "0",
    "adlm": "\U0001e950",
    "arab": "\u0660",
    "arabext": "\u06f0",
    "beng": "\u09e6",
    "cakm": "\U00011136",
    "deva": "\u0966",
    "hmnp": "\U0001e140",
    "mtei": "\uabf0",
    "mymr": "\u1040",
    "nkoo": "\u07c0",
    "olck": "\u1c50",
    "tibt": "\u0f20",
}
DIRECTION_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u061c"))  # invisible; nobody types them


class DateTask(Task):
    """Locale and written date in, ISO 8601 out, character by character.

    The first token of a source is the locale, since '09/03/1987' is March in one and September in
    another. No date is in two splits, however it is written; each has one example, in a locale and
    a format drawn uniformly.

    Source: month names, weekdays and patterns of the Unicode CLDR as Babel (BSD) has them; the
        dates are drawn, so that these are half real. Another release of Babel brings another CLDR,
        and then the fingerprint differs.
    Differs: digits are those of the locale's default numbering system, as the CLDR wants and Babel
        does not do. Marks of writing direction are left out, and no-break spaces are plain ones.
        All dates are Gregorian, which is all that Babel writes: locales of territories whose
        everyday calendar is another are refused.

    Args:
        locales: identifiers that Babel knows, as `en_US`; at least one.
        formats: some of `short`, `medium`, `long` and `full`.
        first_year, last_year: dates are drawn uniformly from the first day of the one to the last
            of the other; 1000 to 9999. They span at most 100 years where a pattern writes two
            digits of the year, so that these tell which it is.
        num_train, num_validation, num_test: examples per split, at least 1, each of another date.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for settings out of range, a locale that is unknown or of another calendar, two
            digits that do not tell the year, or if Babel is not installed.

    Example:
        >>> task = DateTask(locales=["de_DE"], formats=["long"], first_year=1987, last_year=1987,
        ...                 num_train=9, num_validation=2, num_test=2)
        >>> task.source_tokens("de_DE 9. März")
        ['de_DE', '9', '.', ' ', 'M', 'ä', 'r', 'z']
    """

    def __init__(
        self,
        *,
        locales: Sequence[str],
        formats: Sequence[str],
        first_year: int,
        last_year: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        self.locales, self.formats = list(locales), list(formats)
        require.subset("formats", self.formats, FORMATS)
        require.subset("locales", self.locales, self.locales)
        for name, values in (("locales", self.locales), ("formats", self.formats)):
            if not values:
                raise ValueError(f"{name} is empty; name at least one")
        require.between("first_year", first_year, 1000, 9999)
        require.between("last_year", last_year, first_year, 9999)
        self.first = date(first_year, 1, 1).toordinal()
        self.days = date(last_year, 12, 31).toordinal() - self.first + 1
        self.years, self.data_seed = last_year - first_year + 1, data_seed
        self.num_examples = check_split_sizes(num_train, num_validation, num_test)
        check_possible(self.num_examples, self.days, "dates")

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw distinct dates, and a locale and a format for each."""
        locales = [self._locale(name) for name in self.locales]
        generator = numpy_generator(self.data_seed, "data", "date")
        number = sum(self.num_examples)
        days = generator.permutation(self.days)[:number].tolist()
        indices = generator.integers(0, len(locales), size=number).tolist()
        formats = generator.integers(0, len(self.formats), size=number).tolist()
        rows = []
        for day, index, chosen in zip(days, indices, formats, strict=True):
            drawn = date.fromordinal(self.first + day)
            text = written(drawn, self.formats[chosen], locales[index])
            source = [self.locales[index], *text]
            rows.append(Example(source, list(drawn.isoformat()), group=drawn.isoformat()))
        return cut(rows, self.num_examples, generator), {}

    def source_tokens(self, text: str) -> list[str]:
        """Split 'LOCALE DATE' into the locale and the date's characters."""
        locale, _, rest = text.strip().partition(" ")
        return [locale, *tidy(rest)] if locale else []

    def source_text(self, tokens: Sequence[str]) -> str:
        """Join the locale and the date."""
        return " ".join([*tokens[:1], "".join(tokens[1:])])

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join the characters."""
        return "".join(tokens)

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the most frequent target, and what Babel reads.

        Babel's parser knows the order of day, month and year in a locale, but no names of months.
        Two digits of a year are read as one of the task's, whatever century Babel thinks of.
        """
        from babel.dates import parse_date

        vocabulary = of_tokens(self.data.target_vocabulary)
        first, read = date.fromordinal(self.first).year, []
        for row in range(len(self.data.splits["test"])):
            locale, *rest = self.decoded_source("test", row)
            try:
                result = parse_date("".join(rest), locale=locale)
                if self.years <= 100:
                    result = result.replace(year=first + (result.year - first) % 100)
                result = result.isoformat()
            except (IndexError, ValueError):
                result = ""
            read.append(vocabulary.encode(result))
        return super().baseline_predictions() | {"babel.dates.parse_date": read}

    def _locale(self, name: str) -> Any:
        """Return Babel's locale; raise ValueError if it cannot be used."""
        package_file("babel", "babel/global.dat")
        from babel import Locale, UnknownLocaleError
        from babel.core import get_global

        try:
            locale = Locale.parse(name)
        except (UnknownLocaleError, ValueError) as error:
            raise ValueError(
                f"locales has {name!r}, which Babel does not know ({error}); give identifiers as "
                "en_US, de_DE or ja_JP"
            ) from error
        likely = get_global("likely_subtags").get(str(locale), "").split("_")
        territory = locale.territory or likely[-1]
        if territory in OTHER_CALENDARS:
            raise ValueError(
                f"locales has {name!r}, but everyday dates in {territory} are not of the Gregorian "
                "calendar, and Babel writes no other; leave it out"
            )
        if locale.default_numbering_system not in ZEROS:
            raise ValueError(
                f"locales has {name!r}, whose digits ({locale.default_numbering_system}) this task "
                f"does not know; take locales with one of {', '.join(ZEROS)}"
            )
        for chosen in self.formats:
            pattern = locale.date_formats[chosen].pattern
            if self.years > 100 and re.search("(?<!y)yy(?!y)", pattern):
                raise ValueError(
                    f"first_year and last_year span {self.years} years, but {name} writes the "
                    f"format {chosen} with two digits of the year ({pattern}); span at most 100, "
                    f"or leave {chosen} out of formats"
                )
        return locale


def written(day: date, chosen: str, locale: Any) -> str:
    """Return a date as a locale writes it.

    Args:
        day: the date.
        chosen: one of `FORMATS`.
        locale: Babel's.
    """
    from babel.dates import format_date

    zero = ord(ZEROS[locale.default_numbering_system])
    digits = {ord("0") + value: zero + value for value in range(10)}
    return tidy(format_date(day, chosen, locale=locale)).translate(digits)


def tidy(text: str) -> str:
    r"""Return text in NFC, without marks of direction, and with plain spaces.

    Example:
        >>> tidy("9\u200f/3\u200f/1987"), tidy("1987\u202fг.")
        ('9/3/1987', '1987 г.')
    """
    text = unicodedata.normalize("NFC", text).translate(DIRECTION_MARKS)
    return re.sub(r"\s", " ", text)
