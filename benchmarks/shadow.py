"""Measure what a challenger in the shadow costs those who ask for predictions.

    python benchmarks/shadow.py [--seconds 5] [--rounds 7] [--connections 8] [--json FILE]

One service with one worker is asked by wrk, in turn with a challenger in the shadow and without.
The p99 with it should be at most 1.15 of that without, as the median of the pairs. Afterwards each
prediction that was made beside the challenger must have a second score, or be counted as dropped.
The run fails where one of these does not hold. See benchmarks/README.md.
"""

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import service

MOST = 1.15  # p99 with a challenger over p99 without
FIGURES = ("rps", "p50", "p99", "cpu")
SETTLING = 3  # seconds until a worker has taken a challenger up, or let it go


def models(portfolio):
    "Store a small forest as the champion and a blend as its challenger; the challenger's tag."
    from credit_default.data.loading import load
    from credit_default.data.sources import Source
    from credit_default.data.split import split
    from credit_default.scoring.registry import promote_bundle, save_bundle

    sys.path.insert(0, str(service.ROOT / "tests"))
    from served import synthetic_bundle

    sample = load(portfolio, Source("synthetic", None, "synthetic sample"), seed=1)
    champion = service.trees(portfolio, *split(sample, 0.2, seed=0))
    promote_bundle(save_bundle(champion), portfolio.name, by="benchmark", failed_checks=True)
    return save_bundle(synthetic_bundle(portfolio.name))


def bodies_of(portfolio, folder):
    "Write applicants as requests, one on each line; the file."
    sys.path.insert(0, str(service.ROOT / "tests"))
    from served import applicants

    file = folder / "bodies"
    _, sent = applicants(portfolio, service.APPLICANTS)
    file.write_text("".join(json.dumps(applicant) + "\n" for applicant in sent))
    return file


def rounds_of(server, script, tag, options):
    "Figures of each round, without a challenger and with one, in turn."
    from credit_default.scoring.challenge import begin_challenge, stop_challenge

    pairs = []
    for turn in range(options.rounds):
        pair = {}
        for shadow in (False, True) if turn % 2 else (True, False):
            if shadow:
                begin_challenge(tag, "gmsc", by="benchmark")
            time.sleep(SETTLING)
            before = server.answered
            pair[shadow] = service.measure(server, script, options.connections, options.seconds)
            pair[shadow]["answered"] = server.answered - before
            time.sleep(SETTLING)  # what waits is scored before the challenge ends
            stop_challenge("gmsc")
            time.sleep(SETTLING)
        pairs.append(pair)
        shown = " ".join(f"{name} {pair[True][name] / pair[False][name]:.3f}" for name in FIGURES)
        print(f"round {turn + 1}, with over without: {shown}")
    return pairs


def scored_and_dropped(server):
    "How many predictions the challenger has scored, and how many it did not get to."
    with sqlite3.connect(f"file:{server.database}?mode=ro", uri=True) as database:
        [scored] = database.execute("SELECT count(*) FROM shadow_scores").fetchone()
        [dropped] = database.execute("SELECT sum(predictions) FROM shadow_drops").fetchone()
    return scored, dropped or 0


def main():
    "Run the rounds, print the ratios, and return the exit code."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["BENTOML_HOME"] = str(folder / "home")
        (folder / "home").mkdir()
        from credit_default.portfolio.catalogue import get_portfolio

        portfolio = get_portfolio("gmsc")
        tag, bodies = models(portfolio), bodies_of(portfolio, folder)
        server = service.Server("shadow", service.ARMS["a"], folder).start()
        try:
            server.wait()
            pairs = rounds_of(server, service.script_for(server, bodies), tag, options)
            scored, dropped = scored_and_dropped(server)
        finally:
            server.stop()
    ratios = {
        figure: statistics.median(pair[True][figure] / pair[False][figure] for pair in pairs)
        for figure in FIGURES
    }
    print("median of the pairs, with over without:", json.dumps(ratios))
    answered = sum(pair[True]["answered"] for pair in pairs)
    print(f"{answered} answered beside the challenger, {scored} scored by it, {dropped} dropped")
    if options.json:
        rounds = [dict(shadow=pair[True], alone=pair[False]) for pair in pairs]
        options.json.write_text(json.dumps(dict(ratios=ratios, rounds=rounds)))
    # the last answers of a measurement are logged, and not waited for: one on each connection
    unseen = 2 * options.rounds * options.connections
    is_whole = 0 <= scored + dropped - answered <= unseen
    return int(not (is_whole and ratios["p99"] <= MOST))


if __name__ == "__main__":
    sys.exit(main())
