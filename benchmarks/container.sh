#!/usr/bin/env bash
# Test the service's image without Docker: build a bento, run the steps of its generated Dockerfile in a Debian chroot, start
# the entrypoint as the image's unprivileged user, request a prediction, and report the size.
# The size of a step is what it adds: files that a later step removes are still in the image.
#
#   sudo benchmarks/container.sh
#
# The bento contains the champion in BENTOML_HOME, or a blend of the synthetic sample if there is none. Debian bookworm
# (debootstrap) with its Python 3.11 replaces the image that FROM names. The script fails if no prediction comes back, if it is
# not in the log at the volume's mount point, or if the steps add more than 450 MB. benchmarks/.cache/container keeps the base.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
python=$root/.venv/bin/python

[ "$(id -u)" -eq 0 ] || { echo "chroot and mount need root: sudo $0" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing. On Debian and Ubuntu: apt-get install debootstrap" >&2; exit 1; }
[ -x "$python" ] || { echo "$root/.venv is missing: run a make target such as make check in $root first" >&2; exit 1; }
# Separate mounts and processes, which are gone when this script ends, however it ends.
[ "${CONTAINER_INSIDE:-}" = yes ] || CONTAINER_INSIDE=yes exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$@"

cache=$here/.cache/container
mkdir -p "$cache"
work=$(mktemp -d "$here/.cache/container-XXXXXX")
trap 'umount --lazy "$work/base/proc" "$work/base/dev" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
export BENTOML_DO_NOT_TRACK=True DO_NOT_TRACK=1 CREDIT_DEFAULT_ENV_FILE=/dev/null

echo "== The bento" >&2
from=${BENTOML_HOME:-$HOME/bentoml}
export BENTOML_HOME=$work/home   # the user's store is not changed
mkdir -p "$BENTOML_HOME"
if [ -e "$from/credit_default/gmsc/champion.json" ]; then
    cp -a "$from/models" "$BENTOML_HOME/"
    mkdir -p "$BENTOML_HOME/credit_default/gmsc"
    cp "$from/credit_default/gmsc/champion.json" "$BENTOML_HOME/credit_default/gmsc/"
else
    PYTHONPATH=$root/tests "$python" -c '
from served import synthetic_bundle
from credit_default.scoring.registry import promote_bundle, save_bundle
promote_bundle(save_bundle(synthetic_bundle()), "gmsc", by="container.sh")'
fi
cd "$root"
tag=$("$python" -m bentoml build --output tag | sed -n 's/^__tag__://p')
"$python" -m bentoml export "$tag" "$work/image.bento" >&2
mkdir "$work/bento"
tar -C "$work/bento" -xf "$work/image.bento"

echo "== The base: Debian bookworm, Python 3.11" >&2
base=$work/base
if [ ! -e "$cache/base.tar" ]; then
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip bookworm "$base" >"$cache/debootstrap.log" || { tail -5 "$cache/debootstrap.log" >&2; exit 1; }
    chroot "$base" apt-get clean
    rm -rf "$base"/var/lib/apt/lists/*
    tar -C "$base" --one-file-system -cf "$cache/base.tar.part" .
    mv "$cache/base.tar.part" "$cache/base.tar"
else
    mkdir "$base"
    tar -C "$base" -xf "$cache/base.tar"
fi
# What a container engine provides, and how this machine reaches package registries.
for file in /etc/hosts /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ -e "$file" ] && cp -L "$file" "$base$file"
done
mount -t proc proc "$base/proc"
mount --bind /dev "$base/dev"

echo "== The steps of the Dockerfile" >&2
"$python" - "$work/bento" "$base" "$cache" <<'PYTHON'
"Runs a Dockerfile's steps in a chroot, starts what they made, and asks it."
import contextlib, json, os, re, secrets, shlex, socket, sqlite3, subprocess, sys, time
from pathlib import Path

import httpx

bento, base, cache = map(Path, sys.argv[1:])
LIMIT = 450   # MB
LOG = "home/bentoml/credit_default/service.db"   # where nbs/guides/operation.ipynb says that a volume belongs
OUTER = {k: v for k, v in os.environ.items() if re.fullmatch(r"(?i)(https?|no|all)_proxy|SSL_CERT_FILE|PIP_CERT|PIP_INDEX_URL|PIP_EXTRA_INDEX_URL|UV_(DEFAULT_|EXTRA_)?INDEX(_URL)?|UV_HTTP_TIMEOUT", k)}
OUTER |= {"PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_ROOT_USER_ACTION": "ignore"}   # Debian's pip, unlike that of an image, wants to be told


def megabytes(*folders):
    "What the files of each folder take on disk, without what is mounted there; one that lies in two of them counts in the first."
    told = subprocess.run(["du", "-skx", *folders], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {Path(folder): int(kib) * 1.024 / 1000 for kib, folder in (line.split("\t") for line in told.splitlines())}


def parts():
    "Megabytes of the chroot's folders."
    folders = [base / "usr/local", *sorted(one for one in base.iterdir() if not one.is_symlink() and not os.path.ismount(one))]
    return {str(path.relative_to(base)): size for path, size in megabytes(*folders).items()}


def instructions(text):
    "The Dockerfile's instructions: name and argument."
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip(): yield tuple(line.strip().split(None, 1))


class Image:
    "The state that a Dockerfile's steps change."

    def __init__(self):
        self.env, self.args, self.cwd, self.user, self.entrypoint = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {}, "/", "root", None

    def expand(self, text):
        known = self.args | self.env
        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: known.get(m[1] or m[2], ""), text)

    def ids(self, name):
        "User and group of a name in the chroot."
        return next(line.split(":")[2:4] for line in (base / "etc/passwd").read_text().splitlines() if line.startswith(f"{name}:"))

    def command(self, *command):
        "A command in the chroot, as the present user in the present folder."
        return ["chroot", f"--userspec={':'.join(self.ids(self.user))}", str(base), "/bin/sh", "-c", 'cd "$0" && exec "$@"', self.cwd, *command]

    def run(self, argument):
        done = subprocess.run(self.command("/bin/sh", "-c", argument), env=OUTER | self.args | self.env, stdout=sys.stderr, stdin=subprocess.DEVNULL)
        if done.returncode: sys.exit(f"this step failed: RUN {argument}")

    def copy(self, argument):
        owner, *paths = shlex.split(self.expand(argument))
        if not owner.startswith("--chown="): owner, paths = "--chown=root", [owner, *paths]
        user, group = self.ids(owner.removeprefix("--chown=").split(":")[0])
        *sources, target = paths
        target = base / os.path.normpath(os.path.join(self.cwd, target)).lstrip("/")
        for source in (bento / one for one in sources):
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{source}/." if source.is_dir() else source, target], check=True)
        subprocess.run(["chown", "-R", f"{user}:{group}", target], check=True)

    def step(self, name, argument):
        match name:
            case "FROM" | "EXPOSE" | "LABEL": pass   # the base is there already
            case "ARG":
                key, _, value = argument.partition("=")
                self.args[key] = self.expand("".join(shlex.split(value)))
            case "ENV":
                pairs = [one.partition("=")[::2] for one in shlex.split(argument)] if "=" in argument.split()[0] else [argument.split(None, 1)]
                self.env |= {key: self.expand(value) for key, value in pairs}
            case "RUN": self.run(argument)
            case "COPY" | "ADD": self.copy(argument)
            case "WORKDIR":
                self.cwd = os.path.normpath(os.path.join(self.cwd, self.expand(argument)))
                (base / self.cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER": self.user = self.expand(argument)
            case "ENTRYPOINT": self.entrypoint = [self.expand(one) for one in json.loads(argument)]
            case _: sys.exit(f"an instruction that is not provided for: {name}")


def running(image, port, log):
    "The entrypoint, started as the image's user."
    if image.user in ("root", "0"): sys.exit("the image would run as root")
    settings = {"PORT": str(port), "HOME": f"/home/{image.user}", "CREDIT_DEFAULT_SIGNUP": "open", "CREDIT_DEFAULT_SECRET_KEY": secrets.token_urlsafe(48)}
    with log.open("w") as out:
        return subprocess.Popen(image.command(*image.entrypoint), env=image.env | settings, stdout=out, stderr=out, stdin=subprocess.DEVNULL)


def ask(image):
    "Starts the entrypoint, has a prediction made and stops it: the answer, and the seconds until it was ready."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, begin = cache / "service.log", time.monotonic()
    process = running(image, port, log)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)

    def fail(what): sys.exit(f"{what}\n" + "\n".join(log.read_text().splitlines()[-15:]))

    def is_ready():
        try: return client.get("/readyz").status_code == 200
        except httpx.TransportError: return False

    def checked(answer):
        if not answer.is_success: fail(f"{answer.request.url.path} answered {answer.status_code}: {answer.text}")
        return answer.json()

    try:
        while not is_ready():
            if process.poll() is not None or time.monotonic() - begin > 120: fail("the entrypoint did not come up")
            time.sleep(0.1)
        seconds = time.monotonic() - begin
        if (owner := os.stat(f"/proc/{process.pid}").st_uid) != int(image.ids(image.user)[0]): fail(f"it runs as user {owner}")
        user = dict(username="container", email="container@example.com", password=secrets.token_urlsafe(16))
        checked(client.post("/signup", json=user))
        token = checked(client.post("/login", json={k: user[k] for k in ("username", "password")}))["access_token"]
        body = checked(client.get("/docs.json"))["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
        answer = checked(client.post("/predict", json=next(iter(body.values()))["value"], headers={"Authorization": f"Bearer {token}"}))
    finally:
        process.terminate()
        ended = process.wait(30)
    if ended: fail(f"it ended with {ended} when it was asked to stop")
    return answer, seconds


def logged(image, prediction):
    "Ends where a prediction is not in the log, or others than the image's user may read that."
    folder = (base / LOG).parent.stat()
    if (folder.st_uid, folder.st_mode & 0o777) != (int(image.ids(image.user)[0]), 0o700): sys.exit(f"the folder of /{LOG} is of user {folder.st_uid}, mode {folder.st_mode:o}")
    with contextlib.closing(sqlite3.connect(base / LOG)) as log:
        if log.execute("select count(*) from predictions where prediction_id = ?", (prediction,)).fetchone() != (1,): sys.exit(f"/{LOG} does not hold the prediction")


before, total = parts(), 0
now, image = before, Image()
for name, argument in instructions((bento / "env/docker/Dockerfile").read_text()):
    print("  ", name, argument if len(argument) < 150 else argument[:150] + " ...", file=sys.stderr)
    image.step(name, argument)
    then, now = now, parts()
    total += sum(max(0, size - then.get(part, 0)) for part, size in now.items())
added = {name: size - before.get(name, 0) for name, size in now.items()}
print("== The entrypoint", file=sys.stderr)
answer, seconds = ask(image)
logged(image, answer["prediction_id"])
packages = next(base.glob("app/.venv/lib/python3*/site-packages"))
largest = sorted(((size, path.name) for path, size in megabytes(*(one for one in packages.iterdir() if one.is_dir())).items()), reverse=True)[:12]
print(f"As user {image.user}, ready {seconds:.1f} s after its start: PD {answer['probability_default']:.4f} by {answer['model_version']}\n")
print("| beyond the base | MB |\n| --- | ---: |")
for name, size in sorted(added.items(), key=lambda one: -one[1]):
    if size >= 0.5: print(f"| /{name} | {size:.0f} |")
print(f"| all that the steps added | {total:.0f} |\n")
print("Largest packages: " + ", ".join(f"{name} {size:.0f}" for size, name in largest) + " MB")
if total >= LIMIT: sys.exit(f"{total:.0f} MB are more than the {LIMIT} that it should stay under")
PYTHON
