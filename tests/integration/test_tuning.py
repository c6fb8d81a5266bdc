"""Equal tuning: the same trials for every variant, on seeds and a split of their own."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from decoderlab import results
from decoderlab.config.run_config import RunConfig
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import read_configs, read_plan
from decoderlab.studies.execution import arm_search
from decoderlab.studies.execution.arm_search import ArmSearch
from decoderlab.studies.execution.journal import open_journal
from decoderlab.studies.execution.tuning import Tuner
from tests.integration.cli import in_process, tiny_arguments

pytestmark = pytest.mark.usefixtures("undrawn")

SPACE = "training.learning_rate: {low: 1e-4, high: 1e-1, log: true}, encoder.dropout: [0.0, 0.3]"


def tuned(
    folder: Path, *more: str, sampler: str = "random", trials: int = 3, seeds: str = "[100, 101]"
) -> list[str]:
    tuning = f"{{space: {{{SPACE}}}, trials: {trials}, seeds: {seeds}, sampler: {sampler}}}"
    return [
        *("-m", *tiny_arguments(folder), "decoder=repeat_vector,luong", "seed=0,1"),
        *("study.name=s", f"study.tuning={tuning}", "study.metric=token_accuracy"),
        *("hydra/launcher=basic", *more),
    ]


def runs_of(folder: Path, name: str) -> list[tuple[RunConfig, RunFolder]]:
    configs = read_configs(folder / "studies" / name / "plan.json")
    cells = read_plan(folder, name).cells
    return [(configs[cell.run_id], RunFolder(folder / cell.folder)) for cell in cells]


def settings(config: RunConfig) -> tuple[float, float]:
    return config.training.learning_rate, config.encoder["dropout"]


@pytest.mark.slow
def test_every_variant_gets_the_same_trials_and_its_best_is_frozen(monkeypatch, capfd, tmp_path):
    assert in_process(monkeypatch, *tuned(tmp_path)) == 0
    trials = runs_of(tmp_path, "s/tuning")
    assert {config.seed for config, _ in trials} == {100, 101}
    tried = {
        name: [settings(config) for config, _ in trials if config.choices.decoder == name]
        for name in ("repeat_vector", "luong")
    }
    assert tried["repeat_vector"] == tried["luong"]
    assert len(set(tried["luong"])) == 3

    record = read_plan(tmp_path, "s").tuning
    assert (record["trials"], record["runs"], record["seeds"]) == (3, 12, [100, 101])
    evaluated = runs_of(tmp_path, "s")
    assert {config.seed for config, _ in evaluated} == {0, 1}
    for name in ("repeat_vector", "luong"):
        scores: dict[tuple, list[float]] = {}
        for config, folder in trials:
            if config.choices.decoder == name:
                score = folder.result().metrics.validation["token_accuracy"]
                scores.setdefault(settings(config), []).append(score)
        best = max(scores, key=lambda key: sum(scores[key]))
        used = {settings(c) for c, _ in evaluated if c.choices.decoder == name}
        assert used == {best}
        chosen = record["chosen"][f"decoder={name}"]
        assert tuple(chosen["settings"].values()) == best
        assert chosen["score"] == pytest.approx(sum(scores[best]) / 2)
    runs = results("s", tmp_path).drop_duplicates("variant").set_index("variant")
    for name in ("repeat_vector", "luong"):
        for key, value in record["chosen"][f"decoder={name}"]["settings"].items():
            assert float(runs.loc[name, f"tuned_{key}"]) == value
    report = (tmp_path / "studies/s/report.md").read_text()
    assert "tuning: 3 trials (random) of each variant on each task" in report
    assert "| luong | " in report  # a tuned variant goes by its own name

    # Given again, nothing is tried or trained anew.
    capfd.readouterr()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert in_process(monkeypatch, *tuned(tmp_path)) == 0
    assert "4 finished before" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_search_that_was_interrupted_goes_on_as_it_would_have(monkeypatch, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # The first ten of tpe are random.
    given = {"sampler": "tpe", "trials": 12, "seeds": "[100]"}
    assert in_process(monkeypatch, *tuned(whole, **given)) == 0
    real, calls = ArmSearch.tell, []

    def stop(self, scores):
        calls.append(scores)
        if len(calls) == 15:
            raise KeyboardInterrupt
        real(self, scores)

    with monkeypatch.context() as patch:
        patch.setattr(ArmSearch, "tell", stop)
        assert in_process(monkeypatch, *tuned(broken, **given)) == 130
    assert in_process(monkeypatch, *tuned(broken, **given)) == 0
    records = [read_plan(folder, "s").tuning for folder in (whole, broken)]
    assert records[0] == records[1]
    ids = [{c.run_id for c in read_plan(folder, "s/tuning").cells} for folder in (whole, broken)]
    assert ids[0] == ids[1]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["edited", "deleted"])
def test_a_search_whose_journal_is_lost_comes_to_its_trials_again(
    monkeypatch, capfd, tmp_path, harm
):
    given = {"sampler": "tpe", "seeds": "[100]"}
    assert in_process(monkeypatch, *tuned(tmp_path, **given)) == 0
    before = read_plan(tmp_path, "s").tuning, read_plan(tmp_path, "s/tuning").cells
    journal = tmp_path / "studies/s/tuning/optuna.journal"
    searches = open_journal(journal).get_all_studies()
    assert {search.user_attrs["variant"] for search in searches} == set(before[0]["chosen"])
    if harm == "deleted":
        journal.unlink()
    else:
        journal.write_bytes(journal.read_bytes().replace(b'"values":[0', b'"values":[1', 1))
    capfd.readouterr()
    assert in_process(monkeypatch, *tuned(tmp_path, **given)) == 0
    assert "4 finished before" in capfd.readouterr().err
    assert (read_plan(tmp_path, "s").tuning, read_plan(tmp_path, "s/tuning").cells) == before
    # Another search is another study, whatever its first trials are.
    journal.unlink()
    assert in_process(monkeypatch, *tuned(tmp_path, trials=2, **given)) == 2
    assert "runs that study s/tuning consists of are not in this" in capfd.readouterr().err


@pytest.mark.slow
def test_a_variant_that_is_added_is_searched_as_the_others_were(monkeypatch, tmp_path):
    from optuna.samplers import TPESampler

    def sampler(kind: str, number: int) -> TPESampler:  # whose first trial alone is random
        return TPESampler(seed=number, n_startup_trials=1)

    monkeypatch.setattr(arm_search, "_sampler", sampler)
    given = {"sampler": "tpe", "seeds": "[100]"}
    assert in_process(monkeypatch, *tuned(tmp_path / "at once", **given)) == 0
    assert in_process(monkeypatch, *tuned(tmp_path / "o", "decoder=repeat_vector", **given)) == 0
    assert in_process(monkeypatch, *tuned(tmp_path / "o", **given)) == 0
    ids = [
        {c.run_id for c in read_plan(tmp_path / one, "s/tuning").cells} for one in ("at once", "o")
    ]
    assert ids[0] == ids[1]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["exact_match", "symbol_error_rate"])
def test_a_failed_trial_counts_with_the_worst_score(monkeypatch, tmp_path, metric):
    if metric == "symbol_error_rate":  # a score that may be worse than its worst, 1
        score = Tuner._score
        monkeypatch.setattr(Tuner, "_score", lambda *given: None if score(*given) is None else 1.6)
    space = "training.learning_rate: [1e38, 1e-2]"
    tuning = f"{{space: {{{space}}}, trials: 4, seeds: [100]}}"
    arguments = [one for one in tuned(tmp_path) if not one.startswith("study.tuning=")]
    broken = ("training.gradient_clip_norm=null", f"study.tuning={tuning}")
    assert in_process(monkeypatch, *arguments, *broken, f"study.metric={metric}") == 0
    chosen = read_plan(tmp_path, "s").tuning["chosen"].values()
    assert {one["settings"]["training.learning_rate"] for one in chosen} == {1e-2}
    statuses = {folder.status()["status"] for _, folder in runs_of(tmp_path, "s/tuning")}
    assert statuses == {"DIVERGED", "FINISHED"}
    # Trials that repeat an earlier one cost nothing, and are trials all the same.
    assert len(runs_of(tmp_path, "s/tuning")) == 4
    assert all(len({settings(c) for c, _ in runs_of(tmp_path, "s/tuning")}) == 2 for _ in chosen)


@pytest.mark.slow
def test_a_grid_tries_every_combination(monkeypatch, tmp_path):
    space = "training.learning_rate: [0.001, 0.01], encoder.dropout: [0.0, 0.3]"
    tuning = f"{{space: {{{space}}}, trials: 4, seeds: [100], sampler: grid}}"
    arguments = [one for one in tuned(tmp_path) if not one.startswith("study.tuning=")]
    assert in_process(monkeypatch, *arguments, f"study.tuning={tuning}") == 0
    tried = [(c.choices.decoder, *settings(c)) for c, _ in runs_of(tmp_path, "s/tuning")]
    names = ("repeat_vector", "luong")
    assert sorted(tried) == sorted(product(names, (0.001, 0.01), (0.0, 0.3)))
    assert read_plan(tmp_path, "s").tuning["trials"] == 4


WRONG = [
    (["seed=100,0"], "study.tuning.seeds has 100, which the study evaluates with"),
    (["study.name=null"], "give study.name=NAME"),
    (
        ["study.tuning={space: {evaluation.beam_width: [1]}, trials: 1, seeds: [9]}"],
        "all variants share",
    ),
    (
        ["study.tuning={space: {training.max_steps: [1]}, trials: 1, seeds: [9]}"],
        "all variants share",
    ),
    (
        ["study.tuning={space: {encoder.x: {low: 1, high: inf}}, trials: 1, seeds: [9]}"],
        "finite number",
    ),
    (["study.tuning={space: {encoder.dropout: [0.1]}, trials: 1, seeds: [a]}"], "seeds[0] is"),
    (["encoder.dropout=0.1"], "space has encoder.dropout, which the study sets itself"),
    (["budget.match=flops", "study.baseline=luong"], "tune settings of training alone"),
    (["study.tuning={space: {seed: [1]}, trials: 1, seeds: [9]}"], "which is not tuned"),
    (["study.tuning={space: {x: {low: 2, high: 1}}, trials: 1, seeds: [9]}"], "A below B"),
    (["study.tuning={space: {}, trials: 1, seeds: [9]}"], "space is empty"),
    (["study.tuning={space: {x: [1]}, trials: 0, seeds: [9]}"], "trials is 0"),
    (
        ["study.tuning={space: {x: [1, 2]}, trials: 3, seeds: [9], sampler: grid}"],
        "trials is 3, but the grid of tuning.space has 2 combinations",
    ),
    (
        ["study.tuning={space: {x: {low: 1, high: 2}}, trials: 3, seeds: [9], sampler: grid}"],
        "tuning.sampler is 'grid', but tuning.space.x is a range",
    ),
    (["study.tuning={space: {x: [1]}, trials: 1}"], "study.tuning.seeds is missing"),
    (["task.data_seed=${seed}"], "test examples of seed 0, whose data are divided otherwise"),
    (
        ["study.tuning={space: {encoder.x: [1]}, trials: 1, seeds: [9]}"],
        "study.tuning.space: encoder.x is not a setting",
    ),
    (
        ["study.tuning={space: {training.weights_seed: [1]}, trials: 1, seeds: [9]}"],
        "a seed that is chosen by its score is no draw any more",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_an_unfair_search_is_refused(monkeypatch, capfd, tmp_path, arguments, message):
    given = [
        one for one in tuned(tmp_path / "o") if one.split("=")[0] != arguments[0].split("=")[0]
    ]
    assert in_process(monkeypatch, *given, *arguments) == 2
    assert message in capfd.readouterr().err
    assert not list((tmp_path / "o").glob("runs/*"))


@pytest.mark.slow
def test_a_seed_of_the_config_stays_the_seed(monkeypatch, tmp_path):
    given = [one for one in tuned(tmp_path) if not one.startswith("seed=")]
    conf = tmp_path / "conf" / "study"
    conf.mkdir(parents=True)
    (conf / "seven.yaml").write_text(
        "# @package _global_\ndefaults:\n  - adhoc@study\n  - _self_\nseed: 7\n"
    )
    command = ["--config-dir", str(tmp_path / "conf"), *given, "study=seven"]
    assert in_process(monkeypatch, *command) == 0
    assert {config.seed for config, _ in runs_of(tmp_path, "s")} == {7}


@pytest.mark.slow
def test_a_failed_trial_can_be_tried_again(monkeypatch, tmp_path):
    assert in_process(monkeypatch, *tuned(tmp_path)) == 0
    before = read_plan(tmp_path, "s").tuning["chosen"]
    config, folder = runs_of(tmp_path, "s/tuning")[0]
    folder.result_file.unlink()
    folder.set_status("FAILED", reason="its process was killed")
    assert in_process(monkeypatch, *tuned(tmp_path, "study.allow_changes=true")) == 0
    assert folder.status()["status"] == "FAILED"
    again = ("study.retry=failed", "study.allow_changes=true")  # the choice has changed meanwhile
    assert in_process(monkeypatch, *tuned(tmp_path, *again)) == 0
    assert folder.status()["status"] == "FINISHED"
    assert read_plan(tmp_path, "s").tuning["chosen"] == before


def test_the_plan_counts_the_tuning_and_writes_nothing(monkeypatch, capfd, tmp_path):
    from decoderlab.common import process

    monkeypatch.setattr(process, "plan_only", True)
    assert in_process(monkeypatch, *tuned(tmp_path / "o")) == 0
    assert "12 runs of tuning" in capfd.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_missing_optuna_is_named(monkeypatch, capfd, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    assert in_process(monkeypatch, *tuned(tmp_path / "o")) == 2
    assert "pip install 'decoderlab[tuning]'" in capfd.readouterr().err
    assert not (tmp_path / "o").exists()


def test_data_that_follow_the_seed_and_share_no_example_are_tuned_on(monkeypatch, capfd, tmp_path):
    from decoderlab.common import process

    monkeypatch.setattr(process, "plan_only", True)
    apart = ("task.min_length=14", "task.max_length=16", "task.data_seed=${seed}")
    assert in_process(monkeypatch, *tuned(tmp_path / "o", *apart)) == 0
    assert "12 runs of tuning" in capfd.readouterr().err


TWINS = "study.variants={a: {decoder: luong}, b: {decoder: luong, decoder.dropout: 0.0}, c: {}}"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_rows_that_are_the_same_run_have_one_search(monkeypatch, capfd, tmp_path, sampler):
    arguments = [one for one in tuned(tmp_path, sampler=sampler) if "decoder=" not in one]
    arguments += [TWINS, "study.baseline=c"]
    assert in_process(monkeypatch, *arguments) == 0
    assert "b, echo is the same run as a, echo: planned once" in capfd.readouterr().err
    record = read_plan(tmp_path, "s").tuning
    assert (record["runs"], set(record["chosen"])) == (12, {"variant=a", "variant=c"})
    assert len(runs_of(tmp_path, "s/tuning")) == 12
    assert len(runs_of(tmp_path, "s")) == 4


@pytest.mark.slow
def test_rows_that_tuning_makes_the_same_run_are_named(monkeypatch, capfd, tmp_path):
    space = "decoder.routes: [[every_input], [initial_state, every_input]]"
    tuning = f"{{space: {{{space}}}, trials: 2, seeds: [100], sampler: grid}}"
    arguments = [one for one in tuned(tmp_path) if not one.startswith(("study.tuning", "decoder="))]
    arguments += ["decoder=every_input,peek", f"study.tuning={tuning}"]
    assert in_process(monkeypatch, *arguments, "study.baseline=peek") == 2
    said = capfd.readouterr().err
    assert "study.baseline is peek, which is the same run as every_input with all seeds" in said
    assert in_process(monkeypatch, *arguments, "study.baseline=every_input") == 0
    same = "peek, echo is the same run as every_input, echo: planned once (seed 0, 1)"
    assert same in capfd.readouterr().err
    assert f"**Same run:** {same}." in (tmp_path / "studies/s/report.md").read_text().replace(
        "\\", ""
    )
