"""Settings of Sphinx, which builds these pages: make docs."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from decoderlab.config.settings_reference import settings_reference

logger = logging.getLogger(__name__)

project = "decoderlab"
author = copyright = "the decoderlab authors"  # noqa: A001
release = version = version_of("decoderlab")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["studies/*/figures"]
html_theme = "furo"
html_title = "decoderlab"
html_copy_source = False
# Everything is in the wheels that were installed: a build fetches nothing.
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
# Reports are rendered by decoderlab, and have a heading of their own below each table.
suppress_warnings = ["myst.header"]

default_role = "code"
napoleon_custom_sections = [("Shapes", "params_style"), "Paper", "Differs", "Source"]
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}


LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")
DOCS = Path(__file__).parent


def setup(app: Sphinx) -> None:
    """Write the page of settings, and read links to files outside these pages as plain text."""
    page = settings_reference(DOCS.parent / "conf")
    (DOCS / "reference" / "settings.md").write_text(page)
    app.connect("source-read", leave_out)


def leave_out(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace links to files outside docs/, which the site has not, by their words."""
    folder = (DOCS / name).parent

    def words(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if not target.exists():
            logger.warning("%s links to %s, which does not exist", name, link[2])
        return link[0] if target.is_relative_to(DOCS) else link[1]

    content[0] = LINK.sub(words, content[0])
