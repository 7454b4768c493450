"""Write the pages of the documentation site: the chapters, and the lists that lead to them.

    python docs/pages.py FOLDER

Set-up cells and export directives are left out of the chapters, and links lead to pages of the
site.
"""

import ast
import json
import posixpath
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "nbs"
PACKAGE = ROOT / "credit_default"

# Markdown of the repository that is part of the site.
MARKDOWN = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "data/README.md",
    "reports/README.md",
)
# The packages in reading order, from what everything stands on to what uses it all.
PACKAGES = (
    "core",
    "portfolio",
    "data",
    "scoring",
    "evaluation",
    "training",
    "store",
    "serving",
    "monitoring",
    "reporting",
    "tracking",
    "face",
    "cli",
)
# The guides in the order of the front page; others follow by name.
GUIDES = ("tutorial", "python", "operation", "reasons", "mlflow")
LINK = re.compile(r"(!?\[[^\]\n]*\])\(([^)\s]+)\)")


def source(cell):
    """Return the text of a notebook's cell."""
    return "".join(cell["source"])


def target_of(link, page):
    """Return where a link in the file `page` leads on the site, or None where it leaves it."""
    path, hash_, anchor = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if path in ("README.md", "."):
        path = "nbs/index.ipynb"
    if path.startswith("nbs/images/") or (path.startswith("nbs/") and path.endswith(".ipynb")):
        if not (ROOT / path).exists():
            raise SystemExit(f"{page} links to {path}, which is not there")
        page = "overview.ipynb" if path == "nbs/index.ipynb" else path.removeprefix("nbs/")
        return page + hash_ + anchor
    return path + hash_ + anchor if path in MARKDOWN else None


def linked(text, page):
    """Return Markdown whose links lead to pages of the site; of other links the words are left."""

    def change(found):
        words, link = found.groups()
        if re.match(r"[a-z]+:|#", link):
            return found[0]
        target = target_of(link, page)
        if target is None:
            return words[1:-1]
        here = posixpath.dirname(page.removeprefix("nbs/"))
        return f"{words}({posixpath.relpath(target, here or '.')})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(change, part) for part in parts)


def chapter(path):
    """Return a notebook as the site shows it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    page, cells = path.relative_to(ROOT).as_posix(), []
    for cell in notebook["cells"]:
        text = source(cell)
        if re.search(r"^#\| *(hide|default_exp)\b", text, re.M):
            continue
        if cell["cell_type"] == "markdown":
            text = linked(text, page)
        else:
            text = re.sub(r"^#\|.*\n?", "", text, flags=re.M)
        cells.append({**cell, "source": text})
    return json.dumps({**notebook, "cells": cells}, ensure_ascii=False)


def in_order(folder):
    """Return a folder's notebooks in reading order, those of the folders in it last."""
    own = sorted(folder.glob("*.ipynb"))
    return own + [
        page for inner in sorted(folder.iterdir()) if inner.is_dir() for page in in_order(inner)
    ]


def toctree(pages, caption=""):
    """Return the directive that lists `pages`: in the sidebar alone where there is a caption."""
    options = f":caption: {caption}\n:hidden:\n" if caption else ""
    return "```{toctree}\n:maxdepth: 1\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def docstring(module):
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").split("\n")[0]


def chapter_list(target, name):
    """Write the list of the chapters in a folder, and of those in its folders; return its page."""
    folder = NOTEBOOKS / name
    pages = [page.stem for page in sorted(folder.glob("*.ipynb"))]
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and any(inner.glob("*.ipynb")):
            pages.append(posixpath.relpath(chapter_list(target, f"{name}/{inner.name}"), name))
    title = name.rpartition("/")[2]
    text = f"# {title}\n\n{docstring(PACKAGE / name / '__init__.py')}\n\n" + toctree(pages)
    (target / name / "index.md").write_text(text, encoding="utf-8")
    return f"{name}/index"


def chapter_lists(target):
    """Write a list of chapters for each package; return their pages."""
    return [chapter_list(target, name) for name in PACKAGES if (NOTEBOOKS / name).is_dir()]


def public_names():
    """Yield each public name of the package, with its module and the start of its docstring.

    Modules are read and not imported. A name is defined once in the package, which need not be
    where the package takes it from.
    """
    init = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    by_module = next(
        ast.literal_eval(node.value)
        for node in init.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_MODULES"
    )
    names = {name for module_names in by_module.values() for name in module_names}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names:
                text = (ast.get_docstring(node) or "").split("\n\n")[0]
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                yield node.name, module, " ".join(text.split()).split(". ")[0].rstrip(".") + "."


def python_api(folder):
    """Write the page of the names that `import credit_default as cd` offers; return the page."""
    text = (
        "# Python API\n\nThe names that `import credit_default as cd` offers. The "
        "[Python guide](../guides/python.ipynb) shows them in use. All other modules are listed "
        "below by package; their names may change between versions.\n\n"
    )
    functions, classes, errors = [], [], []
    for name, module, summary in sorted(public_names(), key=lambda row: row[0].lower()):
        row = f"| {{py:obj}}`cd.{name} <{module}.{name}>` | {summary} |\n"
        is_error = name.endswith("Error") or name in ("InvalidInput", "Unavailable")
        (functions if name[0].islower() else errors if is_error else classes).append(row)
    for title, rows in (("Functions", functions), ("Classes", classes), ("Errors", errors)):
        text += f"## {title}\n\n| Name | |\n|---|---|\n{''.join(rows)}\n"
    (folder / "index.md").write_text(text, encoding="utf-8")
    return "reference/index"


def reference(target):
    """Write the page of the public names and one for each package; return the pages."""
    folder = target / "reference"
    folder.mkdir()
    pages = [python_api(folder)]
    for name in PACKAGES:
        modules = [
            path
            for path in sorted((PACKAGE / name).rglob("*.py"))
            if not path.name.startswith("__") and "migrations" not in path.parts
        ]
        if not modules:
            continue
        text = f"# credit_default.{name}\n\n"
        for path in modules:
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            text += f"## {dotted.removeprefix('credit_default.')}\n\n"
            text += f"```{{eval-rst}}\n.. automodule:: {dotted}\n   :members:\n```\n\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        pages.append(f"reference/{name}")
    return pages


def write_pages(target):
    """Write all pages into the folder `target`, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        page = target / path.relative_to(NOTEBOOKS)
        if path.parent == NOTEBOOKS / "reports" or ".ipynb_checkpoints" in path.parts:
            continue  # templates: they say nothing before they are run
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(chapter(path), encoding="utf-8")
    shutil.copytree(NOTEBOOKS / "images", target / "images")
    for name in MARKDOWN:
        page = target / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(linked((ROOT / name).read_text(encoding="utf-8"), name), encoding="utf-8")
    front = (ROOT / "docs" / "front.md").read_text(encoding="utf-8")
    guides = sorted(
        (
            page.relative_to(NOTEBOOKS).with_suffix("").as_posix()
            for page in in_order(NOTEBOOKS / "guides")
        ),
        key=lambda page: [f"guides/{name}" != page for name in GUIDES],
    )
    chapter_pages = chapter_lists(target)
    chapters = [*chapter_pages, *(["service"] if (NOTEBOOKS / "service.ipynb").exists() else [])]
    front += "\n| Chapters | |\n|---|---|\n"
    for page in chapter_pages:
        name = page.split("/")[0]
        front += f"| [{name}]({page}.md) | {docstring(PACKAGE / name / '__init__.py')} |\n"
    front += "\n" + toctree(["Overview <overview>", *guides], "Guides")
    front += "\n" + toctree(chapters, "Chapters")
    front += "\n" + toctree(reference(target), "Reference")
    front += "\n" + toctree([name.removesuffix(".md") for name in MARKDOWN], "Project")
    (target / "index.ipynb").rename(target / "overview.ipynb")
    (target / "index.md").write_text(front, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_pages(Path(sys.argv[1]))
