"""A PostgreSQL server of the tests' own: `with Postgres() as server: Store(server.database())`."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

import psutil
import psycopg
from served import free_port

PASSWORD = "of the tests"


def binaries():
    "The folder of `initdb` and `postgres`: on PATH, or where Debian keeps them."
    on_path = shutil.which("initdb")
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3].split(".")[0]),
    )
    return Path(on_path).resolve().parent if on_path else debian[-1].parent if debian else None


def user():
    "Who runs the server: PostgreSQL refuses to be root's."
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    return None


class Postgres:
    """A server on a free port of 127.0.0.1, with a folder and a password of its own. What it does
    is durable: fsync is on.
    """

    @staticmethod
    def missing():
        "What is missing to run one, or None."
        if binaries() is None:
            return "PostgreSQL: no initdb on PATH or under /usr/lib/postgresql"
        return "PostgreSQL: no user but root to run it" if user() is None else None

    def __init__(self):
        self.folder = Path(
            tempfile.mkdtemp(prefix="postgres-", dir="/tmp")
        )  # a socket's path has to be short
        self.port, self.process, self.numbers = free_port(), None, count(1)
        password = PASSWORD.replace(" ", "%20")
        self.url = f"postgresql+psycopg://credit:{password}@127.0.0.1:{self.port}/credit"
        if not os.geteuid():
            os.chown(self.folder, user()["user"], user()["group"])
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb",
            "--pgdata",
            self.folder / "data",
            "--username=credit",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--locale=C",
        )
        self.start()
        self.sql("CREATE DATABASE credit", database="postgres")

    def _run(self, name, *arguments):
        done = subprocess.run(
            [binaries() / name, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            **user(),
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        "Start it, and wait until it answers."
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "on",
            "max_connections": 60,
            "dynamic_shared_memory_type": "mmap",
        }  # in its folder: an immediate stop leaves nothing in /dev/shm
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    binaries() / "postgres",
                    "-D",
                    self.folder / "data",
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **user(),
            )
        end = time.monotonic() + 60
        while True:
            try:
                self.sql("SELECT 1", database="postgres")
                return self
            except psycopg.OperationalError:
                assert self.process.poll() is None and time.monotonic() < end, (
                    self.folder / "log"
                ).read_text()[-3000:]
                time.sleep(0.05)

    def stop(self, immediate=False):
        """Stop it: connections are closed and transactions rolled back; `immediate`: without a
        word, as after a power cut.
        """
        self.resume()
        self.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        self.process.wait(60)

    def _everybody(self):
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number):
        for one in self._everybody():
            try:
                one.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def pause(self):
        "It hangs: connections stay, nothing is answered."
        self._signal(signal.SIGSTOP)

    def resume(self):
        "It goes on after `pause`."
        self._signal(signal.SIGCONT)

    def sql(self, statement, database="credit"):
        "Run one statement; its rows, if it has any."
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="credit",
            password=PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self):
        "The URL of a new and empty database on it."
        name = f"fresh{next(self.numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def remove(self):
        "Stop it, and leave nothing behind."
        if self.process and self.process.poll() is None:
            self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
