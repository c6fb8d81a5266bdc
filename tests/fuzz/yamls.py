"""YAMLs and data files at random: those of conf/ with one thing wrong, or several."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from decoderlab.common.folders import conf_dir

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 1.5, 10**30, "", "x", "a/b", "null", "[1]", "${seed}", "${no}"),
    *(
        "${oc.env:HOME}",
        "${",
        "\ud800",
        "\x1b[31m",
        "\x00",
        "../../x",
        "luong",
        "range(0,3)",
        "choice()",
    ),
    *(
        [],
        {},
        [None],
        [1, 2],
        ["x"],
        {"a": 1},
        {"a": {"b": []}},
        [{}],
        [[]],
        {"_target_": "os.system"},
    ),
    *(
        {"_target_": None},
        {1: 2},
        {None: 1},
        {"": 1},
        {"low": 1, "high": 0},
        float("nan"),
        float("inf"),
    ),
    *("y" * 300, list(range(300)), {"_target_": "decoderlab.no.Such"}, ["luong", "peek"], "-" * 81),
)
STUDY = """\
# @package _global_
defaults:
  - adhoc@study
  - _self_
  - override /task: echo
  - override /decoder: luong

study:
  name: fuzzed
  question: Which?
  metric: exact_match
  minimum_effect: 0.02
  baseline: small luong
  family: task
  factors:
    decoder: [luong, peek]
    size:
      small: {decoder.embedding_size: 4}
      large: {decoder.embedding_size: 6}
  references:
    other: {decoder: repeat_vector, encoder: gru}
  exclude: [{decoder: peek, size: large}]
  seeds: range(0,2)
  published:
    - {row: small luong, value: 0.5, tolerance: 0.1, source: nobody}
  max_runs: 100
task: {num_train: 100, num_validation: 10, num_test: 10, data_seed: 1}
encoder: {hidden_size: 4}
decoder: {hidden_size: 4}
training: {max_steps: 3}
budget: {match: updates}
hydra:
  mode: MULTIRUN
"""
TUNED = """\
  tuning:
    space:
      training.learning_rate: {low: 0.001, high: 0.1, log: true}
      decoder.dropout: [0.0, 0.1]
    trials: 2
    seeds: [9]
"""
# Groups whose YAMLs are small, with what chooses one of ours.
GROUPS = (
    *(
        "task",
        "encoder",
        "decoder",
        "training",
        "evaluation",
        "run",
        "trainer",
        "budget",
        "callbacks",
    ),
    *(
        "encoder/cell",
        "decoder/cell",
        "decoder/attention",
        "decoder/bridge",
        "decoder/head",
        "preset",
    ),
    *(
        "decoder/feedback",
        "training/optimizer",
        "training/schedule",
        "training/objective",
        "metric",
    ),
)
LEVELS = 12


def study(random: Random) -> bytes:
    """Return a study's YAML with something wrong."""
    text = STUDY
    if random.random() < 0.3:
        text = text.replace("  max_runs", TUNED + "  max_runs")
    return damaged(text, random)


def group(random: Random) -> tuple[str, bytes]:
    """Return a config group, and a YAML of it with something wrong."""
    name = random.choice(GROUPS)
    path = random.choice(sorted((conf_dir() / name).glob("*.yaml")))
    return name, damaged(path.read_text(), random)


def damaged(text: str, random: Random) -> bytes:
    """Return a YAML text with one thing wrong, or two."""
    for _ in range(random.choice((1, 1, 1, 2))):
        way = random.choice((_edited, _edited, _edited, _edited, _of_text))
        text = way(text, random)
    content = text.encode("utf-8", "surrogatepass")
    return random.choice(BYTES)(content, random) if random.random() < 0.15 else content


def _edited(text: str, random: Random) -> str:
    """Change one value or key, wherever it stands."""
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if not isinstance(config, dict) or not config:
        return text
    header = "# @package _global_\n" if "@package" in text else ""
    places = list(_places(config))
    holder, key = random.choice(places)
    way = random.random()
    if way < 0.6:
        holder[key] = random.choice(VALUES)
    elif way < 0.75:
        del holder[key]
    elif way < 0.85 and isinstance(holder, dict):
        holder[f"{key}{random.choice(('x', '.y', '@z', '/w', ''))}"] = holder.pop(key)
    elif isinstance(holder, dict):
        holder[random.choice(("x", "defaults", "_target_", "seed", "_args_", "hydra", 3, None))] = (
            random.choice(VALUES)
        )
    else:
        holder.append(random.choice(VALUES))
    return header + yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


def _places(node: Any, seen: tuple[int, ...] | set[int] = ()) -> list[tuple[Any, Any]]:
    """Return every entry, as what holds it and its key; what aliases repeat is there once."""
    seen, places = set() if isinstance(seen, tuple) else seen, []
    seen.add(id(node))
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(entries):
        places.append((node, key))
        if isinstance(value, dict | list) and id(value) not in seen:
            places += _places(value, seen)
    return places


def _of_text(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True) or ["\n"]
    at = random.randrange(len(lines))
    bomb = "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(LEVELS)
    )
    ways: tuple[Callable[[], str], ...] = (
        lambda: "".join([*lines[:at], "\t", *lines[at:]]),
        lambda: "".join([*lines[:at], lines[at], *lines[at:]]),  # twice: a duplicate key
        lambda: "".join(lines[:at]),
        lambda: "".join([*lines[:at], " ", *lines[at:]]),
        lambda: text + bomb,
        lambda: text + "\n---\na: 1\n",
        lambda: text.replace(":", "", 1),
        lambda: text + "b: !!python/object/apply:os.system ['touch canary']\n",
        lambda: text + "b: !!binary aGVsbG8=\nc: 2020-01-01\nd: !!set {x, y}\n",
        lambda: text + "b: " + "[" * 200 + "]" * 200 + "\n",
        lambda: text + "b: &b [*b]\n",
        lambda: "# @package task\n" + text,
        lambda: "# @package\n" + text,
        lambda: "- " + text,
        lambda: "",
        lambda: "3\n",
        lambda: "x" * 5_000_000,
        lambda: re.sub(r"\d+", lambda found: found[0] * 30, text, count=3),
        lambda: "%YAML 9.9\n---\n" + text,
        lambda: text + "? [a, b]\n: 1\n",
        lambda: text + "<<: 3\n",
    )
    return random.choice(ways)()


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    lambda content, random: b"\xef\xbb\xbf" + content,
    lambda content, random: content.decode("utf-8", "replace").encode("utf-16"),
    lambda content, random: content + b"\xff\xfe: 1\n",
    lambda content, random: content.replace(b"\n", b"\r\n"),
    lambda content, random: content.replace(b"\n", b"\r"),
    lambda content, random: content + b"\x00",
    lambda content, random: bytes(random.randrange(256) for _ in range(300)),
    lambda content, random: content[: random.randrange(len(content) + 1)],
)


def place(path: Path, content: bytes, random: Random) -> None:
    """Write a file, or now and then something that is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    way = random.random()
    if way < 0.9:
        path.write_bytes(content)
    elif way < 0.92:
        os.mkfifo(path)
    elif way < 0.94:
        path.mkdir()
    elif way < 0.96:
        path.symlink_to(path.parent / "nowhere")
    elif way < 0.97:
        path.symlink_to(path)
    elif way < 0.98:
        path.symlink_to("/dev/zero")
    else:
        path.with_suffix(".yml").write_bytes(content)


def table(random: Random) -> bytes:
    """Return a TSV with something wrong."""
    rows = ["source\ttarget\tsplit"]
    rows += [f"a{n} b\tc{n}\t{'train' if n % 4 else 'test'}" for n in range(40)]
    at = random.randrange(len(rows))
    extra = random.choice(
        (
            "",
            "a",
            "a\tb",
            "a\tb\tc\td",
            "\t\t",
            "\x00\tb\ttrain",
            "\ud800\tx\ttrain",
            "x" * 1_000_000,
        )
        + ("\x1b[31m\ty\ttrain", "\u2028\tq\ttest", '"a\tb"\tc\td', " \t \ttrain", "\r\t\r\ttrain")
    )
    rows.insert(at, extra)
    content = "\n".join(rows).encode("utf-8", "surrogatepass")
    way = random.random()
    if way < 0.2:
        return random.choice(BYTES)(content, random)
    if way < 0.3:
        return b"\n".join(content.split(b"\n")[: random.choice((0, 1, 2, 3))])
    if way < 0.35:
        return content.replace(b"\t", random.choice((b" ", b",", b"\t\t")))
    return content
