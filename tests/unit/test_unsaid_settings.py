"""Settings that came later name no run where they change nothing."""

from __future__ import annotations

from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import departure, sorted_json
from decoderlab.config.scientific import scientific_of
from tests.conftest import composed


def config(*chosen: str) -> RunConfig:
    return RunConfig.from_composed(composed("decoder=luong", *chosen))


def test_reads_of_a_step_name_a_run_only_where_there_are_several():
    plain = config().scientific()
    assert not {"heads", "hops"} & plain["decoder"]["attention"].keys()
    assert plain == config("decoder.attention.heads=1", "decoder.attention.hops=1").scientific()
    several = [config("decoder.attention.heads=2"), config("decoder.attention.hops=2")]
    known = {sorted_json(one) for one in (plain, *(each.scientific() for each in several))}
    assert len(known) == 3
    before = {"format": 5, **plain}
    assert departure(before, plain) is None
    assert departure(before, several[0].scientific()) == "decoder.attention.heads is new"


def test_a_class_of_somebody_elses_is_known_by_all_of_its_settings():
    record = config().to_dict()
    record["decoder"]["attention"]["_target_"] = "mine.Attention"
    assert scientific_of(record)["decoder"]["attention"]["heads"] == 1


def test_no_attention_is_no_setting():
    assert config("decoder/attention=none", "decoder.routes=[output]").scientific()["decoder"][
        "attention"
    ] is None  # fmt: skip
