"""decoderlab-status as JSON; what it shows to a person is tested with the sweeps."""

from __future__ import annotations

import json

import pytest

from decoderlab.cli import status
from decoderlab.common.errors import ConfigError
from tests.unit.studies import study, write


def asked(monkeypatch, capsys, output_dir, *words):
    argv = ["decoderlab-status", "--json", "--output-dir", str(output_dir), *words]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as ended:
        status.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_study_and_all_studies_as_json(tmp_path, monkeypatch, capsys):
    write(study(tmp_path, {"a": [0.5, 0.6], "b": [0.7, "FAILED"]}), tmp_path)
    code, record = asked(monkeypatch, capsys, tmp_path, "s")
    assert code == 1
    assert record["states"] == {"FINISHED": 3, "FAILED": 1}
    (failed,) = [run for run in record["runs"] if run["status"] == "FAILED"]
    assert (failed["variant"], failed["seed"], failed["reason"]) == ("b", 1, "because")
    code, (listed,) = asked(monkeypatch, capsys, tmp_path)
    assert (code, listed) == (1, {key: record[key] for key in ("study", "states", "damage")})
    (tmp_path / "studies/s/plan.json").write_text("{")
    code, (damaged,) = asked(monkeypatch, capsys, tmp_path)
    assert (code, damaged["study"]) == (1, "s")
    assert "plan.json" in damaged["reason"]


def test_a_study_without_a_plan_yet_is_being_planned(tmp_path, monkeypatch, capsys):
    write(study(tmp_path, {"a": [0.5]}, name="other"), tmp_path)
    with pytest.raises(ConfigError, match="there is no study 's'"):
        status.study(tmp_path, "s")
    (tmp_path / "studies/s").mkdir()
    (line,), code, waits = status.study(tmp_path, "s")
    assert line.plain.startswith("study 's' is being planned, or its launch was broken off: ")
    assert (code, waits) == (1, True)
    code, record = asked(monkeypatch, capsys, tmp_path, "s")
    assert (code, record["states"], record["runs"]) == (1, {}, [])
    assert record["reason"] == line.plain
    write(study(tmp_path, {"a": [0.5]}, name="s/tuning"), tmp_path)
    (line,), *_ = status.study(tmp_path, "s")
    said = "study 's' is being planned: its tuning comes first, which is study 's/tuning'"
    assert line.plain == said
    write(study(tmp_path, {"a": [0.5]}), tmp_path)
    assert status.study(tmp_path, "s")[0][0].plain.startswith("study s: 1 runs: ")
