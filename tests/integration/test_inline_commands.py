"""Commands within the sentences of the pages: their options exist, and their settings compose.

Those in code blocks are run, see test_documented_commands.py.
"""

from __future__ import annotations

import re
import shlex

import pytest

from decoderlab.cli.complete import _options
from tests.integration.cli import in_process
from tests.integration.test_documented_commands import PAGES, ROOT

# What stands for a name of the reader's own: RUN, STUDY, --num-best N.
PLACEHOLDER = re.compile(r"[A-Z]{2,}|\b[A-Z]\b|my_conf")
UNFINISHED = ("decoderlab-train decoder=lu", "decoderlab-train training.max")  # for the tab key


def inline() -> list[str]:
    """Return the commands in the sentences of all pages but those of studies, each once."""
    commands = []
    for page in PAGES:
        if "studies" not in page.parts:
            sentences = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
            commands += re.findall(r"`((?:decoderlab-\w+|python) [^`]+)`", sentences)
    return sorted({" ".join(command.split()) for command in commands} - {"python -m", *UNFINISHED})


INLINE = inline()
COMPOSED = [
    command
    for command in INLINE
    if re.match(r"decoderlab-(train|plan) ", command)
    and not PLACEHOLDER.search(command)
    and "=" in command
]


def test_there_are_some_of_each_kind():
    assert len(INLINE) > 80
    assert len(COMPOSED) > 20


@pytest.mark.parametrize("command", INLINE)
def test_the_command_and_its_options_exist(command):
    name, *words = shlex.split(command)
    if name == "python":
        assert (ROOT / words[0]).is_file()
        text = (ROOT / words[0]).read_text()
        assert all(word.partition("=")[0] in text for word in words if word.startswith("--"))
        return
    known = dict(_options(name.removeprefix("decoderlab-")))
    given = [word.partition("=")[0] for word in words if word.startswith("-")]
    assert set(given) <= known.keys()
    assert known


@pytest.mark.parametrize("command", COMPOSED)
def test_its_settings_compose(command, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(command)[1:] if word not in ("--help", "--json")]
    assert in_process(monkeypatch, "--help", *words) == 0, capfd.readouterr().err
    assert "== Config" in capfd.readouterr().out
