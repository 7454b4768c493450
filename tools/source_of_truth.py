"""Report where notebooks and modules disagree, and change neither.

nbdev_export and nbdev_clean run in a temporary copy, which is then compared with the checkout. In
the checkout itself, they would erase the very edit that this tool must find, and report success.
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Under the package, but no notebook's: the schema's history, and a package's docstring.
HAND_WRITTEN = re.compile(r"store/migrations/|.*/__init__\.py$")

# Exported as they stand first: a notebook that lacks cell ids gets random ones on cleaning, and
# export writes them down.
EXPORT_AND_CLEAN = """
from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export
nbdev_export()
nbdev_clean()
"""


def folders(root):
    "Return the folders of the package and of the notebooks, from settings.ini."
    settings = ConfigParser(delimiters=["="], interpolation=None)
    settings.read(root / "settings.ini", encoding="utf-8")
    return root / settings["DEFAULT"]["lib_path"], root / settings["DEFAULT"]["nbs_path"]


def files(folder, pattern):
    "Return relative path -> content of the files that nbdev would consider under `folder`."
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob(pattern))}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not any(part.startswith((".", "_")) for part in name.split("/")[:-1])
    }


def modules(package):
    "Return the modules of `package` that notebooks export."
    return {
        name: text for name, text in files(package, "*.py").items() if not HAND_WRITTEN.match(name)
    }


def source_of(text):
    "Return the notebook that the header of module `text` names, if any."
    named = re.search(rb"File to edit: (?:\.\./)*(\S+\.ipynb)", text)
    return named.group(1).decode() if named else None


def first_differences(exported, found, limit=8):
    "Return the first lines that differ, indented: - as exported, + as found."
    lines = difflib.unified_diff(
        exported.decode(errors="replace").splitlines(),
        found.decode(errors="replace").splitlines(),
        lineterm="",
        n=0,
    )
    return "".join(
        f"\n    {line}"
        for line in [line for line in lines if not line.startswith(("---", "+++"))][:limit]
    )


def exported_and_cleaned(root, copy):
    """Run nbdev on `copy`, made of the notebooks and hand-written modules of `root`; its complaint,
    or None.
    """
    package, notebooks = folders(root)
    shutil.copy(root / "settings.ini", copy)
    for folder in (package, notebooks):
        shutil.copytree(
            folder,
            copy / folder.relative_to(root),
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    # A module that no notebook exports any more must not survive in the copy.
    for name in modules(package):
        if name != "__init__.py":
            (copy / package.relative_to(root) / name).unlink()
    # With IN_TEST set, as inside nbdev_test, nbdev_export silently does nothing; and nobody's own
    # settings count here.
    environment = {key: value for key, value in os.environ.items() if key != "IN_TEST"}
    done = subprocess.run(
        [sys.executable, "-c", EXPORT_AND_CLEAN],
        cwd=copy,
        capture_output=True,
        text=True,
        env=environment | {"XDG_CONFIG_HOME": str(copy / ".config")},
    )
    return f"nbdev failed on the notebooks:\n{done.stderr[-2000:]}" if done.returncode else None


def problems(root=ROOT):
    "Return a message for each file under `root` that differs from what nbdev makes."
    package, notebooks = folders(root)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        failure = exported_and_cleaned(root, copy)
        if failure:
            return [failure]
        expected = modules(copy / package.relative_to(root))
        clean = files(copy / notebooks.relative_to(root), "*.ipynb")
    found = modules(package)
    messages = []
    for name, text in files(notebooks, "*.ipynb").items():
        path = (notebooks / name).relative_to(root)
        if text != clean[name]:
            messages.append(
                f"{path} is not clean (execution counts, metadata, cell ids or layout). "
                f"Run `nbdev_clean --fname {path}`.{first_differences(clean[name], text)}"
            )
    for name in sorted(expected.keys() | found.keys()):
        path = (package / name).relative_to(root)
        if name not in found:
            messages.append(
                f"{path} is missing, but {source_of(expected[name]) or 'nbdev'} exports it. "
                "Run `nbdev_export`."
            )
        elif name not in expected:
            messages.append(f"{path} is exported by no notebook: make it a notebook, or remove it.")
        elif found[name] != expected[name]:
            notebook = source_of(expected[name])
            advice = (
                "If the notebook was edited, run `nbdev_export`. If the module was edited, make "
                f"the edit in {notebook} instead, or copy it there with `nbdev_update {path}`; do "
                "this first, because nbdev_export overwrites the module."
                if notebook
                else "Run `nbdev_export`."
            )
            messages.append(
                f"{path} does not match what the notebooks export. {advice}"
                f"{first_differences(expected[name], found[name])}"
            )
    return messages


if __name__ == "__main__":
    messages = problems()
    print(
        "\n".join(messages) or "Every notebook is clean and exported.",
        file=sys.stderr if messages else sys.stdout,
    )
    sys.exit(bool(messages))
