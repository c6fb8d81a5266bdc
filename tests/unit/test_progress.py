"""What a run shows of itself while it trains."""

from __future__ import annotations

import math

import pytest

from decoderlab.common import progress


@pytest.mark.parametrize(
    ("selected", "shown"),
    [
        ("exact_match", "loss 0.5, exact match 0.25"),
        ("character_error_rate", "loss 0.5, character error rate 0.125"),
        ("loss", "loss 0.5, validation loss 0.75"),
    ],
)
def test_the_score_that_chooses_the_checkpoint_is_shown_beside_the_loss(
    monkeypatch, capsys, selected, shown
):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    run = progress.RunProgress("echo", 10, None, selected)
    scores = {"exact_match": 0.25, "character_error_rate": 0.125, "loss": 0.75}
    run(5, {"train/loss": 0.5, **{f"validation/{name}": one for name, one in scores.items()}})
    assert f"echo: update 5 of 10, {shown}\n" in capsys.readouterr().err


def test_a_sweep_says_the_plans_estimate_first_and_then_the_pace_of_its_updates():
    tally = progress.Tally(2, reused=3, estimate=50.0, updates={"a": 900, "b": 100})
    assert tally.line() == "3 of 5 done, 0 failed, about 50 s left"
    assert tally.left(1.0) == 50  # before the first update
    assert tally.left(10.0) == 50
    assert tally._pace == 0.0  # starting is no sign of a slower pace
    tally.running = {"a": 450}
    assert tally.left(10.0) == pytest.approx((10 + 2.5) / (0.45 + 0.05) * 0.55)
    before = tally.left(10.0)
    # A run that lasts longer than was thought leaves the number where it is.
    assert tally.left(60.0) == before
    tally.started -= 60
    assert tally.line().endswith("failed, more than 14 s left")
    tally.running, tally.ended = {}, {"a": "FINISHED"}
    assert tally.left(20.0) == pytest.approx((20 + 2.5) / (0.9 + 0.05) * 0.1)
    tally.ended["b"] = "FAILED"
    assert tally.line() == "5 of 5 done, 1 failed"


def test_the_end_of_a_sweep_is_no_zero_seconds():
    tally = progress.Tally(2, reused=0, estimate=0.2)
    assert tally.line() == "0 of 2 done, 0 failed, a few seconds left"


def test_without_an_estimate_and_without_updates_runs_are_counted():
    tally = progress.Tally(4, reused=0)
    assert tally.left(10.0) == math.inf
    assert tally.line() == "0 of 4 done, 0 failed"
    tally.ended["a"] = "FINISHED"
    assert tally.left(10.0) == pytest.approx(30)


def test_a_run_says_the_time_left_and_it_never_rises(monkeypatch, capsys):
    now = iter([0.0, 1.0, 2.0, 30.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    run = progress.RunProgress("echo", 100, None, "exact_match")
    for step in (10, 20, 30):
        run(step, {"train/loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("loss 0.5")[2] for line in lines] == [
        "",
        ", about 8 s left",
        ", about 8 s left",
    ]
