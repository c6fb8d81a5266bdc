"""Edits of the package, and the runs that each of them makes others."""

from __future__ import annotations

from typing import NamedTuple

# Three runs: the letter, and what a command line chooses.
RUNS = {
    "R": ("task=echo", "encoder=lstm", "decoder=luong"),
    "T": ("task=echo", "encoder=transformer", "decoder=transformer"),
    "F": ("task=date", "encoder=lstm", "decoder=feedforward"),
}


class Edit(NamedTuple):
    """Text that is replaced in a file, and the letters of the runs that become others."""

    what: str
    file: str
    old: str
    new: str
    runs: str


EDITS = [
    # What does not count.
    Edit(
        "a comment", "decoders/heads/head.py", "class Head(", "# The last layer.\nclass Head(", ""
    ),
    Edit("a comment in a line", "common/randomness.py", " >> 1\n", " >> 1  # 63 bits\n", ""),
    Edit("blank lines", "decoders/heads/head.py", "class Head(", "\n\n\nclass Head(", ""),
    Edit(
        "a class's docstring", "decoders/heads/head.py", "The output layer, f", "The output, f", ""
    ),
    Edit(
        "a module's docstring",
        "training/objective.py",
        '"""The negative log',
        '"""A negative log',
        "",
    ),
    Edit(
        "a docstring that was not there",
        "data/batches.py",
        "    def __len__(self) -> int:\n",
        '    def __len__(self) -> int:\n        """Count."""\n',
        "",
    ),
    Edit("an argument's type", "training/objective.py", "outputs: Tensor", "outputs: object", ""),
    Edit("a result's type", "training/objective.py", "-> tuple[Tensor, Tensor]", "-> tuple", ""),
    Edit("a field's type", "contract.py", "pad_id: int", "pad_id: float", ""),
    Edit(
        "the message of a ValueError",
        "decoders/heads/head.py",
        "head.tied is true, but there is no",
        "head.tied is true, yet there is no",
        "",
    ),
    Edit(
        "an import for types alone",
        "decoders/heads/head.py",
        "import math\n",
        "import math\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import decimal\n",
        "",
    ),
    Edit(
        "an import that nothing uses",
        "decoders/heads/head.py",
        "import math",
        "import math, os",
        "",
    ),
    Edit(
        "a line on the terminal",
        "training/train_and_test.py",
        "resuming from update",
        "from update",
        "",
    ),
    Edit("a shown equation", "decoders/heads/head.py", '({features})"', '"', ""),
    Edit("data of a picture", "training/probes.py", "NUM_SUMMARIES = 256", "NUM_SUMMARIES = 9", ""),
    Edit("what a picture shows", "training/probes.py", "if row < NUM_SUMMARIES", "if row < 3", ""),
    Edit("steps in pictures", "training/step_probe.py", "NUM_BEST = 5", "NUM_BEST = 3", ""),
    Edit("what a model costs", "training/cost.py", "2 * gates", "3 * gates", ""),
    Edit("how cost is counted", "training/cost.py", "model.loss(batch)", "model.loss(0)", ""),
    Edit("a picture", "studies/reporting/figures.py", "import ", "PALE = 0.3\nimport ", ""),
    Edit(
        "the template", "studies/reporting/templates/report.html.jinja", "<body", "<body id=x", ""
    ),
    Edit("the help of a command", "cli/train.py", '"""', '"""Train. ', ""),
    Edit("statistics", "studies/statistics.py", "import ", "LEVEL = 0.95\nimport ", ""),
    Edit("a check of the battery", "testing/decoder_checks.py", "import ", "N = 3\nimport ", ""),
    Edit(
        "a definition nobody uses",
        "decoders/heads/head.py",
        "class Head(",
        "U = 3\nclass Head(",
        "",
    ),
    Edit("another task", "tasks/translation.py", "    def ", "    unused = 3\n\n    def ", ""),
    Edit(
        "what runs as a script alone",
        "decoders/heads/head.py",
        "class Head(",
        'if __name__ == "__main__":\n    print(1)\n\n\nclass Head(',
        "",
    ),
    # What counts.
    Edit(
        "a head's formula", "decoders/heads/head.py", "space.size * made", "space.size + made", "R"
    ),
    Edit(
        "an attention's formula",
        "decoders/attention/attention.py",
        "size or query_size",
        "size or 8",
        "R",
    ),
    Edit("the loss", "training/objective.py", "nats.sum()", "nats.mean()", "RTF"),
    Edit("the order of batches", "data/batches.py", '"order"', '"dropout"', "RTF"),
    Edit("initial weights", "layers/torch_weights.py", "module.in_features)", "9)", "RTF"),
    Edit("a schedule", "training/schedules.py", "return 1.0", "return 1.1", "RTF"),
    Edit("a schedule of others", "training/schedules.py", "total_steps, 0.0)", "1, 0.0)", ""),
    Edit("an optimizer", "training/optimizers.py", "training.learning_rate", "0.1", "RTF"),
    Edit("a metric", "metrics/sequences.py", "clamp(min=1)", "clamp(min=2)", "RTF"),
    Edit(
        "what is right",
        "data/packed_outcomes.py",
        "packbits(outcomes)",
        "packbits(~outcomes)",
        "RTF",
    ),
    Edit("a random stream", "common/randomness.py", ".digest()[:8]", ".digest()[1:9]", "RTF"),
    Edit(
        "a module's constant", "generation/greedy_search.py", "INFINITY =", "INFINITY = 2 *", "RTF"
    ),
    Edit("a default", "training/objective.py", "smoothing: float = 0.0", "smoothing=0.1", "RTF"),
    Edit("a field's default", "contract.py", "pad_id: int = 0", "pad_id: int = 9", "RTF"),
    Edit(
        "a decorator",
        "generation/beam_search.py",
        "@torch.no_grad()",
        "@torch.enable_grad()",
        "RTF",
    ),
    Edit(
        "what is caught",
        "training/train_and_test.py",
        "except Exception as",
        "except OSError as",
        "RTF",
    ),
    Edit("what is raised", "decoders/heads/head.py", "raise ValueError(", "raise TypeError(", "R"),
    Edit(
        "what a name stands for",
        "training/objective.py",
        "from torch.nn import functional",
        "from torch.ao.nn.quantized import functional",
        "RTF",
    ),
    Edit("a task", "tasks/echo.py", '"sorted": sorted', '"sorted": list', "RT"),
    Edit("a decoder", "decoders/recurrent_decoder.py", "super().__init__()", "super(1)", "R"),
    Edit("another decoder", "decoders/transformer_decoder.py", "self.norm(", "abs(", "T"),
    Edit("a layer", "layers/attention_blocks.py", "nn.LayerNorm", "nn.Identity", "T"),
    Edit(
        "a module that does something",
        "decoders/heads/head.py",
        "class Head(",
        "torch.set_default_dtype(torch.float64)\n\n\nclass Head(",
        "R",
    ),
    Edit(
        "a package that does something",
        "encoders/__init__.py",
        "__all__",
        "print()\n__all__",
        "RTF",
    ),
]
