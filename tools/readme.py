"""Make README.md from nbs/index.ipynb: `python tools/readme.py` writes it, `--check` only checks
whether it is up to date.
"""

import posixpath
import re
import sys
from pathlib import Path

from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK, README = ROOT / "nbs" / "index.ipynb", ROOT / "README.md"
LINK = re.compile(r"(!?\[[^\]\n]*\]\()([^)\s]+)(\))")


def from_root(link):
    """A Markdown `link` (a match of LINK) as it reads from the repository's root, where README.md
    lies; the notebook lies in nbs/.
    """
    opening, target, closing = link.groups()
    if not re.match(r"[a-z]+:|[#/]", target):
        target = posixpath.normpath(posixpath.join(NOTEBOOK.parent.name, target))
    return opening + target + closing


def outside_code(text, change):
    "`text` with `change` applied to what stands outside of code blocks."
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def readme(notebook=NOTEBOOK):
    "The text of README.md."
    text, _ = MarkdownExporter().from_filename(str(notebook))
    text = outside_code(text, lambda part: re.sub(r"\n{3,}", "\n\n", LINK.sub(from_root, part)))
    return text.strip() + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if not README.exists() or README.read_text(encoding="utf-8") != readme():
            sys.exit("README.md does not match nbs/index.ipynb: run `make readme`")
    else:
        README.write_text(readme(), encoding="utf-8")
