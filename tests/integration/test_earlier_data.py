"""No run is tested on what its encoder was trained on in the runs that it comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from decoderlab import load_run
from decoderlab.cli.evaluate import _of_training
from decoderlab.common.errors import ConfigError
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.earlier_data import NOT_KNOWN, SEEN
from decoderlab.usage.new_data import load_with
from tests.conftest import run, same, weights
from tests.integration.cli import in_process
from tests.integration.test_using_runs import SETTINGS, prepared_run, write_pairs


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Return a file, and a run on it that was tested on other examples than data_seed=0 gives."""
    out = tmp_path_factory.mktemp("earlier")
    file = write_pairs(out / "pairs.tsv")
    prepared = prepared_run(out, file, "task.data_seed=7")
    assert run(prepared) == "FINISHED"
    return file, prepared


def sources(task, split: str) -> set[bytes]:
    return set(task.data.source_contents(split))


def written_twice(file: Path, copy: Path) -> Path:
    """Write a file of pairs with other targets."""
    rows = [line.split("\t")[0] for line in file.read_text().splitlines()[1:]]
    copy.write_text("source\ttarget\n" + "".join(f"{row}\t{row}{row}\n" for row in rows))
    return copy


def from_encoder(out, file, path, *more):
    return prepared_run(out, file, f"encoder.from_run={path}", *more, decoder="repeat_vector")


def test_examples_that_an_encoder_was_trained_on_are_no_test(earlier, tmp_path):
    file, parent = earlier
    with pytest.raises(ConfigError, match="was trained on .* examples of this run's validation"):
        from_encoder(tmp_path, file, parent.folder.path)
    assert list(tmp_path.iterdir()) == []
    same_split = from_encoder(tmp_path, file, parent.folder.path, "task.data_seed=7")
    assert SEEN not in same_split.task.data.counts


def test_examples_that_an_encoder_was_chosen_on_are_no_test(tmp_path):
    """As in two folds of a cross-validation, where validation and test change places."""
    pairs = write_pairs(tmp_path / "pairs.tsv").read_text().splitlines()[1:]
    files = []
    for name, held_out in (("a", ("validation", "test")), ("b", ("test", "validation"))):
        of_row = [*held_out, "train", "train", "train"]
        rows = [f"{pair}\t{of_row[number % 5]}" for number, pair in enumerate(pairs)]
        files.append(tmp_path / f"{name}.tsv")
        files[-1].write_text("\n".join(["source\ttarget\tsplit", *rows, ""]))
    parent = prepared_run(tmp_path, files[0], "task.split_column=split")
    assert run(parent) == "FINISHED"
    with pytest.raises(ConfigError, match="weights were chosen, on .* of this run's test split"):
        from_encoder(tmp_path, files[1], parent.folder.path, "task.split_column=split")


@pytest.mark.parametrize("stride", [1, 4])
def test_windows_of_what_an_encoder_was_chosen_on_are_no_test(tiny, tmp_path, stride):
    """The years that chose the encoder are those that are tested, whatever the stride."""
    shared = ("training.max_steps=2", "task.source_length=6", "task.target_length=3")
    shared += (f"task.stride={stride}",)
    parts = ("task.validation_share=0.2", "task.test_share=0.2")
    parent = tiny(*shared, *parts, task="forecasting_sunspots")
    assert run(parent) == "FINISHED"
    parts = ("task.validation_share=0.1", "task.test_share=0.3")
    begun = f"encoder.from_run={parent.folder.path}"
    with pytest.raises(ConfigError, match="weights were chosen, on .* of this run's test split"):
        tiny(*shared, *parts, begun, task="forecasting_sunspots")


def test_a_sweep_with_such_an_encoder_ends_before_its_first_run(
    earlier, monkeypatch, tmp_path, capfd
):
    file, parent = earlier
    own = ("task=tsv", f"task.path={file}", *SETTINGS, f"encoder.from_run={parent.folder.path}")
    rows = ("decoder=repeat_vector,initial_state", f"run.output_dir={tmp_path}")
    assert in_process(monkeypatch, "-m", *own, *rows, "training.max_steps=5") == 2
    assert "what is tested must not be trained on" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_sources_of_another_task_are_counted(earlier, tmp_path, capsys):
    """An encoder may have read them for other targets, which is said."""
    file, parent = earlier
    twice = written_twice(file, tmp_path / "twice.tsv")
    child = from_encoder(tmp_path, twice, parent.folder.path)
    expected = len(sources(child.task, "test") & sources(parent.task, "train"))
    assert 0 < expected < len(child.task.data.splits["test"])
    assert run(child) == "FINISHED"
    assert f"{SEEN.replace('_', ' ')} {expected}" in capsys.readouterr().err
    assert RunFolder(child.folder.path).result().data.counts[SEEN] == expected
    new = tmp_path / "new.tsv"
    new.write_text("source\ttarget\nabababab\tx\n")
    (line,) = _of_training(load_with(child.folder.path, [str(new)]).record([]))
    assert line.startswith(f"not looked at: what {parent.folder.path} was trained on")
    # What the encoder of an encoder was trained on counts as well.
    with pytest.raises(ConfigError, match=f"{parent.folder.path.name} was trained on"):
        from_encoder(tmp_path, file, child.folder.path)


@pytest.mark.parametrize("replaced", [False, True])
def test_what_is_not_there_any_more_is_counted_as_not_known(tmp_path, replaced):
    file, moved = (write_pairs(tmp_path / name) for name in ("pairs.tsv", "moved.tsv"))
    parent = prepared_run(tmp_path, file, "task.data_seed=7")
    assert run(parent) == "FINISHED"
    file.unlink()
    child = from_encoder(tmp_path, moved, parent.folder.path)
    assert child.task.data.counts[NOT_KNOWN] == 1
    assert run(child) == "FINISHED"
    shutil.rmtree(parent.folder.path)
    if replaced:  # by another run: what that was trained on says nothing
        shutil.copytree(child.folder.path, parent.folder.path)
    other = written_twice(moved, tmp_path / "other.tsv")
    grandchild = from_encoder(tmp_path, other, child.folder.path)
    assert grandchild.task.data.counts[NOT_KNOWN] == 1


@pytest.mark.thinned(2)
@pytest.mark.parametrize("frozen", ["true", "false"])
def test_a_run_that_began_with_an_encoder_is_continued(tmp_path, frozen):
    """Also where that encoder's run is gone: it is in the weights that training goes on from."""
    file = write_pairs(tmp_path / "pairs.tsv")
    first = prepared_run(tmp_path, file)
    assert run(first) == "FINISHED"
    given = (f"encoder.from_run={first.folder.path}", f"encoder.frozen={frozen}")
    whole, begun = (prepared_run(tmp_path, file, *given, steps=steps) for steps in (14, 9))
    assert [run(one) for one in (whole, begun)] == ["FINISHED"] * 2
    more = f"training.from_run={begun.folder.path}"
    kept = given[1:] if frozen == "true" else ()
    both = prepared_run(tmp_path, file, more, *given, steps=14)
    assert run(both) == "FINISHED"
    other = "encoder.frozen=false" if frozen == "true" else "encoder.frozen=true"
    with pytest.raises(ConfigError, match="encoder.frozen is"):
        prepared_run(tmp_path, file, more, other, steps=14)
    with pytest.raises(ConfigError, match="encoder.from_run is"):
        prepared_run(tmp_path, file, more, f"encoder.from_run={begun.folder.path}", *kept, steps=14)
    shutil.rmtree(first.folder.path)
    alone = prepared_run(tmp_path, file, more, *kept, steps=14)
    assert run(alone) == "FINISHED"
    for child in (both, alone):
        assert same(weights(child), weights(whole))
        assert load_run(child.folder.path).result.steps == 14
