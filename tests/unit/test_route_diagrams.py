"""Route diagrams say what the equations say, for every decoder, and nothing of a name acts."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from torch import nn

from decoderlab.config.run_config import RunConfig
from decoderlab.contract import EncoderShape, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.attention import Attention, GeneralScore
from decoderlab.decoders.bridges import DenseBridge, ZeroBridge
from decoderlab.decoders.feedback import FreeRunning, NoFeedback, TeacherForcing
from decoderlab.layers import LSTM
from decoderlab.layers.equations import as_text, equations_of
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.route_diagrams import diagram
from decoderlab.studies.reporting.route_facts import RouteFacts, equation_lines, route_facts
from decoderlab.training.assembly import build_networks
from tests.conftest import composed, variants
from tests.unit.studies import study

ROOT = Path(__file__).parents[2]
SPACE = TokenSpace(9)
CODE = '</text><script>alert(1)</script>"&\x1b'


def composed_facts(*overrides: str) -> RouteFacts:
    config = RunConfig.from_composed(composed(*overrides))
    return facts_of(build_networks(config, SPACE, SPACE)[1])


def facts_of(decoder: nn.Module) -> RouteFacts:
    equations = equations_of(decoder)
    facts = route_facts([(one.left, one.right) for one in equations])
    # What a run keeps of its equations says the same.
    assert facts == route_facts(equation_lines(as_text(equations)))
    return facts


def count(svg: str, words: str) -> int:
    return len(re.findall(words, svg))


@pytest.mark.parametrize("routes", [[], ["first_input"], ["every_input", "output"], ["output"]])
@pytest.mark.parametrize("feedback", [NoFeedback, TeacherForcing, FreeRunning])
@pytest.mark.parametrize(
    "attention",
    [None, ("current", False), ("current", True), ("previous", True), ("between", True)],
)
def test_the_facts_are_the_settings(routes, feedback, attention):
    if not routes and attention is None:
        routes = ["initial_state"]
    attends = None
    if attention is not None:
        attends = partial(
            Attention, score=GeneralScore, query=attention[0], input_feeding=attention[1]
        )
    decoder = RecurrentDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(8, 8),
        cell=LSTM,
        hidden_size=8,
        routes=routes,
        bridge=DenseBridge if "initial_state" in routes else ZeroBridge,
        feedback=feedback,
        attention=attends,
    )
    facts = facts_of(decoder)
    assert facts.unknown == ()
    assert (facts.start != "nothing") == ("initial_state" in routes)
    assert facts.first_input == ("first_input" in routes)
    assert facts.every_input == ("every_input" in routes)
    assert facts.output == ("output" in routes)
    assert bool(facts.feedback) == (feedback is not NoFeedback)
    timing = {None: "none", "current": "after the cell", "previous": "before the cell"}
    timing["between"] = "between the cells"
    assert facts.attention == timing[attention and attention[0]]
    assert facts.fed_later == (attention in (("current", True), ("between", True)))
    assert facts.attention_to_output == (attention is not None)
    assert facts.past == "state"


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        (["decoder/bridge=copy"], "state"),
        (["decoder/bridge=dense", "decoder.bridge.source=summary"], "summary"),
        (["decoder/bridge=mean"], "memory"),
        (["decoder/bridge=learned", "decoder.routes=[every_input]"], "constant"),
        (["decoder/bridge=zero", "decoder.routes=[every_input]"], "nothing"),
    ],
)
def test_the_first_state_is_what_the_bridge_makes(overrides, start):
    assert composed_facts("decoder=initial_state", *overrides).start == start


@pytest.mark.parametrize("combine", ["concat", "add", "mul"])
def test_a_summary_that_is_added_or_multiplied_is_seen(combine):
    facts = composed_facts("decoder=all_routes", f"decoder.combine={combine}")
    assert (facts.every_input, facts.output, facts.feedback_to_output) == (True, True, False)


@pytest.mark.parametrize("reads", [["heads=4"], ["hops=2"], ["heads=2", "hops=3"]])
def test_several_reads_are_read_where_a_single_one_is(reads):
    chosen = [f"decoder.attention.{one}" for one in reads]
    for query in ("current", "previous", "between"):
        basis = ["decoder=luong_input_feeding", f"decoder.attention.query={query}"]
        single = composed_facts(*basis)
        several = composed_facts(*basis, *chosen)
        assert several == replace(single, score=several.score)


def test_decoders_of_other_kinds():
    transformer = composed_facts("decoder=transformer")
    assert (transformer.attention, transformer.past) == ("inside the layers", "all steps")
    assert transformer == replace(transformer, every_input=False, output=False, first_input=False)
    feedforward = composed_facts("decoder=feedforward")
    assert (feedforward.every_input, feedforward.past) == (True, "none")
    assert feedforward.feedback
    assert not composed_facts("decoder=feedforward_no_feedback").feedback
    assert composed_facts("decoder=cho2014").feedback_to_output


def test_a_decoder_of_ones_own_is_a_box_with_its_parts():
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(3, 2), nn.Linear(2, 3)

    facts = route_facts([(one.left, one.right) for one in equations_of(Mine())])
    assert facts.unknown == ("Mine", "table (Embedding)", "head (Linear)")
    svg = diagram(facts, "mine")
    assert all(part in svg for part in facts.unknown)
    assert "states no equations" in svg


@pytest.mark.parametrize("lines", [[], [("", "")], [("s_t", CODE)], [("x_t", f"c {CODE}")] * 500])
def test_whatever_a_record_says_is_drawn_and_does_nothing(lines):
    facts = route_facts([*lines, ("score_tj", f"m_j {CODE}"), ("y_{t-1}", CODE)])
    for drawn in (facts, RouteFacts(unknown=(CODE, CODE))):
        svg = diagram(drawn, CODE)
        assert {one.tag.split("}")[1] for one in ElementTree.fromstring(svg).iter()} <= {
            "svg", "title", "desc", "style", "g", "rect", "path", "circle", "text"
        }  # fmt: skip
        assert "\x1b" not in svg
        assert len(svg) < 20_000


def test_each_route_changes_the_picture():
    plain = RouteFacts(past="state")
    svg = diagram(plain, "x")
    for change in (
        {"start": "summary"}, {"start": "memory"}, {"start": "constant"}, {"first_input": True},
        {"every_input": True}, {"output": True}, {"feedback": "the previous output"},
        {"attention": "before the cell"}, {"attention": "after the cell"}, {"past": "none"},
        {"attention": "inside the layers"}, {"attention": "between the cells"},
        {"past": "all steps"},
    ):  # fmt: skip
        facts = RouteFacts(**({"past": "state"} | change))
        changed = diagram(facts, "x")
        assert re.sub("<(desc|text).*?</.*?>", "", changed) != re.sub(
            "<(desc|text).*?</.*?>", "", svg
        ), change
        root = ElementTree.fromstring(changed)
        name = "{http://www.w3.org/2000/svg}"
        assert root.find(f"{name}title").text
        assert root.find(f"{name}desc").text == " ".join(facts.sentences)
        assert root.get("role") == "img"


@pytest.mark.long
def test_the_pictures_of_the_docs_are_those_of_the_decoders():
    path = ROOT / "scripts" / "draw_diagrams.py"
    spec = importlib.util.spec_from_file_location("draw_diagrams", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn = script.diagrams()
    assert sorted(drawn) == variants("decoder")
    kept = {file.stem: file.read_text() for file in (ROOT / "docs" / "diagrams").glob("*.svg")}
    assert kept == drawn, "give `python scripts/draw_diagrams.py`"
    text = (ROOT / "docs" / "strategies.md").read_text()
    assert [name for name in drawn if f"(diagrams/{name}.svg)" not in text] == []
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"docs/diagrams/(\w+)\.svg", readme)
    assert set(shown) >= {"repeat_vector", "initial_state", "peek", "luong"}
    assert set(shown) <= set(drawn)


@pytest.mark.long
def test_a_report_shows_the_diagram_beside_each_name(tmp_path):
    name = f"b{CODE}"
    equations = {"decoder": f"x_t = c  8\nscore_tj = s_t {CODE.strip(chr(27))} m_j\na_t = w m_j"}
    plan = study(tmp_path, {"a": [0.5], name: [0.6]}, result_changes={"equations": equations})
    build_report(plan, tmp_path)
    html = (tmp_path / "studies/s/report.html").read_text()
    assert html.count('id="rd-0"') == 1
    assert 'id="rd-1"' not in html  # both variants are drawn alike: once
    # Beside the name in the table, and in the settings, where it stands large as well.
    assert count(html, '<svg class="rd rd-icon"') >= 4
    assert count(html, '<svg class="rd rd-large"') == 2
    assert "<script>alert" not in html
