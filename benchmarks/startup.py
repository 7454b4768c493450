"""Measure the start of the service: its imports, and the time from `bentoml serve` to the first
response.

    python benchmarks/startup.py [--serve] [PYTHON ...]

Measures this interpreter, or the ones named, such as that of an environment with only the serving
requirements. Each figure is the best of several runs. With `--serve` the service is started too;
BENTOML_HOME must then contain a champion.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Each adds to the one before. `import bentoml` alone loads next to nothing: what any BentoML
# service loads comes with `bentoml.service`.
STEPS = {
    "bentoml, xgboost": "import bentoml, xgboost",
    "what any BentoML service loads": (
        "import bentoml, xgboost; bentoml.service, bentoml.models.BentoModel"
    ),
    "FastAPI, pydantic-settings": (
        "import bentoml, xgboost; bentoml.service, "
        "bentoml.models.BentoModel; import fastapi, pydantic_settings"
    ),
    "credit_default.service": (
        "import bentoml, xgboost; bentoml.service, "
        "bentoml.models.BentoModel; import fastapi, pydantic_settings; import "
        "credit_default.service"
    ),
}
TIMED = "import time\nbegin = time.perf_counter()\n{}\nprint(time.perf_counter() - begin)"


def imports(python, runs=7):
    "Seconds of each step, the best of several runs."
    best = dict.fromkeys(STEPS, float("inf"))
    for _ in range(runs):  # in turn, so that a busy moment does not fall on one of them
        for name, code in STEPS.items():
            done = subprocess.run(
                [python, "-c", TIMED.format(code)],
                cwd=ROOT,
                env=os.environ | {"BENTOML_DO_NOT_TRACK": "True"},
                capture_output=True,
                text=True,
                check=True,
            )
            best[name] = min(best[name], float(done.stdout))
    return best


def own(python):
    """Seconds that the package's own modules take by themselves, as -X importtime has it, without
    what they import.
    """
    done = subprocess.run(
        [
            python,
            "-X",
            "importtime",
            "-c",
            "import bentoml, xgboost; import credit_default.service",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [
        line.removeprefix("import time:").split("|")
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    ]
    return (
        sum(int(alone) for alone, _, name in lines[1:] if name.strip().startswith("credit_default"))
        / 1e6
    )


def serve(python, path="/health"):
    "Seconds from `bentoml serve` to the first answer."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = time.perf_counter()
    server = subprocess.Popen(
        [
            python,
            "-m",
            "bentoml",
            "serve",
            "credit_default.service:CreditDefault",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            if server.poll() is not None:
                sys.exit("the service did not start: is there a champion in BENTOML_HOME?")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").read()
                return time.perf_counter() - begin
            except urllib.error.URLError:
                time.sleep(0.02)
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", nargs="*", default=[sys.executable])
    parser.add_argument("--serve", action="store_true", help="also start the service")
    given = parser.parse_args()
    for python in given.python:
        print(python)
        before = 0.0
        for name, seconds in imports(python).items():
            print(
                f"  {seconds:6.2f} s  {name}" + (f"  (+{seconds - before:.2f} s)" if before else "")
            )
            before = seconds
        print(f"  {own(python):6.3f} s  of that in our own modules alone")
        if given.serve:
            print(
                f"  {min(serve(python) for _ in range(3)):6.2f} s  from `bentoml serve` to the "
                "first answer"
            )
