"""Folders of strangers: runs and studies that want to execute, to write elsewhere, or to fill up.

Each is a real one with something hostile put in, and its seals made anew, as its author would.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml

from decoderlab.records.run_folder import sealed
from tests.fuzz import guard
from tests.fuzz.cheap import Figures
from tests.fuzz.records import SOURCES, Small

HOSTILE = (1, 2)  # exit codes of what was refused
TARGETS = (
    *(
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "builtins.exec",
        "builtins.eval",
        "runpy.run_path",
    ),
    *(
        "decoderlab.studies.execution.worker_pool.Worker",
        "decoderlab.studies.execution.launchers.train_study_cell",
    ),
    *("decoderlab.common.folders.add_to_path", "decoderlab.records.run_folder.write_text"),
    *("canary_module.Theirs", "hydra.utils.instantiate", "importlib.import_module", "torch.load"),
    *(
        "pickle.loads",
        "shutil.rmtree",
        "decoderlab.common.folders.os.system",
        "pathlib.Path.write_text",
    ),
    *("decoderlab.config.composition.compose_config", "decoderlab.training.loading.load_run"),
    *("decoderlab.tasks.TSVTask", "decoderlab.encoders.RecurrentEncoder", "torch.nn.Linear"),
    *(
        "decoderlab.tasks.echo.np.fromfile",
        "urllib.request.urlopen",
        "webbrowser.open",
        "decoderlab",
    ),
    *(
        "decoderlab.tasks.EchoTask.__init__.__globals__",
        "os",
        "",
        "a b",
        "\u202edecoderlab.x",
        "..x",
    ),
)
NAMES = (
    *(
        "/tmp/decoderlab-hostile",
        "../../elsewhere",
        "../elsewhere/x",
        "a/../../../elsewhere",
        "x\0y",
    ),
    *(
        "",
        ".",
        "..",
        "-rf",
        "~root",
        "con\x1b[31m",
        "\u202eabc",
        "a" * 400,
        "a/b/c/d",
        "\ud800",
        "a\nb",
    ),
    *(
        "[click](javascript:alert(1))",
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "${jndi:x}",
    ),
    *(
        "$(touch canary)",
        "`touch canary`",
        "![x](http://127.0.0.1:9/x.png)",
        "|a|b|",
        "\\input{/etc/passwd}",
    ),
)
VALUES: tuple[Any, ...] = (
    *(
        "${oc.env:HOME}",
        "${oc.env:PATH}",
        "${oc.create:${oc.env:HOME}}",
        "${encoder}",
        "/etc/passwd",
    ),
    *(
        10**9,
        10**30,
        -1,
        1e308,
        float("nan"),
        [0] * 10_000,
        "x" * 1_000_000,
        None,
        True,
        {"a": {"b": 1}},
    ),
)


class _Executes:
    """Unpickled, it touches a canary."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch canary",)


def opened(small: Small, random: Random, folder: Path, drawn: bool = False) -> str:
    """Make a hostile folder, give a command, and return what is wrong with what that does."""
    copy = small.copied(folder, Figures.DRAWN if drawn else Figures.MADE)
    run = copy.root / "outputs/runs" / random.choice(sorted(copy.runs.values()))
    (run / "canary_module.py").write_text("open('canary', 'w').close()\nclass Theirs: pass\n")
    shutil.copy(run / "canary_module.py", run / "sitecustomize.py")
    way = random.choice(WAYS)
    done = way(copy.root / "outputs", run, random)
    _seal(run)
    before = guard.snapshot(folder / "elsewhere")
    named = {"report": ["fuzz"], "status": ["fuzz"], "doctor": ["outputs"]}
    name = random.choice((*named, "plan", "predict", "evaluate", "export", "load_run"))
    named |= {"plan": copy.sweep(), "export": copy.to_export(run.name)}
    named |= {"evaluate": [f"outputs/runs/{run.name}", "--json"]}
    if name == "load_run":
        ended = copy.loaded(run.name)
    else:
        ended = copy.run(name, named.get(name, [f"outputs/runs/{run.name}"]), SOURCES)
    wrong = ended.wrong((0, *HOSTILE))
    if not wrong and guard.snapshot(folder / "elsewhere") != before:
        wrong = "something elsewhere was changed"
    if not wrong and list(folder.rglob("canary")):
        wrong = "a canary was executed"
    if not wrong and "\x1b" in ended.err + ended.out:
        wrong = "a control character reaches the terminal"
    if not wrong and ended.code == 0 and name in ("predict", "evaluate", "load_run"):
        wrong = "" if ended.out == copy.said[name, run.name] else f"prints {ended.out[:300]!r}"
    return wrong and (
        f"{name} of {way.__name__.strip('_')} {done or ''}: {wrong}\n"
        f"exit code {ended.code}\n{ended.out[-500:]}\n{ended.err[-2000:]}"
    )


def _seal(run: Path) -> None:
    """Make seals agree with what is there, where there are such."""
    path = run / "result.json"
    try:
        path.write_text(json.dumps(sealed(json.loads(path.read_text()))))
    except (OSError, ValueError, MemoryError):
        return
    path = run / "manifest.json"
    if not path.is_file():
        return
    record = json.loads(path.read_text())
    contents = guard.snapshot(run)
    for name in record["files"]:
        if (run / name).is_file():
            size, digest = (run / name).stat().st_size, contents[str(run / name)]
            record["files"][name] = {"bytes": size, "sha256": digest}
    path.write_text(json.dumps(sealed(record)))


def _config(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    text = yaml.safe_dump(config, allow_unicode=False)
    path.write_text(text)


def _target(outputs: Path, run: Path, random: Random) -> str:
    """Name a class that is none of ours where a part stands."""
    target = random.choice(TARGETS)
    group = random.choice(
        ("task", "encoder", "decoder", "encoder.cell", "decoder.bridge", "callbacks.x")
    )

    def change(config: dict[str, Any]) -> None:
        node = config
        for key in group.split("."):
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        if random.random() < 0.5:
            node.clear()
            node.update({"config_dir": str(run), "path": "canary", "command": "touch canary"})
        node["_target_"] = target

    _config(run, change)
    return f"{group}._target_ {target!r}"


def _setting(outputs: Path, run: Path, random: Random) -> str:
    """Give a setting a value that would fill, block or leak."""
    group, key = random.choice(
        (
            ("run", "threads"),
            ("run", "output_dir"),
            ("run", "evaluation_batch_size"),
            ("task", "path"),
        )
        + (
            ("task", "num_train"),
            ("encoder", "hidden_size"),
            ("decoder", "hidden_size"),
            ("x", "y"),
        )
        + (
            ("evaluation", "beam_width"),
            ("trainer", "devices"),
            ("study", "name"),
            ("choices", "task"),
        )
    )
    value = random.choice(VALUES)
    _config(run, lambda config: config.setdefault(group, {}).__setitem__(key, value))
    return f"{group}.{key}={value!r:.60}"


def _bomb(outputs: Path, run: Path, random: Random) -> None:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12)]
    with (run / "config.yaml").open("a") as file:
        file.write("".join(lines))


def _yaml_tag(outputs: Path, run: Path, random: Random) -> str:
    tag = random.choice(
        (
            "!!python/object/apply:os.system ['touch canary']",
            "!!python/name:os.system",
            "!!binary aGk=",
        )
        + ("!!python/module:canary_module", "!!python/object/new:os.system ['touch canary']")
    )
    with (run / "config.yaml").open("a") as file:
        file.write(f"x: {tag}\n")
    return tag


def _pickle(outputs: Path, run: Path, random: Random) -> str:
    """Put code into a checkpoint: as torch's archive, as a bare pickle, or as the old format."""
    path = random.choice(sorted((run / "checkpoints").glob("*.ckpt")))
    way = random.choice(("archive", "bare", "legacy", "instantiator"))
    if way == "archive":
        content = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
            for member in old.namelist():
                evil = pickle.dumps(_Executes(), protocol=2)
                new.writestr(member, evil if member.endswith("data.pkl") else old.read(member))
        path.write_bytes(content.getvalue())
    elif way == "bare":
        path.write_bytes(pickle.dumps(_Executes()))
    elif way == "legacy":
        torch.save({"state_dict": _Executes()}, path, _use_new_zipfile_serialization=False)
    else:
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["hyper_parameters"] = {"_instantiator": "os.system", "_class_path": "os.system"}
        torch.save(checkpoint, path)
    digest = guard.snapshot(path.parent)[str(path)]
    path.with_suffix(".ckpt.sha256").write_text(f"{digest}\n")
    return f"{path.name}: {way}"


def _arrays(outputs: Path, run: Path, random: Random) -> str:
    """Put objects, or terabytes, into the arrays."""
    way = random.choice(("objects", "terabytes", "zip bomb"))
    path = run / "probes.npz"
    if way == "objects":
        np.savez(path, a=np.array([_Executes()], dtype=object))
    else:
        described = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
        header = b"\x93NUMPY\x01\x00v\x00" + described
        content = header.ljust(127) + b"\n" if way == "terabytes" else b"\0" * 50_000_000
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", content)
    return way


def _plan(outputs: Path, run: Path, random: Random) -> str:
    """Name another folder in a plan, or a hostile row."""
    path = outputs / "studies/fuzz/plan.json"
    plan, name = json.loads(path.read_text()), random.choice(NAMES)
    where = random.choice(
        ("name", "folder", "variant", "task", "run_id", "factors", "question", "source")
    )
    cell = random.choice(plan["cells"])
    if where == "name":
        plan["name"] = name
        plan.get("study", {})["name"] = name
    elif where in ("question", "source"):
        plan.get("study", {})["question"] = name
    elif where == "factors":
        cell["factors"] = {name: name}
    else:
        cell[where] = name
    if "sha256" in plan:
        plan = sealed(plan)
    path.write_text(json.dumps(plan))
    return f"{where} {name!r:.60}"


def _links(outputs: Path, run: Path, random: Random) -> str:
    """Make something of the run or study a link to elsewhere."""
    choices = ("runs", "studies/fuzz", "studies/fuzz/figures", f"runs/{run.name}", "studies")
    choices += (
        f"runs/{run.name}/checkpoints",
        "studies/fuzz/report.html",
        "studies/fuzz/results.csv",
    )
    choices += (f"runs/{run.name}/config.yaml", f"runs/{run.name}/.lock", "studies/fuzz/.lock")
    path = outputs / random.choice(choices)
    elsewhere = outputs.parent / "elsewhere"
    if path.is_dir():
        shutil.rmtree(path)
        path.symlink_to(elsewhere)
    else:
        path.unlink(missing_ok=True)
        path.symlink_to(elsewhere / "secret.txt")
    return str(path.relative_to(outputs))


def _texts(outputs: Path, run: Path, random: Random) -> str:
    """Put control characters and links into what is shown."""
    name = random.choice(NAMES)
    way = random.choice(("status", "choices", "vocabularies", "predictions", "metrics", "made_by"))
    if way == "status":
        record = {
            "status": random.choice(("FAILED", "FINISHED", name)),
            "reason": name,
            "host": name,
        }
        (run / "status.json").write_text(json.dumps(record | {"pid": name, "started": name}))
    elif way == "choices":
        _config(run, lambda config: config.__setitem__("choices", {"task": name, "decoder": name}))
    else:
        path = next(iter(sorted(run.glob(f"{way}*"))), run / f"{way}.json")
        path.write_text(json.dumps({"x": name, "tokens": [name], "step": name}) + "\n")
    return f"{way} {name!r:.60}"


def _special(outputs: Path, run: Path, random: Random) -> str:
    """Put a pipe, a device, a huge or a deep file where a record is read."""
    path = random.choice(sorted(one for one in run.rglob("*") if one.is_file()))
    path.unlink()
    way = random.choice(("pipe", "device", "sparse", "deep", "folder", "itself"))
    match way:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "sparse":
            path.touch()
            os.truncate(path, 40 * 2**30)
        case "deep":
            path.write_text("[" * 200_000)
        case "folder":
            path.mkdir()
        case "itself":
            path.symlink_to(path)
    return f"{path.name}: {way}"


WAYS = (
    *(_target, _target, _target, _setting, _setting, _bomb, _yaml_tag, _pickle, _pickle, _arrays),
    *(_plan, _plan, _plan, _links, _links, _texts, _texts, _special),
)
