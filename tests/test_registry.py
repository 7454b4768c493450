"""Champions that several processes make at the same time."""

import json
import os
import subprocess
import sys

from credit_default.core.paths import portfolio_home
from credit_default.scoring.registry import promotion_history, save_bundle

PROMOTING = """
import sys
from credit_default.scoring.registry import promote_bundle
tag, process = sys.argv[1:]
for turn in range(3):
    promote_bundle(tag, "gmsc", by=process, why=str(turn))
"""


def test_no_promotion_is_lost_where_processes_promote_at_once(synthetic_bundle):
    tag = save_bundle(synthetic_bundle)
    before = len(promotion_history("gmsc"))
    processes = [
        subprocess.Popen([sys.executable, "-c", PROMOTING, tag, str(number)], env=os.environ)
        for number in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    added = promotion_history("gmsc")[before:]
    made = sorted((event["by"], event["why"]) for event in added)
    assert made == [(str(process), str(turn)) for process in range(4) for turn in range(3)]
    left = {path.name for path in portfolio_home("gmsc").iterdir() if path.name.endswith(".part")}
    assert left == set() and json.loads((portfolio_home("gmsc") / "champion.json").read_text())
