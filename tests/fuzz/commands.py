"""Command lines at random: real settings of conf/, with values that nobody should give."""

from __future__ import annotations

from functools import cache
from random import Random

from omegaconf import DictConfig

from decoderlab.common.folders import conf_dir
from tests.conftest import composed, variants

# A run that is prepared in a moment.
QUICK = (
    "task=echo",
    "task.num_train=100",
    "task.num_validation=10",
    "task.num_test=10",
    "encoder.hidden_size=4",
    "decoder.hidden_size=4",
)
SCALARS = (
    *(
        "null",
        "true",
        "false",
        "nan",
        "-inf",
        "inf",
        "1e400",
        "-1e400",
        "0",
        "-1",
        "-0.0",
        "1e-320",
    ),
    *(
        "0.5",
        "1.5",
        "3",
        "2147483648",
        "9223372036854775808",
        "99999999999999999999999999",
        "1_000",
    ),
    *("''", '""', "' '", "x", "'a b'", "ä", "'a,b'", "'a=b'", "0x10", "01", "1e3", "???", "None"),
    *(
        "'\\''",
        "'\ud800'",
        "\udcff",
        "'\x1b[31mred'",
        "'\x07'",
        "'\u202e'",
        "'\n'",
        "'\t'",
        "'\x00'",
    ),
    *("../../x", "/etc/passwd", "~", "-x", ".", "..", "CON", "'<script>'", "'| _ & $'", "=1", "%s"),
    *("{}".format("y" * 300), "'" + "z" * 5000 + "'", "12:30:00", "2020-01-01", "0.1.2", "1/2"),
    *(
        "${seed}",
        "${no.such}",
        "${oc.env:HOME}",
        "${oc.env:NO_SUCH}",
        "${decoder}",
        "${",
        "$",
        "${}",
    ),
    *("${oc.decode:x}", "${oc.create:{a:1}}", "${no_resolver:1}", "${.}", "${..}", "${hydra:job}"),
)
NESTED = (
    *(
        "[]",
        "{}",
        "[null]",
        "[1,2]",
        "[1e400]",
        "[[[]]]",
        "{a:1}",
        "{a:{b:[null]}}",
        "[{}]",
        "{1:2}",
    ),
    *("{null:1}", "[x,[y,{z:null}]]", "['']", "{'':1}", "{_target_:null}", "{_target_:os.system}"),
    *(
        "{_target_:decoderlab.no.Such}",
        "{_target_:1}",
        "{_target_:[]}",
        "[true,1.5]",
        "{_args_:[1]}",
    ),
    *(
        "{_target_:builtins.dict}",
        "{_target_:decoderlab.encoders.RecurrentEncoder}",
        "{_partial_:true}",
    ),
    *("[" * 60 + "]" * 60, "{a:" * 40 + "1" + "}" * 40, "[" + "1," * 500 + "1]", "{true:false}"),
    *("[${seed}]", "{a:${no}}", "[echo,copy]", "[none]", "{_recursive_:false}", "{defaults:[x]}"),
)
SWEEPS = (
    *(
        "1,2",
        "choice(1,2)",
        "choice()",
        "range(0,3)",
        "range(3,0)",
        "range(0,1,0)",
        "range(0,1e400)",
    ),
    *("range(0,99999999)", "interval(0,1)", "shuffle(1,2)", "sort(2,1)", "tag(a,1,2)", "glob(*)"),
    *(
        "choice(1,2),3",
        "int(x)",
        "float(y)",
        "str([1])",
        "bool(2)",
        "json_str(x)",
        "extend_list(1)",
    ),
    *(
        "[1],[2]",
        "{a:1},{a:2}",
        ",",
        "1,,2",
        "range(0,nan)",
        "range(0,2),range(3,4)",
        "interval(1,0)",
    ),
)
BROKEN = (
    *(
        "",
        "=",
        "==",
        "a",
        "~",
        "+",
        "++",
        "~~x",
        "a=",
        "=b",
        "a==b",
        "a.=1",
        ".a=1",
        "a..b=1",
        "@=1",
    ),
    *("a@=1", "@b=1", "a@b@c=1", "a@:b=1", "[=1", "a=[", "a={", "a='", 'a="', "a=)", "a=(", "a=]"),
    *(
        "a b=1",
        "ä=1",
        "\ud800=1",
        "\x1b=1",
        "seed=0 1",
        "seed = 1",
        " seed=1",
        "seed=1 ",
        "--x",
        "-",
    ),
    *(
        "--multirun",
        "-m",
        "--config-name=x",
        "--config-name=study/adhoc",
        "--package=task",
        "--info",
    ),
    *(
        "--config-dir=/no/such",
        "--config-dir=/etc/passwd",
        "-c=job",
        "--resolve",
        "--cfg=job",
        "-cd",
    ),
    *("--experimental-rerun=x", "--config-path=/", "--run", "--hydra-help", "--version", "-p=x"),
)
MODES = ("single", "single", "single", "sweep", "study")


@cache
def settings() -> tuple[str, ...]:
    """Return the dotted names of all settings of some configs."""
    names: set[str] = set()
    for given in ([], ["decoder=luong", "task=tsv"], ["encoder=cnn", "decoder=transformer"]):
        config = composed(*given)
        names |= {name for name in _names(config) if not name.startswith("hydra")}
    more = ("hydra.mode", "hydra.launcher.jobs", "hydra.launcher.time_limit_seconds")
    more += (
        "hydra.sweeper.params",
        "hydra.sweeper.max_batch_size",
        "hydra.run.dir",
        "hydra.job.chdir",
    )
    more += ("hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.name")
    return (*sorted(names), *more)


def _names(config: DictConfig, parent: str = "") -> list[str]:
    names = []
    for key in config:
        name = f"{parent}{key}"
        names.append(name)
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            names += _names(node, f"{name}.")
    return names


@cache
def groups() -> tuple[str, ...]:
    """Return all config groups."""
    root = conf_dir()
    return tuple(sorted({str(path.parent.relative_to(root)) for path in root.glob("*/**/*.yaml")}))


def value(random: Random) -> str:
    """Return a value."""
    return random.choice(random.choice((SCALARS, SCALARS, NESTED, SWEEPS)))


def word(random: Random) -> str:
    """Return one word of a command line."""
    kind = random.random()
    prefix = random.choice(("", "", "", "", "+", "++", "~"))
    if kind < 0.45:
        name = random.choice(settings())
        if random.random() < 0.1:
            name += random.choice((".x", ".0", "[0]", ".", "@x", ".hidden_size"))
        return _joined(prefix, name, value(random), random)
    if kind < 0.75:
        group = random.choice(groups())
        options = variants(group)
        package = random.choice(("", "", "", "@_global_", "@x", "@task", "@task.metrics.x", "@:x"))
        chosen = random.choice((value(random), random.choice(options)))
        if random.random() < 0.2:
            chosen = f"[{random.choice(options)},{random.choice(options)}]"
        return _joined(prefix, group + package, chosen, random)
    if kind < 0.85:
        name = random.choice(
            ("task", "seed", "study", "x", "a.b", "run", "trainer", "paper", "choices")
        )
        return _joined(prefix, name, value(random), random)
    return random.choice(BROKEN)


def _joined(prefix: str, name: str, given: str, random: Random) -> str:
    if prefix == "~" and random.random() < 0.5:
        return f"~{name}"
    return f"{prefix}{name}={given}"


def command_line(random: Random) -> list[str]:
    """Return the words of a command line, mostly with one that is wrong."""
    words = list(QUICK) if random.random() < 0.8 else ["task=echo"]
    mode = random.choice(MODES)
    if mode == "sweep":
        words = ["-m", *words, "seed=0,1"]
    if mode == "study":
        words = [
            f"study={random.choice(('task_echo', 'task_copy', 'adhoc'))}",
            *QUICK[1:],
            "seed=0",
        ]
        words += ["-m"] if random.random() < 0.3 else []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        words.insert(random.randrange(len(words) + 1), word(random))
    return [one.replace("\x00", "\\0") for one in words]
