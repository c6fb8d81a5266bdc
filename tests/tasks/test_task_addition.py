"""Addition from one digit to fifteen; what both paddings share with others is in test_tasks.py."""

from __future__ import annotations

import pytest

from decoderlab.tasks import AdditionTask

SIZES = {"num_train": 300, "num_validation": 40, "num_test": 60}


def rows(task: AdditionTask, split: str) -> list[tuple[str, str]]:
    data = task.data
    part = data.splits[split]
    decode = data.source_vocabulary.decode
    return [
        (task.source_text(decode(part.source[row])), task.text_of(task.accepted(split, row)[0]))
        for row in range(len(part))
    ]


@pytest.mark.parametrize("numbers", ["by_length", "by_value"])
@pytest.mark.parametrize("num_digits", [2, 3, 5, 9, 10, 15])
def test_sums_are_right_up_to_fifteen_digits(num_digits, numbers):
    task = AdditionTask(num_terms=4, num_digits=num_digits, numbers=numbers, **SIZES)
    lengths = set()
    for split, size in zip(task.data.splits, SIZES.values(), strict=True):
        found = rows(task, split)
        assert len(found) == size
        for source, target in found:
            terms = source.split("+")
            assert len(terms) == 4
            assert all(str(int(term)) == term for term in terms), "no sign, no leading zero"
            assert int(target) == sum(map(int, terms))  # Python's integers have no end
            lengths |= set(map(len, terms))
    assert max(lengths) == num_digits
    if numbers == "by_length":
        assert lengths == set(range(1, num_digits + 1))


def test_numbers_are_drawn_by_length_or_by_value():
    shares = {}
    for numbers in ("by_length", "by_value"):
        task = AdditionTask(num_terms=2, num_digits=9, numbers=numbers, **SIZES)
        terms = [term for source, _ in rows(task, "train") for term in source.split("+")]
        shares[numbers] = sum(len(term) == 9 for term in terms) / len(terms)
    assert shares["by_length"] == pytest.approx(0.1, abs=0.05)  # 0.9 / 9
    assert shares["by_value"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("num_digits", [2, 9])
def test_padded_lengths_are_those_of_the_longest_sum(num_digits, padding):
    task = AdditionTask(num_terms=2, num_digits=num_digits, padding=padding, **SIZES)
    for split in task.data.splits.values():
        assert set(split.source.lengths.tolist()) == {2 * num_digits + 1}
        assert set(split.target.lengths.tolist()) == {num_digits + 1}
    assert task.data.max_target_length == num_digits + 1


def test_more_than_four_fifths_of_the_sums_are_refused():
    # Of 0 to 9 there are 55 sums whose order does not matter: 45 of two numbers, 10 of one twice.
    sizes = {"num_train": 40, "num_validation": 2, "num_test": 2}
    task = AdditionTask(num_terms=2, num_digits=1, **sizes)
    keys = [
        tuple(sorted(one.split("+"))) for split in task.data.splits for one, _ in rows(task, split)
    ]
    assert len(set(keys)) == 44
    with pytest.raises(ValueError, match="is 45, but there are only 55 .* at most 44"):
        AdditionTask(num_terms=2, num_digits=1, **sizes | {"num_train": 41})


@pytest.mark.parametrize("num_digits", [0, 16])
def test_digits_out_of_range_are_refused(num_digits):
    with pytest.raises(
        ValueError, match=f"num_digits is {num_digits}; it must be between 1 and 15"
    ):
        AdditionTask(num_terms=2, num_digits=num_digits, **SIZES)


def test_data_depend_on_the_data_seed_alone():
    def fingerprint(**settings) -> str:
        return AdditionTask(num_terms=2, num_digits=9, **SIZES, **settings).data.fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(data_seed=1)


def carries(source: str) -> bool:
    """Whether some column of a sum of two is above 9."""
    one, other = (int(term) for term in source.split("+"))
    while one or other:
        if one % 10 + other % 10 > 9:
            return True
        one, other = one // 10, other // 10
    return False


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_a_rule_never_carries(padding):
    task = AdditionTask(num_terms=2, num_digits=4, padding=padding, **SIZES)
    found = rows(task, "test")
    free = sum(not carries(source) for source, _ in found) / len(found)
    assert 0.1 < free < 0.9
    assert task.baselines()["without carrying"]["exact_match"] == pytest.approx(free)


def test_a_rule_for_three_terms_drops_all_that_is_carried():
    task = AdditionTask(num_terms=3, num_digits=2, **SIZES)
    texts = [task.text_of(one) for one in task.baseline_predictions()["without carrying"]]
    for (source, _), text in zip(rows(task, "test"), texts, strict=True):
        tens, ones = zip(*(divmod(int(term), 10) for term in source.split("+")), strict=True)
        assert text == str(sum(tens) % 10 * 10 + sum(ones) % 10)


@pytest.mark.parametrize(("padding", "tokens"), [("none", "12+5"), ("left", "     12+5")])
def test_text_makes_the_round_trip(padding, tokens):
    task = AdditionTask(num_terms=2, num_digits=4, padding=padding, **SIZES)
    vocabulary = task.data.source_vocabulary
    assert "".join(task.source_tokens(" 12 + 5 ")) == tokens
    ids = vocabulary.encode(task.source_tokens("12+5"))
    assert task.source_text(vocabulary.decode(ids)) == "12+5"
    assert vocabulary.encode(task.source_tokens("1x"))[-1] == vocabulary.space.unk_id


@pytest.mark.parametrize("numbers", ["by_length", "by_value"])
def test_longer_integers_are_tested_and_training_stays_what_it_is(numbers):
    plain = AdditionTask(num_terms=2, num_digits=2, numbers=numbers, **SIZES)
    longer = AdditionTask(num_terms=2, num_digits=2, numbers=numbers, test_num_digits=4, **SIZES)
    for split in ("train", "validation"):
        assert rows(longer, split) == rows(plain, split)
    tested = rows(longer, "test")
    assert len(tested) == SIZES["num_test"]
    lengths = {len(term) for source, _ in tested for term in source.split("+")}
    assert lengths == {3, 4}
    assert all(int(target) == sum(map(int, source.split("+"))) for source, target in tested)
    assert longer.data.max_target_length == 6  # five digits and EOS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"test_num_digits": 2}, "test_num_digits is 2; it must be between 3 and 15"),
        ({"test_num_digits": 16}, "test_num_digits is 16; it must be between 3 and 15"),
        ({"test_num_digits": 4, "padding": "right"}, "padding is 'right', so that all sums have"),
    ],
)
def test_longer_integers_are_longer(wrong, said):
    with pytest.raises(ValueError, match=said):
        AdditionTask(num_terms=2, num_digits=2, **SIZES, **wrong)
