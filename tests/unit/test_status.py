"""decoderlab-status as JSON; what it shows to a person is tested with the sweeps."""

from __future__ import annotations

import json

import pytest

from decoderlab.cli import status
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
