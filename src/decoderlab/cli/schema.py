"""decoderlab-schema: write JSON Schemas of all YAMLs, for completion and checks in an editor.

Types, ranges, defaults, names and descriptions are taken from the classes. Your own classes and
YAMLs are included with --config-dir; write the schemas again after adding one of them.

Examples:
  decoderlab-schema                                      (the groups that have one)
  decoderlab-schema decoder/bridge                       (print that of a group)
  decoderlab-schema --to schemas                         (all of them, and vscode.json)
  decoderlab-schema --to schemas --config-dir my_conf my_conf/study/mine.yaml
                                                         (and the line in it that editors know)

vscode.json has the setting yaml.schemas for the YAML extension of VS Code; put it into
.vscode/settings.json of your folder. Editors with yaml-language-server read the line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from decoderlab.cli.app import guarded
from decoderlab.common.bounded_reading import read_text
from decoderlab.common.errors import ConfigError
from decoderlab.common.escapes import terminal_line
from decoderlab.common.folders import add_to_path, check_own_folder, conf_dir
from decoderlab.common.require import did_you_mean
from decoderlab.common.safe_names import inside

if TYPE_CHECKING:
    from decoderlab.config.group_schemas import GroupSchemas

SCHEMA_LINE = "# yaml-language-server: $schema="
WHOLE = "train"  # of YAMLs of several groups


def main() -> None:
    """Run the command line and leave with its exit code."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-schema",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        nargs="*",
        metavar="GROUP or YAML",
        help="a config group to print, or with --to your YAMLs to add the line to",
    )
    parser.add_argument(
        "--to", metavar="FOLDER", help="write the schemas of all groups to this folder"
    )
    parser.add_argument("--config-dir", help="folder of your own YAMLs and classes")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: _run(arguments)))


def _run(arguments: argparse.Namespace) -> int:
    folders = [conf_dir()]
    if arguments.config_dir is not None:
        folders.append(Path(check_own_folder("--config-dir", arguments.config_dir)))
        add_to_path(arguments.config_dir)
    from decoderlab.config.group_schemas import GroupSchemas

    schemas = GroupSchemas(folders)
    groups = [*schemas.groups, WHOLE]
    if arguments.to is None:
        for group in arguments.what:
            if group not in groups:
                raise ConfigError(
                    f"{group} is not a config group; there are {', '.join(groups)}. For the line "
                    f"in a YAML, give --to FOLDER.{did_you_mean(group, groups)}"
                )
            print(json.dumps(schemas.of_group(group), indent=2))  # noqa: T201
        if not arguments.what:
            print("\n".join(groups))  # noqa: T201
        return 0
    headed = [(Path(given), group_of_yaml(Path(given), groups)) for given in arguments.what]
    folder = Path(arguments.to)
    for path in _write(schemas, groups, folder):
        print(terminal_line(path))  # noqa: T201
    for path, group in headed:
        write_line(path, folder / schema_name(group))
        print(terminal_line(path))  # noqa: T201
    return 0


def schema_name(group: str) -> str:
    """Return the name of the file with a group's schema."""
    return f"{group.replace('/', '.')}.json"


def _write(schemas: GroupSchemas, groups: list[str], folder: Path) -> list[Path]:
    """Write all schemas, and the setting that says which YAMLs each is for; return the files."""
    from decoderlab.records.run_folder import write_text

    written = []
    for group in groups:
        written.append(inside(folder, schema_name(group)))
        write_text(written[-1], json.dumps(schemas.of_group(group)) + "\n")
    below = folder.resolve().is_relative_to(Path.cwd())
    where = f"./{os.path.relpath(folder)}" if below else str(folder.resolve())
    globs = {
        f"{where}/{schema_name(group)}": [f"**/{group}/*.yaml", f"**/{group}/base/*.yaml"]
        for group in schemas.groups
    }
    globs[f"{where}/{schema_name(WHOLE)}"] = ["**/conf/train.yaml"]
    written.append(inside(folder, "vscode.json"))
    write_text(written[-1], json.dumps({"yaml.schemas": globs}, indent=2) + "\n")
    return written


def group_of_yaml(path: Path, groups: list[str]) -> str:
    """Return the group that a YAML is of, by the folders that it lies in.

    Raises:
        ConfigError: if there is no such YAML, or its folders are no group.
    """
    if path.suffix != ".yaml" or not path.is_file():
        raise ConfigError(f"{path} is not a YAML that is there; give the path of yours")
    if path.is_symlink():
        raise ConfigError(f"{path} is a link; give the path of the YAML itself: {path.resolve()}")
    folders = [name for name in path.resolve().parent.parts if name != "base"]
    for length in (2, 1):
        if (group := "/".join(folders[-length:])) in groups:
            return group
    raise ConfigError(
        f"{path} is in no folder of a config group; the groups are {', '.join(groups)}"
    )


def write_line(path: Path, schema: Path) -> None:
    """Write the line that editors know into a YAML, in lieu of such a line.

    It is the first behind Hydra's own header (`# @package ...`), which no comment may precede.
    """
    from decoderlab.records.run_folder import write_text

    relative = os.path.relpath(schema.resolve(), path.resolve().parent)
    text = re.sub(rf"^{re.escape(SCHEMA_LINE)}.*\n", "", read_text(path), flags=re.MULTILINE)
    line = f"{SCHEMA_LINE}{Path(relative).as_posix()}\n"
    header = r"\A(?:[ \t]*(?:#[ \t]*@.*)?\n)*"
    write_text(path, re.sub(header, lambda header_lines: header_lines[0] + line, text))


if __name__ == "__main__":
    main()
