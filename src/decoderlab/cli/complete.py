"""decoderlab-complete: completion of all decoderlab commands in bash, zsh and fish.

Options, config groups, the names in them, settings, runs and studies are completed.

Examples:
  decoderlab-complete --install             (for your shell, active in new shells)
  decoderlab-complete --install zsh
  eval "$(decoderlab-complete bash)"        (for the current bash only)

With --install the script lies in ~/.local/share/decoderlab, and a line in ~/.bashrc or ~/.zshrc
reads it; fish reads ~/.config/fish/conf.d/decoderlab.fish by itself. To undo it, delete them.
"""

# What completes is called at every tab key: nothing that takes long is imported here.
from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from decoderlab.common.escapes import visible
from decoderlab.common.folders import conf_dir, group_yamls

SHELLS = ("bash", "zsh", "fish")
DEFAULT_OUTPUTS = "outputs"
BREAKS = re.compile("[=:]+")  # bash makes words of their own of these
# What means something to bash, which puts an offer into the line as it is; the others quote it.
ACTS = re.compile(r"[^\w@%+=:,./\[\]{}~-]")
# Of Hydra's own parser, for decoderlab-train and -plan.
HYDRA = (
    "--help", "--hydra-help", "--multirun", "-m", "--config-dir", "--cfg", "-c", "--resolve",
    "--package", "--info", "--version",
)  # fmt: skip
SCHEMA_SECTIONS = (
    "encoder", "decoder", "task", "training", "evaluation", "run", "trainer", "budget", "study",
)  # fmt: skip
YAML_KEY = re.compile(r"^( *)([A-Za-z]\w*):(.*)")

BASH = """\
_decoderlab_complete() {
    mapfile -t COMPREPLY < <(EXECUTABLE --words bash "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null)
    case "${COMPREPLY[0]}" in *[=./]) compopt -o nospace 2>/dev/null ;; esac
}
complete -o default -F _decoderlab_complete COMMANDS
"""
ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_decoderlab_complete() {
    local -a given
    given=("${(@f)$(EXECUTABLE --words zsh "$((CURRENT - 1))" "${words[@]}" 2>/dev/null)}")
    given=("${(@)given:#}")
    (( $#given )) || { _files; return; }
    compadd -S '' -- "${(@M)given:#*[=./]}"
    compadd -- "${(@)given:#*[=./]}"
}
compdef _decoderlab_complete COMMANDS
"""
FISH = """\
function _decoderlab_complete
    set -l before (commandline -opc)
    EXECUTABLE --words fish (count $before) $before (commandline -ct) 2>/dev/null
end
for name in COMMANDS
    complete -c $name -a '(_decoderlab_complete)'
end
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main() -> None:
    """Run the command line and leave with its exit code."""
    if sys.argv[1:2] == ["--words"]:
        _offer(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="decoderlab-complete",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shell", nargs="?", choices=SHELLS, help="print the completion script of this shell"
    )
    parser.add_argument(
        "--install",
        nargs="?",
        metavar="SHELL",
        const=Path(os.environ.get("SHELL", "")).name,
        help="install it for a shell (default: that of $SHELL)",
    )
    arguments = parser.parse_args()
    if arguments.install is not None and arguments.install not in SHELLS:
        parser.error(f"the shell is {arguments.install!r}; give --install bash, zsh or fish")
    if arguments.install is None and arguments.shell is None:
        parser.error("give the name of a shell, or --install")
    try:
        if arguments.install is not None:
            try:
                home = Path.home()
            except RuntimeError:
                parser.exit(2, "error: there is no home folder; set HOME to the folder of yours\n")
            print(install_completion(arguments.install, home), flush=True)  # noqa: T201
        else:
            print(script(arguments.shell), end="", flush=True)  # noqa: T201
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where what was not printed goes at the end
        parser.exit(1, f"error: {visible(str(error))}\n")


def _offer(shell: str = "", index: str = "", *words: str) -> None:
    """Print what a word can become; nothing where no shell asks."""
    with suppress(OSError, RuntimeError):  # a folder that is not there, or a home of nobody's
        if shell in SHELLS and re.fullmatch("[0-9]{1,4}", index):
            offered = completions(shell, int(index), [*words])
            print("".join(f"{word}\n" for word in offered), end="", flush=True)  # noqa: T201


def script(shell: str) -> str:
    """Return what a shell reads to complete our commands."""
    command = [str(Path(sys.argv[0]).absolute())]
    if command[0].endswith(".py"):  # python -m decoderlab.cli.complete
        command = [sys.executable, "-P", "-m", "decoderlab.cli.complete"]
    executable = shlex.join(command)
    names = " ".join(f"decoderlab-{path.stem}" for path in _modules())
    return SCRIPTS[shell].replace("EXECUTABLE", executable).replace("COMMANDS", names)


def install_completion(shell: str, home: Path) -> str:
    """Write the script where a shell reads it, and return what was done.

    Args:
        shell: one of `SHELLS`.
        home: the folder of the shell's own files.
    """
    if shell == "fish":
        path, start = home / ".config" / "fish" / "conf.d" / "decoderlab.fish", None
    else:
        path = home / ".local" / "share" / "decoderlab" / f"complete.{shell}"
        start = home / f".{shell}rc"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(shell))
    if start is None:
        return f"{path} is written; fish completes from the next shell on"
    line = f"source {shlex.quote(str(path))}  # decoderlab-complete"
    before = start.read_bytes() if start.exists() else b""
    if os.fsencode(line) not in before.splitlines():
        end = b"" if before[-1:] in (b"", b"\n") else b"\n"
        with start.open("ab") as file:  # added: a full disk then takes nothing of what was there
            file.write(end + os.fsencode(line) + b"\n")
    return f"{path} is written, and {start} reads it; {shell} completes from the next shell on"


def completions(shell: str, index: int, words: list[str]) -> list[str]:
    """Return what the word at an index of a command line can become, in what a shell replaces.

    Example:
        >>> completions("bash", 3, ["decoderlab-train", "decoder", "=", "luong_i"])
        ['luong_input_feeding']
        >>> completions("zsh", 1, ["decoderlab-train", "decoder=luong_i"])
        ['decoder=luong_input_feeding']
    """
    words = [*words[: index + 1], *[""] * (index + 1 - len(words))]
    current = "" if BREAKS.fullmatch(words[-1]) else words[-1]
    if shell == "bash":
        words = _joined(words)
    *before, word = words
    replaced = len(word) - len(current)
    command = Path(before[0]).name.removeprefix("decoderlab-") if before else ""
    offered = sorted(set(_offered(command, before, word)))
    fitting = [choice for choice in offered if choice.startswith(word)]
    return [_quoted(shell, choice[replaced:]) for choice in fitting if choice == visible(choice)]


def _quoted(shell: str, text: str) -> str:
    """Return a text as a shell has to be given it: a name in a folder may be a command."""
    return ACTS.sub(r"\\\g<0>", text) if shell == "bash" else text


def _joined(words: list[str]) -> list[str]:
    """Return words as they were typed, `=` and `:` no longer apart."""
    joined: list[str] = []
    for number, word in enumerate(words):
        broken = number > 1 and (BREAKS.fullmatch(word) or BREAKS.fullmatch(words[number - 1]))
        if broken:
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _offered(command: str, before: list[str], word: str) -> Iterable[str]:
    """Return what may stand at the end of a command line; what does not fit is left out later."""
    options = dict(_options(command))
    if word.startswith("-"):
        return options
    if before and (choices := options.get(before[-1])):
        return choices
    match command:
        case "train" | "plan" | "check":
            return _settings(before, word)
        case "evaluate" | "predict" | "export":
            return _runs(word)
        case "report" | "status":
            return _studies(_output_dir(before))
        case "schema":
            return _groups(_folders(before))
        case "complete":
            return SHELLS
    return ()


def _modules() -> list[Path]:
    """Return the files of the commands."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [path for path in files if "\ndef main()" in path.read_text()]


def _options(command: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the options of a command with their choices, as they stand in its source."""
    folder = Path(__file__).parent
    path = folder / f"{command}.py"
    if not command.isalpha() or not path.is_file():
        return
    trees = [ast.parse(path.read_text())]
    if re.search(r"^from decoderlab\.cli\.app import .*run_parser", path.read_text(), re.MULTILINE):
        trees.append(ast.parse((folder / "app.py").read_text()))
    if command in ("train", "plan"):
        yield from ((option, []) for option in HYDRA)
    yield "--help", []
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="add_argument"), args=[*names], keywords=keywords
            ):
                choices = [item for keyword in keywords for item in _choices(keyword)]
                switches = any(_switches(keyword) for keyword in keywords)
                for name in names:
                    if isinstance(name, ast.Constant) and str(name.value).startswith("-"):
                        yield str(name.value), choices
                        if switches:
                            yield str(name.value).replace("--", "--no-", 1), choices
            case ast.Constant(value=str(text)) if command == "plan" and text.startswith("--"):
                if re.fullmatch(r"--[a-z]+", text):
                    yield text, []


def _switches(keyword: ast.keyword) -> bool:
    """Whether an option can be taken back: --no-option."""
    match keyword:
        case ast.keyword(arg="action", value=ast.Attribute(attr="BooleanOptionalAction")):
            return True
    return False


def _choices(keyword: ast.keyword) -> list[str]:
    match keyword:
        case ast.keyword(arg="choices", value=ast.Tuple(elts=elements)):
            return [str(item.value) for item in elements if isinstance(item, ast.Constant)]
        case ast.keyword(arg="choices", value=ast.Name(id="SHELLS")):
            return list(SHELLS)
    return []


def _settings(before: list[str], word: str) -> Iterator[str]:
    """Yield settings, and with their names the values that groups have."""
    folders = _folders(before)
    name, equals, value = word.partition("=")
    sign = re.match(r"[+~]*", name)
    signs = sign[0] if sign else ""
    if equals:
        group = name.removeprefix(signs).partition("@")[0]
        begun = value[: value.rfind(",") + 1] or value[: value.startswith("[")]
        yield from (f"{name}={begun}{chosen}" for chosen in _names(folders, group))
    elif "." in name:
        group = name.removeprefix(signs).partition(".")[0]
        yield from (f"{signs}{key}=" for key in _keys(folders, group))
    else:
        yield from (f"{signs}{group}=" for group in _groups(folders))
        yield from (f"{signs}{section}." for section in SCHEMA_SECTIONS)
        yield f"{signs}seed="


def _keys(folders: list[Path], group: str) -> Iterator[str]:
    """Yield the settings in the YAMLs of a group, by their dotted names."""
    for folder in folders:
        for path in (folder / group).glob("**/*.yaml"):
            # Not of a part: decoder/bridge/mean.yaml.
            if path.parent.name not in (group, "base") or not path.is_file():
                continue
            if "# @package _global_" in (text := path.read_text(errors="replace")):
                continue
            above: list[tuple[int, str]] = []
            for line in text.splitlines():
                if (key := YAML_KEY.match(line)) is None or key[2] == "defaults":
                    continue
                above = [(depth, name) for depth, name in above if depth < len(key[1])]
                above.append((len(key[1]), key[2]))
                yield ".".join([group, *(name for _, name in above)])


def _folders(before: list[str]) -> list[Path]:
    """Return the folders of YAMLs: ours, and those given as --config-dir."""
    return [conf_dir(), *(Path(given).expanduser() for given in _given(before, "--config-dir"))]


def _given(before: list[str], option: str) -> list[str]:
    """Return what an option was given."""
    pairs = zip(before, before[1:], strict=False)
    apart = [after for word, after in pairs if word == option]
    return apart + [word.partition("=")[2] for word in before if word.startswith(f"{option}=")]


def _groups(folders: list[Path]) -> set[str]:
    return {
        group
        for folder in folders
        for group, path in group_yamls(folder)
        if path.parent != folder and path.parent.name != "base"
    }


def _names(folders: list[Path], group: str) -> list[str]:
    if not re.fullmatch(r"\w+(/\w+)*", group):
        return []
    return [path.stem for folder in folders for path in (folder / group).glob("*.yaml")]


def _output_dir(before: list[str]) -> Path:
    return Path([DEFAULT_OUTPUTS, *_given(before, "--output-dir")][-1]).expanduser()


def _runs(word: str) -> list[str]:
    """Return the folders of runs below the folder that is begun, or below outputs."""
    folder = word.rpartition("/")[0]
    if "outputs/runs/".startswith(word):
        folder = "outputs/runs"
    if Path(folder).name != "runs" or not Path(folder).expanduser().is_dir():
        return []
    entries = os.scandir(Path(folder).expanduser())
    return [f"{folder}/{entry.name}" for entry in entries if entry.is_dir()]


def _studies(output_dir: Path) -> list[str]:
    root = output_dir / "studies"
    plans = [*root.glob("*/plan.json"), *root.glob("*/*/plan.json")]
    return [path.parent.relative_to(root).as_posix() for path in plans]


if __name__ == "__main__":
    main()
