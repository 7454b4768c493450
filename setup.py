"""Builds the package from settings.ini, the one place for name, version and requirements."""

import configparser
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
parser = configparser.ConfigParser(delimiters=["="], interpolation=None)
parser.read(HERE / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def listed(key):
    "The lines of a settings.ini list."
    return [line.strip() for line in cfg.get(key, "").splitlines() if line.strip()]


class BuildWithTemplates(build_py):
    "Ships the report notebooks inside the package; in a checkout they are read from nbs/reports."

    def run(self):
        "Build, then copy the templates."
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "credit_default" / "templates"
        shutil.rmtree(
            target, ignore_errors=True
        )  # an earlier build may have left a template that is gone
        target.mkdir(parents=True)
        for notebook in sorted((HERE / "nbs" / "reports").glob("*.ipynb")):
            shutil.copy(notebook, target / notebook.name)


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    keywords=cfg["keywords"],
    url=cfg["git_url"],
    python_requires=f">={cfg['min_python']},<3.13",
    packages=find_packages(include=["credit_default", "credit_default.*"]),
    include_package_data=True,
    package_data={"credit_default.portfolio": ["shipped/*.toml"]},
    install_requires=listed("requirements"),
    extras_require={
        "train": listed("train_requirements"),
        "dev": listed("train_requirements") + listed("dev_requirements"),
        "bench": listed("train_requirements") + listed("bench_requirements"),
        "redis": listed("redis_requirements"),
        "hub": listed("hub_requirements"),
        "signing": listed("signing_requirements"),
        "bigquery": listed("bigquery_requirements"),
        "mlflow": listed("mlflow_requirements"),
        "all": [
            line
            for extra in ("train", "redis", "hub", "signing", "bigquery", "mlflow")
            for line in listed(f"{extra}_requirements")
        ],
    },
    entry_points={"console_scripts": listed("console_scripts")},
    cmdclass={"build_py": BuildWithTemplates},
    # An editable installation is a path, which goes before a folder without __init__.py. A finder,
    # which setuptools would take otherwise, is asked after the folders: in the parent folder of a
    # clone named credit_default, Python would import the clone.
    options={"editable_wheel": {"mode": "compat"}},
)
