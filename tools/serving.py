"""Print requirements-serving.lock: the part of requirements.lock that serving needs on Linux,
where images are built.

    python tools/serving.py > requirements-serving.lock    (`make lock` does it)

uv determines the packages; their lines are copied unchanged from requirements.lock.
"""

import subprocess
import sys
from configparser import ConfigParser

from locked import ROOT, locked
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Marker values of the images that may be built.
LINUX = [
    {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    for python in ("3.11", "3.12")
]


def direct():
    "The serving requirements of settings.ini that apply on Linux."
    settings = ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    found = [
        Requirement(line)
        for line in settings["DEFAULT"]["requirements"].splitlines()
        if line.strip()
    ]
    return [one for one in found if applies(one)]


def applies(requirement):
    return requirement.marker is None or any(requirement.marker.evaluate(one) for one in LINUX)


def entries(text):
    "The entries of a lock as text, by name; one name may have several, told apart by markers."
    found = {}
    for line in text.splitlines(keepends=True):
        if not line.startswith(" "):
            name = canonicalize_name(Requirement(line.split(" \\")[0].strip()).name)
            found.setdefault(name, []).append("")
        found[name][-1] += line
    return found


def needed():
    """The names of all packages that the serving requirements need, by uv, at the versions of the
    lock.
    """
    compiled = subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            "3.11",
            "--no-header",
            "--no-annotate",
            "--constraint",
            ROOT / "requirements.lock",
            "-",
        ],
        input="\n".join(map(str, direct())),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pins = [Requirement(line) for line in compiled.splitlines() if line.strip()]
    return {canonicalize_name(pin.name) for pin in pins if applies(pin)}


def serving():
    "The text of requirements-serving.lock."
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    markers = {str(pin): applies(pin) for pin, _ in locked(lock)}
    chosen = []
    for name in sorted(needed() & set(found := entries(lock))):
        chosen += [
            entry
            for entry in found[name]
            if markers[str(Requirement(entry.split(" \\")[0].strip()))]
        ]
    return "".join(chosen)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    print(serving(), end="")
