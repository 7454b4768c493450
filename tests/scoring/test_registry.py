"""Champions that several processes make at the same time."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from credit_default.core.files import file_lock
from credit_default.core.paths import portfolio_home
from credit_default.scoring.registry import (
    champion_line,
    champion_tag,
    promote_bundle,
    promotion_history,
    save_bundle,
)

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
    made = sorted((event.by, event.why) for event in added)
    assert made == [(str(process), str(turn)) for process in range(4) for turn in range(3)]
    left = {path.name for path in portfolio_home("gmsc").iterdir() if path.name.endswith(".part")}
    assert left == set() and json.loads((portfolio_home("gmsc") / "champion.json").read_text())


ROLLING_BACK = """
import sys
from credit_default.scoring.registry import roll_back_champion
print(roll_back_champion("gmsc", by=sys.argv[1]))
"""


@pytest.fixture
def three_champions(synthetic_bundle):
    "Three models in a row, each champion once: the same predictions under three tags."
    tags = [
        save_bundle(
            replace(
                synthetic_bundle,
                # weights are shares of their sum
                members=[replace(m, weight=factor * m.weight) for m in synthetic_bundle.members],
            )
        )
        for factor in (1.0, 2.0, 4.0)
    ]
    for tag in tags:
        promote_bundle(tag, "gmsc", other_requests=True)
    return tags


def test_rollbacks_at_once_go_back_a_step_each(three_champions):
    """Each reads the history under the lock that it writes it under: two that read before would
    both go back to the same champion.
    """
    tags = three_champions
    with file_lock(portfolio_home("gmsc") / "champion.json"):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", ROLLING_BACK, str(number)],
                env=os.environ,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        time.sleep(4)  # both have started, and wait
        assert promotion_history("gmsc")[-1].tag == tags[-1]
    reached = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(reached) == sorted(tags[:2]) and champion_tag("gmsc") == tags[0]


def test_rollbacks_and_promotions_at_once_follow_one_history(three_champions):
    "Whatever their order, each rollback goes back from what was written before it."
    tags, before = three_champions, promotion_history("gmsc")
    commands = [["-c", ROLLING_BACK, "0"], ["-c", PROMOTING, tags[0], "1"]] * 2
    processes = [
        subprocess.Popen([sys.executable, *command], env=os.environ, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    assert [process.wait() for process in processes] == [0] * 4
    history = promotion_history("gmsc")
    assert history[: len(before)] == before
    added = history[len(before) :]
    assert sum(event.rollback for event in added) == 2 and len(added) == 2 + 2 * 3
    for at, event in enumerate(history):
        if event.rollback:
            assert event.tag == champion_line(history[:at])[-2]
            assert event.why == f"rollback from {champion_line(history[:at])[-1]}"
