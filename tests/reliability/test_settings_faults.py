"""Settings, command lines and YAMLs that are wrong: one message, exit code 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz import guard
from tests.fuzz.commands import QUICK
from tests.permissions import bound_by_permissions

BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12))
LONG = "z" * 300
EMOJI = "\N{SLIGHTLY SMILING FACE}"


@pytest.fixture
def plan(tmp_path):
    """Plan what a command line says; return its outcome, with a check that nothing was written."""
    guard.warm_up()
    folder = tmp_path / "case"
    folder.mkdir()

    def run(*words: str, code: int = 2) -> str:
        before = guard.snapshot(folder)
        with bound_by_permissions():
            ended = guard.command("plan", list(words), folder=folder)
        assert ended.wrong((code,)) == "", ended.err
        assert guard.snapshot(folder) == before
        if code == 2:
            assert ended.err.count("error: ") == 1
        return ended.err

    run.folder = folder
    return run


def case(number: int, words: str | list[str], *parts: str):
    words = words.split() if isinstance(words, str) else words
    return pytest.param(words, parts, marks=pytest.mark.fault(number), id=" ".join(words)[:60])


@pytest.mark.thinned
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        case(3, "training.max_steps=true", "training.max_steps is True (bool)", "int or null"),
        case(
            3, "study.published=[{row:a,value:1,tolerance:a/b,source:x}]", "published[0].tolerance"
        ),
        case(3, "study.published=[1]", "study.published[0]", "must be str"),
        case(3, "study.exclude=[1]", "study.exclude[0] is 1 (int); it must be dict"),
        case(3, "-m study.seeds=[a]", "study.seeds[0] is 'a' (str); it must be int"),
        case(3, "decoder.routes=[[output]]", "decoder.routes[0] is ['output'] (list)"),
        case(3, "decoder.routes.x=1", "'decoder.routes.x=1'", "cannot be put where it is given"),
        case(
            3, "-m decoder.routes.x=1,2", "'decoder.routes.x=1' cannot be put where", "in the cell"
        ),
        case(3, "-m seed=0,1 study.references={a:{encoder:0}}", "encoder is chosen by the name"),
        case(3, "encoder._target_=[1]", "encoder._target_ is [1]", "package.module.Class"),
        case(3, "encoder._target_=builtins.dict", "does not say what it takes"),
        case(3, "encoder._target_=decoderlab.encoders", "is not a class"),
        case(3, "+task.metrics={1:2}", "has the key 1 (int)", "quotes"),
        case(3, "+trainer.devices={null:1}", "trainer.devices[0] has the key None", "quotes"),
        *(
            case(15, f"+trainer.limit_{name}_batches=1", f"limit_{name}_batches is set by the run")
            for name in ("train", "val", "test", "predict")
        ),
        case(4, "training.learning_rate=nan", "learning_rate is nan", "finite"),
        case(3, "-m seed=0,1 hydra.sweeper.params=3", "hydra.sweeper.params is 3", "mapping"),
        case(3, "-m seed=0,1 hydra.launcher.jobs=x", "hydra.launcher.jobs is 'x'", "above 0"),
        case(4, "-m seed=0,1 hydra.launcher.jobs=0", "hydra.launcher.jobs is 0", "above 0"),
        case(4, "-m seed=0,1 hydra.launcher.time_limit_seconds=-1", "seconds is -1", "above 0"),
        case(4, "-m seed=0,1 hydra.launcher.jobs=1000000000", "above 0 and below 1,025"),
        case(4, "hydra.launcher.jobs=inf", "hydra.launcher.jobs is inf", "above 0"),
        case(3, "hydra.launcher.jobs=../x", "hydra.launcher.jobs is '../x'", "above 0"),
        case(4, "hydra.launcher.time_limit_seconds=nan", "seconds is nan", "above 0"),
        case(4, "study.max_hours=1e400", "study.max_hours is inf", "finite"),
        case(4, "training.max_steps=99999999999999999999", "max_steps is 99,999", "at most"),
        case(
            5,
            "training.max_epochs=3 training.max_steps=9",
            "max_steps",
            "max_epochs",
            "exactly one",
        ),
        case(5, "evaluation.top_k=3", "top_k", "temperature"),
        case(
            5,
            "training.initial_weights=keras training.uniform_range=0.1",
            "initial_weights is 'keras' and uniform_range 0.1",
            "leave one of them out",
        ),
        case(5, "decoder.routes=[]", "routes is empty and attention is none", "decoder/attention"),
        case(5, "budget.match=parameters", "budget.match is 'parameters'", "study.baseline"),
        case(6, "task.num_train=???", "task.num_train: Missing mandatory value"),
        case(
            6, "decoder.hidden_size=${no.such}", "decoder.hidden_size: Interpolation key 'no.such'"
        ),
        case(
            6,
            "decoder.hidden_size=${decoder.hidden_size}",
            "decoder.hidden_size: Recursive interpolation",
        ),
        case(6, "-m seed=0,1 task.num_train=???", "task.num_train: Missing", "2 cells: seed=0; "),
        case(6, "-m seed=0,1 decoder.hidden_size=${no}", "decoder.hidden_size", "2 cells"),
        case(7, "study.question=a=b", "'key=\"value\"'"),
        case(8, "-m study.seeds=[]", "study.seeds is an empty list"),
        case(8, "-m seed=0,4294967296", "seed is 4294967296", "from 0 to 4294967295"),
        case(8, "seed=01", "seed is '01'"),
        case(10, "-m seed=range(0,10000)", "10,000 runs (seed has 10,000)", "study.max_runs=10000"),
        case(10, "-m seed=range(0,99999999)", "99,999,999 values"),
        case(10, "-m seed=range(0,1e400)", "has no end"),
        case(10, "-m seed=range(0,1,0)", "has no end"),
        case(12, ["seed=" + "[" * 60 + "]" * 60], "60 brackets in each other"),
        case(
            14,
            "-m seed=0,1 hydra/launcher=basic,pool",
            "'hydra/launcher=basic,pool' has several values",
            "one launcher and one sweeper",
        ),
        case(14, "-m seed=0,1 hydra/sweeper=a,b", "'hydra/sweeper=a,b' has several values"),
        case(14, "-m seed=0,1 hydra.sweeper.max_batch_size=1", "keep all later batches"),
        case(15, "+run_id=abc", "run_id is not a setting"),
        case(15, "+choices.task=copy", "choices is not a setting"),
        case(15, "+schema=3", "schema is not a setting"),
        case(15, "hydra.run.dir=elsewhere", "run.dir is not a setting here", "run.output_dir"),
        case(17, "-m seed=0,1 study.name=../x", "study: name is '../x'"),
        case(17, ["-m", "seed=0,1", "study.name='a\x1b[31m'"], "study: name is 'a\\x1b[31m'"),
        case(17, ["-m", "seed=0,1", f"study.name='{EMOJI}'"], f"name is '{EMOJI}'; use letters"),
        case(17, f"-m seed=0,1 study.name={EMOJI}", f"'study.name={EMOJI}' cannot be read"),
        case(17, ["-m", "seed=0,1", "study.name=a/b"], "study: name is 'a/b'; use letters"),
        case(17, f"-m seed=0,1 study.name={LONG}", "the length of name"),
        case(17, "-m seed=0,1 study.name=-rf", "study: name is '-rf'"),
        case(17, ["seed=\udcff"], "is not UTF-8"),
        # A part is chosen by the name of a YAML, and by nothing else.
        case(2, "task=null", "task is chosen by the name of a YAML, which null is not"),
        case(2, "task=3", "task=NAME"),
        case(2, "evaluation=[null]", "evaluation=NAME with one of default"),
        case(2, "decoder=[1e400]", "decoder is chosen by the name"),
        case(2, "~run=1", "run is chosen by the name"),
        case(2, "~task=[none]", "task is chosen by the name"),
        case(2, "study=[1,2]", "study is chosen by the name"),
        case(2, "study=x", "study is 'x'; it must be one of adhoc"),
        case(2, "@b=1", "names no setting"),
        case(2, f"decoder={LONG}", "decoder is chosen by the name"),
        case(
            1, f"decoder.attention.score._target_={LONG}", "decoder.attention.score is None there"
        ),
        case(1, "--experimental-rerun=x", "whatever a pickle says"),
        case(1, "--config-name=x", "--config-name is not an option here"),
        case(1, "--resolve", "give both: --cfg job --resolve"),
        case(1, "--info -m", "--multirun and --info are given together"),
        case(18, "--config-dir=none", "--config-dir is 'none', which is missing"),
        case(18, "--config-dir=/etc/passwd", "which is not a folder"),
    ],
)
def test_a_wrong_command_line_is_one_message(plan, words, parts):
    said = plan(*QUICK, *words)
    for part in parts:
        assert part in said


@pytest.mark.fault(17)
@pytest.mark.parametrize("name", ["CON", "nul.txt", "a" * 80])
def test_names_that_can_be_are_taken(plan, name):
    assert plan("-m", *QUICK, "seed=0,1", f"study.name={name}", code=0)


@pytest.mark.fault(9)
def test_values_that_are_the_same_are_planned_once_and_said(plan):
    said = plan("-m", *QUICK, "training.learning_rate=1e-3,0.001,1.0e-3", code=0)
    assert "is given more than once: planned once (seed 0)" in said
    assert "1 of 1 runs" in said


@pytest.mark.fault(8)
@pytest.mark.parametrize(("seeds", "number"), [("seed=0,1,0", 2), ("study.seeds=[7,7]", 1)])
def test_a_seed_that_is_given_twice_counts_once_and_is_said(plan, seeds, number):
    said = plan("-m", *QUICK, seeds, code=0)
    assert said.count("is given more than once: planned once (seed ") == 1
    assert f"{number} of {number} runs to do" in said


YAMLS = {
    "a tab": (b"study:\n\tname: x\n", "own.yaml:2:1: ", "tab"),
    "no end": (b"study:\n  seeds: [0,1\n", "own.yaml:3:1: ", "',' or ']'"),
    "a key twice": (b"study:\n  name: x\n  name: y\n", "own.yaml:3:3: ", "duplicate key name"),
    "another encoding": (
        "study: {}".encode("utf-16"),
        "own.yaml is not UTF-8 (byte 1)",
        "correct it",
    ),
    "a list": (b"- 1\n", "own.yaml holds no mapping", "correct it"),
    "a number": (b"3\n", "own.yaml holds no mapping", "correct it"),
    "defaults that is a number": (b"defaults: 3\n", "defaults is 3; write a list", ""),
    "a number among defaults": (b"defaults: [3]\n", "defaults[0] is 3", "write a list"),
    "no name in defaults": (b"defaults: [/task: 3]\n", "chosen by its name", "override /task"),
    "half a header": (b"# @package\nname: x\n", "begins with '# @package'", "_global_"),
    "code": (b"a: !!python/object/apply:os.system [touch canary]\n", "own.yaml:1:4: ", "python"),
    "bytes": (b"a: !!binary aGk=\n", "own.yaml has a: a bytes", ""),
    "a task that is a text": (
        b"# @package _global_\ndefaults: [adhoc@study]\ntask: x\nhydra: {mode: MULTIRUN}\n",
        "task has no _target_; name the class to build",
        "",
    ),
    "no text as a name": (b"3: x\n", "a name that is not a text: 3", ""),
}


@pytest.mark.fault(11)
@pytest.mark.parametrize("name", list(YAMLS))
def test_a_wrong_yaml_is_one_message_that_says_where(plan, name):
    content, *parts = YAMLS[name]
    (plan.folder / "study").mkdir()
    (plan.folder / "study/own.yaml").write_bytes(content)
    said = plan("--config-dir=.", "study=own")
    for part in parts:
        assert part in said


@pytest.mark.fault(11)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_byte_order_mark_and_other_line_ends_are_read_as_they_are_meant(plan, ending):
    (plan.folder / "study").mkdir()
    lines = ["# @package _global_", "defaults: [adhoc@study, _self_]", "study: {seeds: [0, 1]}"]
    content = ending.join([*lines, "hydra: {mode: MULTIRUN}", ""])
    (plan.folder / "study/own.yaml").write_text(content, encoding="utf-8-sig", newline="")
    assert "2 of 2 runs to do" in plan("--config-dir=.", "study=own", *QUICK, code=0)


@pytest.mark.fault(11, 18)
def test_a_yml_is_not_taken_for_a_yaml(plan):
    (plan.folder / "study").mkdir()
    (plan.folder / "study/own.yml").write_text("name: x\n")
    assert "study is 'own'; it must be one of adhoc" in plan("--config-dir=.", "study=own")


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    ("content", "part"),
    [
        (BOMB, "own.yaml would have more than 100,000 values with its aliases"),
        ("a: " + "[" * 100 + "]" * 100, "own.yaml nests deeper than 64 levels"),
        ("#" * 100_000_000, "own.yaml has 100,000,000 bytes, where at most"),
        ("a: &a [*a]\n", "own.yaml"),
    ],
    ids=["aliases", "depth", "100 MB", "a circle"],
)
def test_a_yaml_that_would_explode_is_refused(plan, content, part):
    (plan.folder / "study").mkdir()
    (plan.folder / "study/own.yaml").write_text(content)
    assert part in plan("--config-dir=.", "study=own")


def unreadable(path: Path) -> None:
    path.write_text("name: x\n")
    path.chmod(0)


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda path: path.mkdir(), "own.yaml is a folder, not a file"),
        (lambda path: path.symlink_to("nowhere"), "own.yaml is missing"),
        (lambda path: path.symlink_to(path.name), "own.yaml cannot be read: Too many levels"),
        (os.mkfifo, "own.yaml is a pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "own.yaml is a device, not a file"),
        (unreadable, "own.yaml cannot be read: Permission denied"),
    ],
    ids=["folder", "dangling link", "circular link", "pipe", "device", "unreadable"],
)
def test_a_yaml_that_is_no_file_is_one_message(plan, make, part):
    path = plan.folder / "study/own.yaml"
    path.parent.mkdir()
    make(path)
    assert part in plan("--config-dir=.", "study=own")


TABLES = {
    "a pipe": (os.mkfifo, "cannot be read (is a pipe, not a file)"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "(is a device, not a file)"),
    "a folder": (lambda path: path.mkdir(), "(is a folder, not a file)"),
    "a huge line": (lambda path: path.write_bytes(b"x" * 20_000_000), "16,777,216 bytes in line 1"),
    "bytes": (lambda path: path.write_bytes(b"source\ttarget\n\xff\t\xfe\n"), "not UTF-8 (line 2"),
}


@pytest.mark.fault(19)
@pytest.mark.parametrize("name", list(TABLES))
def test_data_that_are_no_table_are_one_message(plan, name):
    make, part = TABLES[name]
    make(plan.folder / "pairs.tsv")
    assert part in plan("task=tsv", "task.path=pairs.tsv")
