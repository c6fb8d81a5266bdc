"""Ways to train that could be faster: torch.compile, loops and products of our own, bfloat16.

    python scripts/benchmark_alternatives.py                       # prints; about ten minutes
    python scripts/benchmark_alternatives.py --page docs/performance.md

Each takes turns with what decoderlab does, in one process with one thread: the median of the ratios
of speeds, above 1 where the other way is faster, and the lowest and highest. Of an LSTM layer,
torch's kernel, forward and backward, is compared with a loop over steps whose inputs are projected
all at once, as it is and compiled; of a model, a bare loop with one whose loss is compiled, and one
in float32 with one in bfloat16, and with one whose matrix products are by oneDNN, in place of the
library that torch takes for them. Beside compiled ones stand the seconds until they have begun.
Have nothing else running.

With `--page` the figures go into `alternatives.csv` beside the page, and from there into its table;
with `--only` those of the others stay as they are there.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmark_growth import overrides, write_pairs
from decoderlab.data.batches import Batch
from decoderlab.training.assembly import build_model
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import Prepared
from measuring.arguments import existing_file, positive, script_parser
from measuring.peer_works import LARGE, SMALL
from measuring.speed_tables import Marks, Row, markdown, read_figures, write_figures
from measuring.timed_runs import bare_seconds, prepared_run

FIGURES = "alternatives.csv"
MARKS = Marks("<!-- alternatives -->", "<!-- end of alternatives -->")
# Batch, inputs, units and steps of a layer: of the article's model, small and large, and of G2P.
LAYERS = ((32, 16, 128, 7), (64, 40, 256, 20), (64, 128, 128, 10))
WIDTHS = (128, 256, 512)  # of models in bfloat16
LINEAR = nn.functional.linear
WORTH_A_CALL = 2**23  # products of two numbers; a call of Python costs as much as 2 ** 21 of them
Seconds = Callable[[], float]


class Loss(Protocol):
    """The loss of a model."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum over a batch, and over how many positions."""
        ...


def stepped(
    inputs: Tensor, weights: Tensor, recurrent: Tensor, bias: Tensor, further: Tensor
) -> Tensor:
    """Return the outputs (B, T, H) of an LSTM with some parameters by a loop over steps, from 0."""
    projected = torch.addmm(bias + further, inputs.flatten(0, 1), weights.t())
    hidden = cell = inputs.new_zeros(len(inputs), recurrent.shape[1])
    outputs = []
    for of_step in projected.view(*inputs.shape[:2], -1).unbind(dim=1):
        into, forget, new, out = torch.addmm(of_step, hidden, recurrent.t()).chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
        hidden = torch.sigmoid(out) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs, dim=1)


def ratios(ours: Seconds, other: Seconds, repeats: int) -> list[float]:
    """Return how much faster the other is than ours, of each turn."""
    return [ours() / other() for _ in range(repeats)]


def of_layers(updates: int, repeats: int, note: Callable[..., None]) -> None:
    """Compare torch's kernel of an LSTM with a loop over steps, plain and compiled."""
    for sizes in LAYERS:
        of_layer(*sizes, updates, repeats, note)


def of_layer(
    batch: int,
    inputs: int,
    units: int,
    steps: int,
    updates: int,
    repeats: int,
    note: Callable[..., None],
) -> None:
    """Compare as `of_layers`, at one size."""
    layer = nn.LSTM(inputs, units, batch_first=True)
    given = torch.randn(batch, steps, inputs, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(stepped, dynamic=False, fullgraph=True)

    def seconds(outputs: Callable[[], Tensor]) -> float:
        begin = time.perf_counter()
        for _ in range(updates):
            outputs().sum().backward()
        return time.perf_counter() - begin

    def kernel() -> float:
        return seconds(lambda: layer(given)[0])

    waited = seconds(lambda: compiled(given, *layer.parameters()))
    size = f"B {batch}, {inputs} inputs, H {units}, T {steps}"
    plain = ratios(kernel, lambda: seconds(lambda: stepped(given, *layer.parameters())), repeats)
    note("an LSTM layer", "a loop over steps", size, plain)
    faster = ratios(kernel, lambda: seconds(lambda: compiled(given, *layer.parameters())), repeats)
    note("an LSTM layer", "that loop compiled", size, faster, waited)


def of_loops(
    prepared: Prepared, plain: EncoderDecoder, other: EncoderDecoder, updates: int, repeats: int
) -> list[float]:
    """Return how much faster a bare loop is with another model than with ours, of each turn."""
    for model in (plain, other):
        bare_seconds(prepared, 3, model)  # warm-up
    return ratios(
        lambda: bare_seconds(prepared, updates, plain),
        lambda: bare_seconds(prepared, updates, other),
        repeats,
    )


def without_kernels(loss: Loss) -> Loss:
    """Return a loss that is computed without oneDNN, whose LSTM no compiler looks into."""

    def computed(batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.backends.mkldnn.flags(enabled=False):
            return loss(batch)

    return computed


def of_compiled_models(updates: int, repeats: int, note: Callable[..., None]) -> None:
    """Compare a bare loop with one whose loss is compiled, its LSTM layers too."""
    torch._dynamo.config.allow_rnn = True
    for model in (SMALL, LARGE):
        prepared = prepared_run([*model.overrides, "task.num_test=10"], updates, Path("unused"))
        plain, other = (build_model(prepared.config, prepared.task) for _ in range(2))
        torch.compiler.reset()
        other.loss = without_kernels(torch.compile(other.loss, dynamic=False))
        waited = bare_seconds(prepared, 3, other)
        turns = of_loops(prepared, plain, other, updates, repeats)
        size = f"B {model.batch_size}, H {model.hidden_size}, T {model.source} to {model.target}"
        note("the article's model", "its loss compiled", size, turns, waited)


def in_bfloat16(loss: Loss) -> Loss:
    """Return a loss that is computed as `training.precision=bfloat16` does."""

    def cast(batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(batch)

    return cast


def of_precision(updates: int, repeats: int, note: Callable[..., None]) -> None:
    """Compare a bare loop in float32 with one in bfloat16."""
    for width in WIDTHS:
        sizes = {"batch": 64, "width": width, "source": 20, "target": 20, "vocabulary": 50}
        for decoder in ("repeat_vector", "luong"):
            turns = of_losses(sizes, decoder, in_bfloat16, updates, repeats)
            note(f"`{decoder}`", "bfloat16", text_of(sizes), turns)


def of_losses(
    sizes: dict[str, int],
    decoder: str,
    otherwise: Callable[[Loss], Loss],
    updates: int,
    repeats: int,
) -> list[float]:
    """Return how much faster a bare loop is with another loss than with ours, of each turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.tsv"
        write_pairs(path, sizes)
        given = overrides(path, decoder, sizes)
        prepared = prepared_run(given, updates, Path(folder) / "outputs")
        plain, other = (build_model(prepared.config, prepared.task) for _ in range(2))
        other.loss = otherwise(other.loss)
        return of_loops(prepared, plain, other, updates, repeats)


def text_of(sizes: dict[str, int]) -> str:
    """Return the sizes of a model for the table."""
    length = f"T {sizes['source']} to {sizes['target']}"
    return f"B {sizes['batch']}, H {sizes['width']}, {length}"


def onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a linear map by an operator of torch's compiler; no gradient goes through it."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


class Product(torch.autograd.Function):
    """A linear map by oneDNN, forward and backward; torch gives that no gradient of its own."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the outputs (N, O) of inputs (N, I), a weight (O, I) and perhaps a bias (O)."""
        ctx.save_for_backward(inputs, weight)
        ctx.biased = bias is not None
        return onednn(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the gradients of the arguments."""
        (gradient,), (inputs, weight) = gradients, ctx.saved_tensors
        of_inputs = onednn(gradient, weight.t())
        of_weight = onednn(gradient.t(), inputs.t())
        return of_inputs, of_weight, gradient.sum(dim=0) if ctx.biased else None


def by_onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what torch.nn.functional.linear does, by oneDNN where that is worth a call."""
    rows = inputs.numel() // inputs.shape[-1]
    if rows * weight.numel() < WORTH_A_CALL:
        return LINEAR(inputs, weight, bias)
    made = Product.apply(inputs.reshape(rows, -1), weight, bias)
    return made.view(*inputs.shape[:-1], -1)


def with_products(loss: Loss) -> Loss:
    """Return a loss whose linear maps are by oneDNN."""

    def computed(batch: Batch) -> tuple[Tensor, Tensor]:
        nn.functional.linear = by_onednn
        try:
            return loss(batch)
        finally:
            nn.functional.linear = LINEAR

    return computed


def of_products(updates: int, repeats: int, note: Callable[..., None]) -> None:
    """Compare a bare loop with one whose matrix products are by oneDNN."""
    for width, vocabulary in ((128, 50), (256, 50), (256, 5_000)):
        sizes = {"batch": 64, "width": width, "source": 20, "target": 20, "vocabulary": vocabulary}
        turns = of_losses(sizes, "luong", with_products, updates, repeats)
        note("`luong`", "matrix products by oneDNN", f"{text_of(sizes)}, V {vocabulary:,}", turns)


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table in Markdown."""
    header = ["of", "in place of ours", "size", "ratio", "lowest to highest", "s until it begins"]
    names = ("of", "other", "size", "ratio", "range", "waited")
    return markdown(header, ([row[name] for name in names] for row in read_figures(figures)))


WAYS: dict[str, Callable[[int, int, Callable[..., None]], None]] = {
    "layers": of_layers,
    "compiled": of_compiled_models,
    "precision": of_precision,
    "products": of_products,
}


def main() -> None:
    """Measure and print; write the figures where that is asked for."""
    parser = script_parser(__doc__)
    parser.add_argument("--updates", type=positive, default=40, help="of a turn (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=5, help="turns of each (%(default)s)")
    parser.add_argument("--only", choices=WAYS, help="measure one of the ways (all)")
    parser.add_argument("--page", type=existing_file, help="write the figures into this page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the compiler
    rows: list[Row] = []

    def note(of: str, other: str, size: str, turns: list[float], waited: float = 0.0) -> None:
        middle, low, high = statistics.median(turns), min(turns), max(turns)
        row = {"of": of, "other": other, "size": size, "ratio": f"{middle:.2f}"}
        row |= {"range": f"{low:.2f} to {high:.2f}", "waited": f"{waited:.0f}" if waited else ""}
        print("  ".join(filter(None, row.values())), flush=True)
        rows.append(row)

    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # nothing has been compiled before
        for name, measure in WAYS.items():
            if arguments.only in (None, name):
                measure(arguments.updates, arguments.repeats, note)
    if arguments.page:
        if arguments.only:
            new = {row["other"] for row in rows}
            kept = read_figures(arguments.page.with_name(FIGURES))
            rows = [*(row for row in kept if row["other"] not in new), *rows]
        write_figures(arguments.page, FIGURES, rows, table, MARKS)


if __name__ == "__main__":
    main()
