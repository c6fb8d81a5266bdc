"""Peers are installed once, take turns with ours in processes of their own, and are compared."""

from __future__ import annotations

import csv
import doctest
import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import benchmark
from measuring import environments, kernel_shares, peer_speeds, speed_tables, turns
from measuring.environments import Environment, NotInstalled
from measuring.peer_process import SCRIPTS, PeerFailed, PeerProcess
from measuring.peer_works import Peer, PeerSide, Sides, Work, processes_of
from measuring.speed_tables import with_table
from measuring.turns import Turn, ratios, take_turns

# A peer that notes each request in a file and answers with seconds that it was given.
FAKE = f"""
import os, sys
sys.path.insert(0, {str(SCRIPTS)!r})
from answering import serve

def prepare(settings):
    print("a library prints this")
    seconds = iter(settings["seconds"])
    def work(request):
        with open(settings["order"], "a") as file:
            file.write(f"peer {{os.getpid()}} {{request['updates']}}\\n")
        cores, threads = os.sched_getaffinity(0), os.environ["OMP_NUM_THREADS"]
        note = f"{{len(cores)}} core, {{threads}} thread"
        return {{"seconds": next(seconds), "amount": 8.0, "note": note}}
    return {{"train": work}}

serve(prepare)
"""
OURS = (1.0, 4.0, 8.0)
THEIRS = (2.0, 2.0, 32.0)  # ours is 2, 0.5 and 4 times as fast


class FakeEnvironment:
    """An environment that is this one."""

    def __init__(self):
        self.installed = 0

    def install(self):
        self.installed += 1

    def versions(self):
        return {"fake": "1.2.3"}

    def python(self):
        return sys.executable


class FakeOurs:
    """A side in this process, which notes its turns in the same file."""

    name = "ours"

    def __init__(self, order: Path) -> None:
        self.order, self.seconds = order, iter(OURS)

    def turn(self) -> Turn:
        with self.order.open("a") as file:
            file.write(f"ours {os.getpid()}\n")
        return Turn(8.0, next(self.seconds))


@pytest.fixture
def fake(tmp_path):
    path = tmp_path / "fake_peer.py"
    path.write_text(FAKE)
    return Peer("a fake", FakeEnvironment(), str(path), {})


@pytest.fixture
def one_work(monkeypatch, tmp_path, fake):
    """The comparison's only work and peer are fakes; returns the file with the order of turns."""
    order = tmp_path / "order.txt"

    def sides(setting, stack: ExitStack) -> Sides:
        settings = {"seconds": THEIRS, "order": str(order)}
        (process,) = processes_of(setting, stack, settings)
        return Sides([FakeOurs(order)], [PeerSide(process, "train", updates=7)])

    work = Work("fake_work", "a work", "samples", ("fake",), sides)
    monkeypatch.setattr(peer_speeds, "WORKS", [work])
    monkeypatch.setattr(peer_speeds, "PEERS", {"fake": fake})
    monkeypatch.setattr(peer_speeds, "ASKED", {"fake": ("fake",)})
    return order


@pytest.fixture(autouse=True)
def same_cores():
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    yield
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)


def run(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words])
    benchmark.main()


def test_sides_take_turns_on_one_core_and_the_ratio_is_the_median_of_the_turns(
    one_work, fake, tmp_path, monkeypatch, capsys
):
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- peers -->\n\n<!-- end of peers -->\n\nafter\n")
    run(monkeypatch, "--peers", "fake", "--repeats", "3", "--page", str(page))
    noted = [line.split() for line in one_work.read_text().splitlines()]
    assert [words[0] for words in noted] == ["ours", "peer"] * 3
    assert len({words[1] for words in noted[1::2]}) == 1  # one process, for all its turns
    assert noted[1][1] != str(os.getpid())
    assert [words[2] for words in noted[1::2]] == ["7"] * 3  # updates
    assert fake.environment.installed == 1
    printed = capsys.readouterr().out
    assert "a fake: fake 1.2.3" in printed
    assert "turn 2 of 3, a fake: 2.00 s, 4 a second, 1 core, 1 thread" in printed
    with (tmp_path / "peer_speeds.csv").open() as file:
        (row,) = csv.DictReader(file)
    # Of ours 8, 2 and 1 a second, of the fake 4, 4 and 0.25: the ratio of the medians is 0.5.
    names = ("our_speed", "peer_speed", "ratio", "lowest", "highest")
    assert [row[name] for name in names] == ["2", "4", "2.00", "0.50", "4.00"]
    line = "| a work | ours | 2 samples | a fake | 4 samples | 2.00 | 0.50 to 4.00 |"
    assert line in page.read_text()
    assert line in printed
    assert "fake 1.2.3" in page.read_text()
    made = peer_speeds.table(tmp_path / "peer_speeds.csv")
    assert with_table(page.read_text(), made, peer_speeds.MARKS) == page.read_text()


class Multiplying:
    """A side of matrix products and little else."""

    name = "ours"

    def turn(self) -> Turn:
        began = time.perf_counter()
        square = torch.ones(500, 500)
        for _ in range(20):
            square = square @ square / 500
        return Turn(20, time.perf_counter() - began)


def test_limits_are_what_the_kernels_take_of_our_time(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- limits -->\n\n<!-- end of limits -->\n\nafter\n")
    work = Work("fake_work", "a work", "samples", ("fake",), lambda *_: Sides([Multiplying()], []))
    for module in (kernel_shares, benchmark):
        monkeypatch.setattr(module, "WORKS", [work])
    run(monkeypatch, "--limits", "--page", str(page))
    with (tmp_path / "limits.csv").open() as file:
        (row,) = csv.DictReader(file)
    shares = [float(row[kind]) for kind in kernel_shares.KINDS]
    assert shares[0] == 0
    assert 0.6 < shares[1] <= 1.2  # the profiled turn is another than those that were timed
    assert float(row["at most"]) == pytest.approx(1 / min(shares[1], 1), abs=0.02)
    assert f"{row['at most']} times as fast" in page.read_text()
    assert "matrix products: " in capsys.readouterr().out
    for words, said in (
        (("--only", "bleu"), "the rows are fake_work"),
        (("--peers", "fake"), "give it alone"),
        (("decoder=luong",), "give it alone"),
    ):
        with pytest.raises(SystemExit):
            run(monkeypatch, "--limits", *words)
        assert said in capsys.readouterr().err


def test_the_ratio_is_that_of_the_turns_not_of_the_medians():
    done = {"a": [Turn(8, s) for s in (1, 8, 8)], "b": [Turn(4, s) for s in (2, 2, 8)]}
    (ratio,) = ratios(done, ["a"], ["b"])
    assert ratio.turns == (4.0, 0.5, 2.0)
    assert (ratio.median, ratio.our_speed, ratio.peer_speed) == (2.0, 1.0, 2.0)


def test_two_sides_of_one_name_are_refused(tmp_path):
    same = [FakeOurs(tmp_path / "order"), FakeOurs(tmp_path / "order")]
    with pytest.raises(ValueError, match="two sides have one name: ours, ours"):
        take_turns(same, 1, print)


@pytest.mark.parametrize(("ratio", "faster"), [("0.99", True), ("1.00", False)])
def test_a_faster_peer_stands_as_faster(ratio, faster):
    row = {"work": "w", "ours": "o", "our_speed": "2", "unit": "words", "peer": "p"}
    row |= {"peer_speed": "1234", "ratio": ratio, "lowest": "0.5", "highest": "2.0"}
    made = peer_speeds.table_of([row])
    assert ("the peer is faster" in made) == faster
    assert "1,234 words" in made


def test_a_peer_that_fails_ends_the_comparison_with_what_it_printed(one_work, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[__name__], "THEIRS", (2.0,))
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, "--peers", "fake", "--repeats", "2")
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "fake_work: a fake says StopIteration" in said
    assert "Traceback" in said


def test_a_peer_that_does_not_start_is_named(tmp_path):
    path = tmp_path / "ends.py"
    path.write_text("raise SystemExit('no such library')")
    settings = {"name": "it", "python": sys.executable, "script": path, "settings": {}}
    process = PeerProcess(**settings, log=tmp_path / "log")
    with process, pytest.raises(PeerFailed, match=r"it has ended(.|\n)*no such library"):
        process.wait_until_ready(print)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--peers", "fake,fairseq"], "fairseq is no peer; take of fake"),
        (["--peers", ","], "nothing is no peer"),
        (["--peers", "fake", "--only", "bleu"], "take a part of fake_work"),
        (["--peers", "fake", "--page", __file__, "--only", "fake"], "a page has all rows"),
        (["--peers", "fake", "decoder=luong"], "settings of their own"),
        (["--only", "fake"], "are of --peers"),
        (["--repeats", "0"], "is no whole number of 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_said(one_work, words, said, monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, *words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert not one_work.exists()


def test_an_installation_that_fails_is_said(one_work, fake, monkeypatch, capsys):
    def refuse():
        raise NotInstalled("x cannot be installed")

    monkeypatch.setattr(fake.environment, "install", refuse)
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, "--peers", "fake")
    assert left.value.code == 2
    assert "x cannot be installed" in capsys.readouterr().err


def test_an_environment_is_installed_once_and_again_for_other_packages(tmp_path, monkeypatch):
    calls = []

    def pretend(code, words, **_):
        calls.append(words)
        (tmp_path / "it").mkdir(exist_ok=True)
        said = partial(dict, args=words, returncode=code, stderr="no such package\n")
        return environments.subprocess.CompletedProcess(**said(stdout=""))

    monkeypatch.setattr(environments.subprocess, "run", partial(pretend, 1))
    it = Environment("it", ("a", "b"), ("a",))
    with pytest.raises(NotInstalled, match=r"a, b cannot be installed(.|\n)*no such package"):
        it.install(tmp_path)
    assert not it.ready(tmp_path)
    monkeypatch.setattr(environments.subprocess, "run", partial(pretend, 0))
    calls.clear()
    it.install(tmp_path)
    it.install(tmp_path)
    assert [words[1:3] for words in calls] == [["-m", "venv"], ["-m", "pip"]]
    assert calls[1][-2:] == ["a", "b"]
    assert not Environment("it", ("a",), ("a",)).ready(tmp_path)


def test_versions_are_those_of_the_environment():
    class Here(Environment):
        def python(self, folder: Path = Path()) -> Path:
            return Path(sys.executable)

    assert Here("here", ("torch",), ("torch",)).versions() == {"torch": version("torch")}
    with pytest.raises(NotInstalled, match="does not answer"):
        Here("here", (), ("no-such-package",)).versions()


@pytest.mark.parametrize("module", [speed_tables, turns])
def test_examples_are_right(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed


def test_what_a_library_prints_is_kept_apart_from_the_answers(tmp_path, fake):
    log, order = tmp_path / "log", tmp_path / "order"
    process = PeerProcess(
        name="it",
        python=sys.executable,
        script=fake.script,
        settings={"seconds": [3.0], "order": str(order)},
        log=log,
    )
    with process:
        process.wait_until_ready(print)
        assert process.ask("train", updates=2)["seconds"] == 3.0
    assert log.read_text() == "a library prints this\n"
