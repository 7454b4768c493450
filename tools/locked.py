"""Read settings.ini and requirements.lock, and print what `make lock` writes.

python tools/locked.py requirements    the direct requirements, for `uv pip compile`
python tools/locked.py bench           those of the benchmarks, which have their own lock file
python tools/locked.py autogluon     that of the AutoGluon environment, with a lock file of its own
python tools/locked.py environment     environment.yml, with the lock's versions
"""

import sys
from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LISTS = ("requirements", "train_requirements", "dev_requirements")
BENCH = ("bench_requirements",)
AUTOGLUON = ("autogluon_requirements",)


def direct(lists=LISTS):
    "The requirements that settings.ini lists, in its order."
    settings = ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    lines = [line.strip() for key in lists for line in settings["DEFAULT"][key].splitlines()]
    return [Requirement(line) for line in lines if line]


def locked(text=None):
    """The lock's entries: a pinned Requirement with its hashes. One name may have several, told
    apart by markers.
    """
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8") if text is None else text
    entries = []
    for entry in text.replace("\\\n", " ").splitlines():
        if entry.strip():
            requirement, *hashes = entry.split(" --hash=")
            entries.append((Requirement(requirement.strip()), [one.strip() for one in hashes]))
    return entries


def environment():
    """The text of environment.yml: Python from conda, the direct requirements from the registry
    that the lock is of.
    """
    pins = {}
    for pin, _ in locked():
        pins.setdefault(canonicalize_name(pin.name), []).append(str(pin))
    lines = [
        pin
        for name in dict.fromkeys(canonicalize_name(one.name) for one in direct())
        for pin in pins[name]
    ]
    return "\n".join(
        [
            "# For those who use conda. Written by `make lock`: the direct requirements of "
            "settings.ini at the versions",
            "# of requirements.lock, which alone holds the indirect ones and the hashes (`make "
            "run` installs from it).",
            "name: credit-default",
            "channels:",
            "  - conda-forge",
            "dependencies:",
            "  - python>=3.11,<3.13",
            "  - pip",
            "  - pip:",
            *(f"      - '{line}'" if '"' in line else f"      - {line}" for line in lines),
            "      - -e .",
            "",
        ]
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["requirements"]:
        print("\n".join(map(str, direct())))
    elif sys.argv[1:] == ["bench"]:
        print("\n".join(map(str, direct(BENCH))))
    elif sys.argv[1:] == ["autogluon"]:
        print("\n".join(map(str, direct(AUTOGLUON))))
    elif sys.argv[1:] == ["environment"]:
        print(environment(), end="")
    else:
        sys.exit(__doc__)
