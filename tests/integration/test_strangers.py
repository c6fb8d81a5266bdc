"""Opening a stranger's run runs nothing of theirs: hostile configs under an audit hook."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from decoderlab.common.digests import file_sha256
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import digest_of
from decoderlab.config.scientific import scientific_of
from decoderlab.config.strangers import group_of, refuse_foreign, shipped
from decoderlab.records.run_folder import RunFolder, sealed, write_json
from decoderlab.training.loading import load_run
from tests.conftest import composed, run, variants

OPENED = "opened"
CANARY = "from pathlib import Path\nPath({canary!r}).touch()\nclass Theirs: pass\n"
# Settings of a stranger's config by dotted name, and a word of the message that refuses them.
TARGETS = {
    "os.system": "decoderlab for task",
    "posix.system": "decoderlab for task",
    "subprocess.Popen": "decoderlab for task",
    "builtins.exec": "decoderlab for task",
    "builtins.open": "decoderlab for task",
    "importlib.import_module": "decoderlab for task",
    "runpy.run_path": "decoderlab for task",
    "socket.create_connection": "decoderlab for task",
    "torch.load": "decoderlab for task",
    "stranger_canary.Theirs": "decoderlab for task",
    "decoderlab.common.folders.os.system": "decoderlab for task",
    "decoderlab.common.folders.add_to_path": "decoderlab for task",
    "decoderlab.studies.execution.worker_pool.Worker": "decoderlab for task",
    "decoderlab.studies.execution.worker_pool.subprocess.run": "decoderlab for task",
    "decoderlab.studies.execution.launchers.train_study_cell": "decoderlab for task",
    "decoderlab.records.run_folder.write_text": "decoderlab for task",
    "decoderlab.records.run_folder.AtomicCheckpointIO": "decoderlab for task",
    "decoderlab.data.task.Task": "decoderlab for task",
    "decoderlab.tasks.echo.EchoTask": "decoderlab for task",
    "decoderlab.tasks.EchoTask.examples": "decoderlab for task",
    "decoderlab.tasks.EchoTask.__init__.__globals__": "decoderlab for task",
    "decoderlab.tasks.\uff25choTask": "decoderlab for task",
    "decoderlab.t\u0430sks.EchoTask": "decoderlab for task",
    "decoderlab.tasks.EchoTask\u200b": "decoderlab for task",
    " decoderlab.tasks.EchoTask": "decoderlab for task",
    "decoderlab.tasks.EchoTask\n": "decoderlab for task",
    "decoderlab..tasks.EchoTask": "decoderlab for task",
    "decoderlab.encoders.RecurrentEncoder": "decoderlab for task",
    "torch.optim.Adam": "decoderlab for task",
    "": "decoderlab for task",
}
HOSTILE = {
    f"task is {target!r}": ({"task._target_": target}, word) for target, word in TARGETS.items()
}
HOSTILE |= {
    "a task as the encoder": ({"encoder._target_": "decoderlab.tasks.EchoTask"}, "for encoder"),
    "a decoder as the encoder": (
        {"encoder._target_": "decoderlab.decoders.RecurrentDecoder"},
        "for encoder",
    ),
    "an encoder as the decoder": (
        {"decoder._target_": "decoderlab.encoders.RecurrentEncoder"},
        "for decoder",
    ),
    "a process as the cell": ({"encoder.cell._target_": "subprocess.Popen"}, "for encoder.cell"),
    "a bridge as the head": (
        {"decoder.head._target_": "decoderlab.decoders.bridges.ZeroBridge"},
        "for decoder.head",
    ),
    "a score that runs": (
        {"decoder.attention.score._target_": "os.popen"},
        "for decoder.attention.score",
    ),
    "a feedback that runs": ({"decoder.feedback._target_": "os.popen"}, "for decoder.feedback"),
    "a bridge that runs": ({"decoder.bridge._target_": "os.popen"}, "for decoder.bridge"),
    "a metric that runs": (
        {"task.metrics.sequence._target_": "os.system"},
        "for task.metrics.sequence",
    ),
    "another metric that runs": (
        {"task.metrics.theirs": {"_target_": "builtins.eval"}},
        "for task.metrics.theirs",
    ),
    "an optimizer that runs": (
        {"training.optimizer._target_": "os.system"},
        "for training.optimizer",
    ),
    "an optimizer of another package": (
        {"training.optimizer._target_": "torch.optim.swa_utils.AveragedModel"},
        "for training.optimizer",
    ),
    "a schedule that runs": ({"training.schedule._target_": "os.system"}, "training.schedule"),
    "an objective that runs": ({"training.objective._target_": "os.system"}, "training.objective"),
    "a target in a list": ({"task.further": [1, {"_target_": "os.system"}]}, "is not a part"),
    "a target in a list in a list": (
        {"encoder.sizes": [[{"_target_": "os.system"}]]},
        "not a part",
    ),
    "a part where none is": (
        {"decoder.hidden_size": {"_target_": "decoderlab.layers.LSTM"}},
        "is not a part",
    ),
    "a part of run": ({"run.threads": {"_target_": "os.system"}}, "is not a part"),
    "a plugin of the trainer": ({"trainer.plugins": {"_target_": "os.system"}}, "is not a part"),
    "a task within a task within": (
        {
            "task": {
                "_target_": "decoderlab.tasks.AutoencoderTask",
                "of": {
                    "_target_": "decoderlab.tasks.AutoencoderTask",
                    "of": {"_target_": "os.system", "command": "touch canary"},
                },
            }
        },
        "for task.of.of",
    ),
    "a target that is a list": ({"task._target_": ["os.system"]}, "not the name of a class"),
    "a target that is a mapping": (
        {"task._target_": {"x": "os.system"}},
        "not the name of a class",
    ),
    "a target that is a number": ({"encoder.cell._target_": 1}, "for encoder.cell"),
    "a target that is null": ({"encoder.cell._target_": None}, "for encoder.cell"),
    "a target at the top": ({"_target_": "os.system"}, "is not a part"),
    "positional arguments": ({"task._args_": ["touch canary"]}, "a word of Hydra's"),
    "a partial": ({"encoder.cell._partial_": True}, "a word of Hydra's"),
    "recursion": ({"task._recursive_": True}, "a word of Hydra's"),
    "conversion": ({"encoder._convert_": "all"}, "a word of Hydra's"),
    "the environment": ({"evaluation.select": "${oc.env:HOME}"}, "an interpolation"),
    "another setting": ({"run.output_dir": "${study.name}"}, "an interpolation"),
    "a resolver": ({"task.num_train": "${theirs:1}"}, "an interpolation"),
    "an interpolation in a list": ({"decoder.routes": ["${oc.env:HOME}"]}, "an interpolation"),
    "an interpolation as a key": ({"task.${oc.env:HOME}": 1}, "an interpolation"),
    "an interpolated target": ({"task._target_": "${oc.env:TASK}"}, "an interpolation"),
    "decoding": ({"study.question": "${oc.decode:'[1]'}"}, "an interpolation"),
    "a resolver of a logger": (
        {"logger.theirs": {"_target_": "a.B", "key": "x ${oc.decode:HOME}"}},
        "an interpolation",
    ),
    "a resolver of a callback": (
        {"callbacks.theirs": {"_target_": "a.B", "key": "${oc.env:${oc.decode:HOME}}"}},
        "an interpolation",
    ),
    "the environment as a key": (
        {"logger.theirs": {"_target_": "a.B", "${oc.env:HOME}": 1}},
        "an interpolation",
    ),
    "a resolver in a bundle": (
        {"study.factors": {"varied": {"all": {"task.data_seed": "${oc.env:HOME}"}}}},
        "an interpolation",
    ),
    "an interpolation in a reference": (
        {"study.variants": {"a": {"task.path": "x${a${oc.env:HOME}}"}}},
        "an interpolation",
    ),
    "a reference elsewhere in a study": ({"study.question": "Why ${seed}?"}, "an interpolation"),
    "an interpolation within text": ({"paper": {"title": "see ${seed}"}}, "an interpolation"),
    "hydra": ({"hydra": {"run": {"dir": "elsewhere"}}}, "a word of Hydra's"),
    "hydra in a task": ({"task.hydra": {"x": 1}}, "a word of Hydra's"),
    "deep nesting": ({"task.deep": json.loads("[" * 60 + "]" * 60)}, "nested"),
}
# What is never built may name anything: the run opens, and nothing of it happens.
IDLE = {
    "a callback": {"callbacks.theirs": {"_target_": "stranger_canary.Theirs"}},
    "a callback that runs": {"callbacks.theirs": {"_target_": "os.system", "command": "id"}},
    "a secret of a logger": {
        "logger.theirs": {"_target_": "stranger_canary.Theirs", "key": "${oc.env:HOME}"}
    },
    "secrets in texts": {
        "logger.theirs": {"_target_": "a.B", "url": "https://x/${oc.env:HOME}?to=${oc.env:NO,me}"},
        "callbacks.theirs": {"_target_": "a.B", "monitor": ["${oc.env:HOME,x}"]},
    },
    "a reference in a bundle": {
        "study.factors": {"varied": {"all": {"task.data_seed": "${seed}", "x": "parent${a.b}"}}}
    },
    "a logger": {"logger.theirs": {"_target_": "stranger_canary.Theirs", "save_dir": "elsewhere"}},
}
# Opens every folder below argv[1] and prints what came of it, and what it did besides.
WATCHER = """
import json, os, sys
from pathlib import Path
from decoderlab.training.loading import load_run
from decoderlab.usage.outputs import predict
from decoderlab.config.strangers import shipped
shipped()
root = sys.argv[1]
load_run(Path(root) / "opened", data=True)  # whatever is imported late is imported now
load_run(Path(root) / "opened", data=False)
seen, record = [], {}
STARTS = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "socket.",
          "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate",
          "shutil.", "pty.", "ctypes.dlopen", "webbrowser.", "urllib.", "ftplib.", "smtplib.")
def watch(event, arguments):
    if event.startswith(STARTS):
        seen.append(f"{event} {arguments!r}")
    elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(root):
        seen.append(f"exec {arguments[0].co_filename}")
    elif event == "import" and not str(arguments[0]).startswith("decoderlab"):
        seen.append(f"import {arguments[0]}")
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (
        os.O_WRONLY | os.O_RDWR | os.O_CREAT
    ):
        seen.append(f"open {arguments[0]} to write")
sys.addaudithook(watch)
before = list(sys.path)
for folder in sorted(Path(root).iterdir()):
    for data in (True, False):
        seen.clear()
        try:
            load_run(folder, data=data)
            said = "opened"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        path = [] if sys.path == before else ["sys.path has changed"]
        record[f"{folder.name} {data}"] = [said, list(seen) + path]
print(json.dumps(record))
"""


def put(config: dict, settings: dict) -> dict:
    """Return a config in which settings have other values, by dotted name."""
    made = json.loads(json.dumps(config))
    for name, value in settings.items():
        *groups, key = name.split(".") if not name.startswith("task.${") else ("task", name[5:])
        node = made
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> dict[str, list]:
    """Open every hostile folder in one process under an audit hook; return what came of it."""
    root = tmp_path_factory.mktemp("strangers")
    made = finished(root / "outputs")
    folders = root / "folders"
    cases = {name: settings for name, (settings, _) in HOSTILE.items()} | IDLE | {OPENED: {}}
    config = OmegaConf.to_container(OmegaConf.load(made / "config.yaml"))
    for name, settings in cases.items():
        folder = folders / (name if name == OPENED else folder_of(name))
        shutil.copytree(made, folder)
        text = yaml.safe_dump(put(config, settings), allow_unicode=True, sort_keys=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        forge(RunFolder(folder))
        (folder / "stranger_canary.py").write_text(CANARY.format(canary=str(root / "canary")))
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(folders)],
        capture_output=True,
        text=True,
        cwd=folders / OPENED,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record[f"{OPENED} True"] == record[f"{OPENED} False"] == ["opened", []]
    assert not (root / "canary").exists()
    return record


def forge(folder: RunFolder) -> None:
    """Write a manifest that suits whatever the config says, as a stranger can."""
    manifest = json.loads(folder.manifest.read_text())
    settings = yaml.safe_load(folder.config.read_text())
    with contextlib.suppress(Exception):  # some configs have no identity
        own = scientific_of(settings)
        manifest["identity"] = {
            name: manifest["identity"][name] for name in ("format", "data")
        } | own
        manifest["run_id"] = digest_of(manifest["identity"])
        result = json.loads(folder.result_file.read_text()) | {"run_id": manifest["run_id"]}
        write_json(folder.result_file, sealed(result))
        for file in (folder.config, folder.result_file):
            manifest["files"][file.name] = {
                "bytes": file.stat().st_size,
                "sha256": file_sha256(file),
            }
        write_json(folder.manifest, sealed(manifest))


# Of these, what no run's config is.
NO_CONFIG = (
    "a part of run",
    "a plugin of the trainer",
    "a target that is a list",
    "a target that is a mapping",
    "a target at the top",
    "an interpolation within text",
    "hydra",
)


def folder_of(name: str) -> str:
    """Return a plain name for a folder."""
    return f"case-{[*HOSTILE, *IDLE].index(name):03d}"


def finished(output_dir: Path) -> Path:
    """Train a run of a second; return its folder."""
    from decoderlab.training.prepared_run import prepare
    from tests.conftest import TASKS, TINY

    sizes = ("encoder.hidden_size=8", "decoder=luong", "decoder.hidden_size=8")
    config = composed(*TASKS["echo"], *TINY, *sizes, f"run.output_dir={output_dir}")
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED"
    return prepared.folder.path


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.fault(16)
def test_hostile_configs_are_refused_and_run_nothing(opened, name):
    for data in (True, False):
        said, seen = opened[f"{folder_of(name)} {data}"]
        assert "config.yaml" in said
        assert seen == []
        if name in NO_CONFIG:  # whoever trusts it
            assert said.startswith("Invalid: ")
            assert "it is not the config of a run" in said
            continue
        assert said.startswith("ConfigError: ")
        assert HOSTILE[name][1] in said
        assert "--trust" in said


@pytest.mark.parametrize("name", IDLE)
@pytest.mark.fault(16)
def test_what_is_never_built_does_nothing(opened, name):
    for data in (True, False):
        assert opened[f"{folder_of(name)} {data}"] == ["opened", []]


GROUPS = ("task", "encoder", "decoder", "training/optimizer", "training/schedule")
# They want files, which need not be there.
FILES = {
    "tsv": ["task.path=x"],
    "forecasting_file": ["task.path=x"],
    "translation_files": ["task.source_path=x", "task.target_path=y"],
}


@pytest.mark.parametrize("index", range(max(len(variants(group)) for group in GROUPS)))
def test_whatever_ships_is_named_without_trust(index):
    chosen = {group: variants(group)[index % len(variants(group))] for group in GROUPS}
    given = [f"{group}={name}" for group, name in chosen.items()]
    given += FILES.get(chosen["task"], [])
    refuse_foreign(RunConfig.from_composed(composed(*given)).to_dict(), Path("config.yaml"))


def test_every_place_of_conf_is_known():
    assert {"task", "metric", "encoder", "decoder", "encoder.cell", "decoder.cell"} <= set(
        shipped()
    )
    assert {"decoder.bridge", "decoder.head", "decoder.feedback"} <= set(shipped())
    assert group_of(("task", "of", "metrics", "x")) == "task.of.metrics.x"
    assert not any(
        name.startswith(("os.", "builtins.")) for names in shipped().values() for name in names
    )


def test_with_trust_a_class_of_ones_own_is_built(tmp_path, monkeypatch):
    folder = finished(tmp_path / "outputs")
    (tmp_path / "my_task_of_trust.py").write_text(
        "from decoderlab.tasks import EchoTask\nclass Mine(EchoTask): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    changed = put(config, {"task._target_": "my_task_of_trust.Mine"})
    (folder / "config.yaml").write_text(yaml.safe_dump(changed))
    shutil.move(folder, tmp_path / "copied")
    forge(RunFolder(tmp_path / "copied"))
    assert type(load_run(tmp_path / "copied", data=False, trust=True).task).__name__ == "Mine"
