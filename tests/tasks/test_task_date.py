from __future__ import annotations

import datetime
import unicodedata

import pytest

from decoderlab.tasks.date import FORMATS, ZEROS, DateTask, tidy, written
from decoderlab.training.loading import load_run
from decoderlab.usage.outputs import predict
from tests.conftest import run

babel = pytest.importorskip("babel")

LOCALES = ["en_US", "en_GB", "de_DE", "fr_FR", "hu_HU", "ru_RU", "ar_EG", "hi_IN", "ja_JP"]
SETTINGS = {
    "locales": LOCALES,
    "formats": list(FORMATS),
    "first_year": 1950,
    "last_year": 2049,
    "num_train": 1500,
    "num_validation": 100,
    "num_test": 400,
}
GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
RUSSIAN = "января февраля марта апреля мая июня июля августа сентября октября ноября декабря"


def make(**settings) -> DateTask:
    return DateTask(**SETTINGS | settings)


def rows(task: DateTask) -> list[tuple[str, str, str]]:
    examples = [row for some in task.examples()[0].values() for row in some]
    return [(row.source[0], "".join(row.source[1:]), "".join(row.target)) for row in examples]


@pytest.mark.parametrize(
    ("chosen", "pattern"),
    [
        ("short", "%m/%d/%y"),
        ("medium", "%b %d, %Y"),
        ("long", "%B %d, %Y"),
        ("full", "%A, %B %d, %Y"),
    ],
)
def test_english_dates_are_what_python_reads(chosen, pattern):
    for _, text, target in rows(make(locales=["en_US"], formats=[chosen])):
        read = datetime.datetime.strptime(text, pattern).date()
        wanted = datetime.date.fromisoformat(target)
        assert (read.month, read.day, read.year % 100) == (
            wanted.month,
            wanted.day,
            wanted.year % 100,
        )
        if chosen != "short":
            assert read == wanted
        if chosen == "full":
            assert text.startswith(wanted.strftime("%A,"))


@pytest.mark.parametrize(("locale", "names"), [("de_DE", GERMAN), ("ru_RU", RUSSIAN)])
def test_names_of_months_are_those_that_we_know(locale, names):
    for _, text, target in rows(make(locales=[locale], formats=["long"], num_train=300)):
        day, name, year = text.replace(".", "").split()[:3]
        month = names.split().index(name) + 1
        assert target == f"{year}-{month:02}-{int(day):02}"


@pytest.mark.parametrize(
    ("locale", "chosen", "order"),
    [
        ("en_GB", "short", "dmy"),
        ("fr_FR", "short", "dmy"),
        ("ar_EG", "short", "dmy"),
        ("ja_JP", "short", "ymd"),
        ("ja_JP", "full", "ymd"),
        ("hu_HU", "short", "ymd"),
    ],
)
def test_numbers_stand_in_the_order_of_the_locale(locale, chosen, order):
    for _, text, target in rows(make(locales=[locale], formats=[chosen], num_train=200)):
        digits = "".join(one if one.isdigit() else " " for one in text)
        numbers = dict(zip(order, map(int, digits.split()), strict=True))
        assert target == "{y}-{m:02}-{d:02}".format(**numbers)


def test_babel_reads_what_it_can():
    numeric = make(locales=["de_DE"], formats=["short"], first_year=2000)
    names = make(locales=["de_DE"], formats=["long"])
    past = make(locales=["de_DE"], formats=["short"], last_year=1999)
    scores = [
        task.baselines()["babel.dates.parse_date"]["exact_match"] for task in (numeric, names, past)
    ]
    assert scores == [1.0, 0.0, 1.0]
    assert numeric.baselines()["the most frequent target"]["exact_match"] < 0.01


def test_no_date_is_in_two_splits_and_all_are_in_range():
    examples, _ = make().examples()
    groups = [row.group for some in examples.values() for row in some]
    assert len(set(groups)) == len(groups) == 2000
    assert all(row.group == "".join(row.target) for row in examples["test"])
    assert {name: len(some) for name, some in examples.items()} == {
        "train": 1500,
        "validation": 100,
        "test": 400,
    }
    years = {int(group[:4]) for group in groups}
    assert min(years) == 1950
    assert max(years) == 2049
    assert {row.source[0] for row in examples["test"]} == set(LOCALES)


def test_a_written_date_means_one_date():
    found: dict[tuple[str, str], str] = {}
    for locale, text, target in rows(make(num_train=20000)):
        assert found.setdefault((locale, text), target) == target
    # Without the locale it would not: that is why it is there.
    orders = make(locales=["en_US", "hi_IN"], formats=["short"], num_train=20000)
    without: dict[str, set[str]] = {}
    for _, text, target in rows(orders):
        without.setdefault(text, set()).add(target)
    assert any(len(several) > 1 for several in without.values())


def test_digits_are_the_locale_s_and_nothing_is_invisible():
    task = make(locales=["ar_EG", "he_IL", "mr_IN", "ru_RU"])
    for locale, text, _ in rows(task):
        digits = {one for one in text if one.isdigit()}
        if locale in ("ar_EG", "mr_IN"):
            assert not digits & set("0123456789")
        else:
            assert digits <= set("0123456789")
        assert not [one for one in text if unicodedata.category(one) == "Cf"]
        assert [one for one in text if one.isspace()] == [" "] * text.count(" ")
        assert unicodedata.is_normalized("NFC", text)
    day = datetime.date(1987, 3, 9)
    assert written(day, "short", babel.Locale.parse("ar_EG")) == "٩/٣/١٩٨٧"


def test_the_digits_of_each_script_follow_its_zero():
    for zero in ZEROS.values():
        assert [unicodedata.digit(chr(ord(zero) + value)) for value in range(10)] == list(range(10))
    systems = {
        babel.Locale.parse(name).default_numbering_system
        for name in babel.localedata.locale_identifiers()
    }
    assert systems <= set(ZEROS)


def test_the_same_settings_give_the_same_data():
    fingerprint = make().data.fingerprint
    assert make().data.fingerprint == fingerprint
    assert make(data_seed=1).data.fingerprint != fingerprint


def test_text_goes_in_and_comes_out():
    task = make()
    data = task.data
    for row in range(50):
        tokens = data.source_vocabulary.decode(data.splits["train"].source[row])
        assert task.source_tokens(task.source_text(tokens)) == tokens
        target = task.text_of(task.accepted("train", row)[0])
        assert datetime.date.fromisoformat(target).isoformat() == target
    assert task.source_tokens(" ar_EG ٩\u200f/٣ ") == ["ar_EG", "٩", "/", "٣"]
    assert task.source_tokens("en_US") == ["en_US"]
    assert data.max_target_length == 11


def test_tidy_composes_letters():
    assert tidy("a\u0301\u00a0b\u061c") == "á b"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ["tiny"]}, "must be one of short, medium, long, full"),
        ({"formats": []}, "formats is empty"),
        ({"formats": ["long", "long"]}, "name each entry once"),
        ({"locales": []}, "locales is empty"),
        ({"locales": ["de_DE", "de_DE"]}, "name each entry once"),
        ({"first_year": 999}, "first_year is 999"),
        ({"last_year": 1949}, "last_year is 1949"),
        ({"num_test": 0}, "num_test is 0"),
        ({"first_year": 2049}, "only 365 different dates"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"locales": ["xx_YY"]}, "'xx_YY', which Babel does not know"),
        ({"locales": ["de-DE"]}, "'de-DE', which Babel does not know"),
        ({"locales": ["th"]}, "dates in TH are not of the Gregorian calendar"),
        ({"locales": ["fa_AF"]}, "dates in AF"),
        ({"last_year": 2050}, r"en_US writes the format short with two digits .*M/d/yy"),
    ],
)
def test_locales_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        _ = make(**settings).data


def test_four_digits_of_the_year_allow_any_span():
    task = make(formats=["long"], first_year=1600, last_year=2400, locales=["en_US", "ja_JP"])
    years = {int(target[:4]) for _, _, target in rows(task)}
    assert min(years) < 1700
    assert max(years) > 2300


def test_a_missing_package_names_the_extra(hide):
    hide()
    with pytest.raises(ValueError, match=r"'babel'.*decoderlab\[data\]"):
        _ = make().data


def test_an_empty_text_is_empty_both_ways(tiny):
    sizes = ("task.num_train=60", "task.num_validation=10", "task.num_test=10")
    prepared = tiny(*sizes, task="date")
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path)
    assert predict(loaded, ["", "  "]) == ["", ""]
    assert loaded.task.source_text([]) == ""
    assert loaded.task.source_tokens(" ") == []
