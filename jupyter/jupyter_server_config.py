"""Jupyter's settings for this checkout, put on its path by `make lab`: where to find the extension
that cleans a notebook as it is saved, and a terminal that keeps PATH.
"""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

# Where Jupyter itself has no terminal, it starts login shells, which on many systems set PATH anew.
if not sys.stdout.isatty():
    shell = os.environ.get("SHELL") or "sh"
    c.ServerApp.terminado_settings = {"shell_command": [shell]}  # noqa: F821 (Jupyter provides `c`)
