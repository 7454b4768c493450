"""Configure the documentation site, which `make docs` builds of the pages that pages.py writes."""

import re
from configparser import ConfigParser
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.domains.python import PyObject

ROOT = Path(__file__).resolve().parents[1]
settings = ConfigParser(delimiters=["="], interpolation=None)
settings.read(ROOT / "settings.ini", encoding="utf-8")
settings = settings["DEFAULT"]

project = "credit_default"
author = settings["author"]
copyright = settings["copyright"]  # noqa: A001  Sphinx's name for it
release = version = settings["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
nb_execution_mode = "off"  # the chapters keep the outputs that teach, and `make test` runs them
nb_output_stderr = "remove"
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # a chapter may begin with a heading of the third level
    "ref.python",  # the n of a shape (n,) is no reference to an attribute n
]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes as a list: a page each would have many of one name
add_module_names = False

# Nothing is fetched, neither while building nor by a reader's browser.
html_theme = "furo"
html_title = f"credit_default {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"  # furo's own underlines each module name
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"
templates_path = []
exclude_patterns = []


def inline_math(writer, node):
    """Write a formula within a line as MathML, which browsers draw without a script."""
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(writer, node):
    """Write a formula of its own as MathML."""
    writer.body.append(f"<div>{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>")
    raise nodes.SkipNode


def markdown_docstring(app, what, name, obj, options, lines):
    """Make reStructuredText of a docstring's Markdown: `code`, and no other markup.

    A value that is returned may be described in a sentence with `code` in it, which cannot stand in
    the italics of a type.
    """
    text = re.sub(r"^(:returns: )\*(.*)\*$", r"\1\2", "\n".join(lines), flags=re.M)
    parts = re.split(r"(``?[^`\n]+``?)", text)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"``{part.strip('`')}``"
        else:
            parts[i] = re.sub(r"(?<!\\)([*|])", r"\\\1", part)
            parts[i] = re.sub(r"(\w)_(?=\W|$)", r"\1\\_", parts[i])
    lines[:] = "".join(parts).split("\n")


def setup(app):
    """Register the renderer of formulas and the reading of docstrings."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # "Variables" otherwise
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", markdown_docstring)
