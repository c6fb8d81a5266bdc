"""A finished run on another file: which columns it has to have, and when it is other data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decoderlab import load_run
from decoderlab.common.errors import ConfigError
from decoderlab.training.loading import search_with
from decoderlab.training.model_evaluation import evaluate
from decoderlab.usage.new_data import load_with
from tests.conftest import run
from tests.integration.cli import forked

STEPS = np.arange(160)
TABLE = {
    "x": np.sin(STEPS / 4),
    "y": 1000 + 300 * np.cos(STEPS / 5),
    "z": 7.0 * (STEPS % 13),
}
LENGTHS = ("task.source_length=6", "task.target_length=4", "training.max_steps=2")


def table(path, columns, values=None, start=0, number=160):
    """Write columns of `TABLE`, or of `values`, as a CSV file."""
    values = TABLE | (values or {})
    rows = range(start, start + number)
    lines = [",".join(str(values[name][row % 160]) for name in columns) for row in rows]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


@pytest.fixture
def forecast(tiny, tmp_path):
    """Train a run on a table; return its folder."""

    def make(columns, *settings):
        file = table(tmp_path / "own.csv", columns)
        prepared = tiny(*LENGTHS, f"task.path={file}", *settings, task="forecasting_file")
        assert run(prepared) == "FINISHED"
        return prepared.folder.path

    return make


def scores(folder, file):
    opened = load_with(folder, [str(file)])
    loaded = opened.run
    return evaluate(loaded.module, loaded.task, "test", loaded.config), opened


@pytest.mark.parametrize("stride", [1, 3, 6])
def test_windows_of_training_are_counted_wherever_a_file_begins(forecast, tmp_path, stride):
    folder = forecast(["x"], f"task.stride={stride}")
    trained = load_run(folder).task.data.splits["train"].source
    end = int(trained.starts.max() + trained.lengths[-1])
    lines = (tmp_path / "own.csv").read_text().splitlines(keepends=True)
    new = tmp_path / "new.csv"
    new.write_text("".join([lines[0], *lines[2:]]))  # without its first row
    opened = load_with(folder, [str(new)])
    tested = opened.run.task.data.splits["test"].source
    inside = (tested.starts + tested.lengths <= end - 1).sum().item()
    assert opened.trained_on == inside > 0


@pytest.mark.parametrize("trained", [False, True])
def test_an_oracle_tells_lengths_beyond_those_of_the_runs_own_data(tiny, tmp_path, trained):
    pairs = [(f"{a}{b}", f"{b}{a}") for a in "abcdefgh" for b in "abcdefgh"]
    files = [tmp_path / name for name in ("own.tsv", "longer.tsv")]
    files[0].write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    files[1].write_text("source\ttarget\nabcd\tabcdefghab\nab\tb\n")
    told = ("evaluation.oracle_length=true",) if trained else ()
    prepared = tiny(f"task.path={files[0]}", "training.max_steps=2", *told, task="tsv")
    assert run(prepared) == "FINISHED"
    opened = load_with(prepared.folder.path, [str(files[1])]).run
    loaded = opened if trained else search_with(opened, oracle_length=True)
    batch = loaded.task.data.splits["test"].batch(torch.arange(2))
    written = loaded.module(batch.source, batch.source_lengths, batch.index, target=batch.target)
    assert [len(one) for one in written] == [10, 1]


@pytest.mark.parametrize(
    ("settings", "further"),
    [
        ((), []),
        (("task.columns=[y,x]",), ["z"]),
        (("task.target_columns=[y]",), []),
        (("task.columns=[x]", "task.target_columns=[z,y]"), ["z"]),
    ],
    ids=["all", "some", "one is forecast", "others are forecast"],
)
def test_columns_of_a_new_file_are_found_by_their_names(forecast, tmp_path, settings, further):
    folder = forecast(["x", "y", *further], *settings)
    names = ["x", "y", *further]
    first, opened = scores(folder, table(tmp_path / "first.csv", names, start=5, number=90))
    turned = table(tmp_path / "turned.csv", names[::-1], start=5, number=90)
    second, _ = scores(folder, turned)
    assert first == second
    assert not opened.moved
    own = load_run(folder).task.data
    test = opened.run.task.data.splits["test"]
    for kind, rows in ((own.source_vocabulary, test.source), (own.target_vocabulary, test.target)):
        assert len(rows[0][0]) == len(kind.mean)
        # In units: the columns of the run, each where it was in training.
        several = [kind.decode(rows[row]) for row in range(len(test))]
        middle = np.concatenate(several).mean(axis=0)
        assert (np.abs(middle - kind.mean) < 2 * kind.deviation).all()


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        (["foo", "bar"], {}, r"'x' is not there, 'y' is not there, 'foo' is none of them"),
        (["y"], {}, r"'x' is not there; give"),
        (["x", "y", "z"], {}, r"'z' is none of them"),
        (["x", "y"], {"y": ["err", *TABLE["y"][1:]]}, r"'y' has cells that are no numbers"),
        (["1", "2"], {}, r"'x' is not there, 'y' is not there"),
    ],
    ids=["other names", "one is missing", "one more", "a cell of text", "no names"],
)
def test_a_file_with_other_columns_is_refused(forecast, tmp_path, columns, values, message):
    folder = forecast(["x", "y"])
    values = dict.fromkeys(columns, TABLE["x"]) | {k: TABLE[k] for k in "xyz"} | values
    file = table(tmp_path / "new.csv", columns, values, number=90)
    said = rf"--data: path .*trained on the columns x, y, but .*{message}"
    with pytest.raises(ConfigError, match=said):
        load_with(folder, [str(file)])


def test_the_command_refuses_other_columns_in_one_message(forecast, tmp_path, here):
    folder = forecast(["x", "y"])
    file = table(tmp_path / "new.csv", ["y"], number=90)
    asked = here("evaluate", str(folder), "--data", str(file))
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.count("error:") == 1
    assert "trained on the columns x, y" in asked.stderr


def test_columns_that_the_run_did_not_read_do_not_matter(forecast, tmp_path):
    folder = forecast(["x", "z", "y"], "task.columns=[x,y]")
    first, _ = scores(folder, table(tmp_path / "a.csv", ["x", "y"], start=5, number=90))
    second, _ = scores(folder, table(tmp_path / "b.csv", ["z", "y", "x"], start=5, number=90))
    assert first == second


@pytest.mark.parametrize("column", ["split", "group"])
def test_a_new_test_file_needs_no_column_of_splits_or_groups(tiny, tmp_path, column):
    names = ("train", "train", "train", "validation", "test")
    rows = [f"a{'b' * (n % 7)}{n}\tc{n}\t{names[n % 5]}" for n in range(40)]
    own, new, wrong = (tmp_path / f"{name}.tsv" for name in ("own", "new", "wrong"))
    own.write_text("\n".join(["source\ttarget\twhich", *rows]) + "\n")
    new.write_text("source\ttarget\nab1\tc1\nab2\tc2\n")
    settings = (f"task.path={own}", f"task.{column}_column=which", "training.max_steps=2")
    prepared = tiny(*settings, task="tsv")
    assert run(prepared) == "FINISHED"
    opened = load_with(prepared.folder.path, [str(new)])
    assert (opened.moved, opened.counts["test"]) == (False, 2)
    wrong.write_text("source\tright\nab1\tc1\n")
    with pytest.raises(ConfigError, match=r"but not 'target'; correct it \(a tab.*columns\)$"):
        load_with(prepared.folder.path, [str(wrong)])


def test_targets_of_tokens_without_an_id_are_other_data(tiny, tmp_path):
    """They are read by chrF, although the network and exact match see unknown tokens alone."""
    rows = [f"a{n % 5} b{n % 3}\tc{n % 3} d\ttrain" for n in range(40)]
    folders, files = [], []
    for name, word in (("one", "redbluecat"), ("other", "xyzzyqqqqq")):
        held = [f"a{n} b9\tc1 {word}\t{split}" for split, n in (("validation", 7), ("test", 8))]
        file = tmp_path / f"{name}.tsv"
        file.write_text("\n".join(["source\ttarget\tsplit", *rows, *held]) + "\n")
        prepared = tiny(
            f"task.path={file}",
            "task.tokens=word",
            "task.split_column=split",
            "training.max_steps=2",
            "+metric@task.metrics.chrf=chrf",
            task="tsv",
        )
        assert run(prepared) == "FINISHED"
        folders.append(prepared.folder.path)
        files.append(str(file))
    assert folders[0] != folders[1]
    assert [load_with(folders[0], [file]).moved for file in files] == [True, False]
    assert load_run(folders[0]).result.signature != load_run(folders[1]).result.signature


def test_a_run_whose_data_have_moved_is_evaluated_on_them_as_the_message_says(forecast, tmp_path):
    folder = forecast(["x", "y"])
    moved = (tmp_path / "own.csv").rename(tmp_path / "moved.csv")
    refused = forked("evaluate", str(folder))
    assert (refused.returncode, "own.csv cannot be read" in refused.stderr) == (2, True)
    assert "where the data of the run are now: --data FILE" in refused.stderr
    done = forked("evaluate", str(folder), "--data", str(moved))
    assert (done.returncode, "the run's own data" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("own", [True, False], ids=["of the run too", "of the call alone"])
def test_bad_lines_make_no_new_data_of_the_runs_own(tiny, tmp_path, own):
    lines = [f"a{n}\tb{n}" for n in range(60)]
    bad = ["no target\t"] if own else []
    file = tmp_path / "pairs.tsv"
    file.write_text("\n".join(["source\ttarget", *bad, *lines]) + "\n")
    prepared = tiny(
        f"task.path={file}", f"task.skip_bad_lines={own}", "training.max_steps=2", task="tsv"
    )
    assert run(prepared) == "FINISHED"
    opened = load_with(prepared.folder.path, [str(file)], skip_bad_lines=True)
    assert opened.moved
    assert set(opened.run.task.data.splits) == {"train", "validation", "test"}


def test_the_file_of_a_task_within_a_task_may_have_moved(tiny, tmp_path):
    file, moved = tmp_path / "pairs.tsv", tmp_path / "moved.tsv"
    lines = [f"{'ab' * (n % 4 + 1)} {n}\tx{n}" for n in range(60)]
    file.write_text("\n".join(["source\ttarget", *lines]))
    given = ("task@task.of=tsv", f"task.of.path={file}", "training.max_steps=2")
    prepared = tiny(*given, task="autoencoder")
    assert run(prepared) == "FINISHED"
    file.rename(moved)
    opened = load_with(prepared.folder.path, [str(moved)])
    assert opened.moved
    assert len(opened.run.task.data.splits["test"]) == prepared.task.data.counts["test"]
    moved.write_text("source\ttarget\nabab 1\tx\n")
    with pytest.raises(ConfigError, match="AutoencoderTask cannot read a test file alone"):
        load_with(prepared.folder.path, [str(moved)])
