"""Locks every dependency that pyproject.toml names, with the hashes of all its files: `make lock`.

run.txt    what Tokenwell runs with, and what builds it
dev.txt    the same, and what tests and checks it
peers.txt  what others wrote that speaks with the gateway in tests, in an environment of its own: its pins differ from ours
model.txt  the small language model of `make run`; installed without its dependencies, which are for another runtime
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
OPTIONS = (
    *("--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe", "--no-header", "--no-annotate"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"),
)
HEADER = "# Made by `make lock` from pyproject.toml; do not edit.\n"


def main(*extra_options: str) -> None:
    """Write the four lock files. Present pins are kept where they still fit; `--upgrade` takes the newest of everything."""
    run = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"]
    model = PROJECT["project"]["optional-dependencies"]["model"]
    lock("run.txt", run, *extra_options)
    lock("dev.txt", [*run, *PROJECT["dependency-groups"]["dev"]], *extra_options, constraint="run.txt")
    lock("peers.txt", PROJECT["dependency-groups"]["peers"], *extra_options)
    lock("model.txt", model, *extra_options)
    cut("model.txt", {requirement.split("=")[0].rstrip("><~! ") for requirement in model})


def lock(name: str, requirements: list[str], *extra_options: str, constraint: str | None = None) -> None:
    """Write the lock file `name` for what is required."""
    target = HERE / name
    text = "\n".join([*requirements, f"-c {HERE / constraint}" if constraint else ""])
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, *extra_options, "--output-file", str(target), "-"]
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    pins = [line for line in target.read_text(encoding="utf-8").splitlines(keepends=True) if line.strip() and line[0] != "#"]
    target.write_text(HEADER + "".join(pins), encoding="utf-8")


def cut(name: str, kept: set[str]) -> None:
    """Leave only the `kept` packages in a lock file."""
    lines: list[str] = []
    is_kept = True
    for line in (HERE / name).read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            is_kept = line.split("==")[0] in kept
        if is_kept:
            lines.append(line)
    (HERE / name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
