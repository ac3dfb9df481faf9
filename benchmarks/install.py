"""Install the peers into the environment that runs this file.

All of ``requirements.lock`` at once; should that fail, package by package, so that one peer that cannot be built here
takes nothing else with it. A peer that is missing is named in the tables, and is no error.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).parent / "requirements.lock"
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes")


def requirements(lock: str) -> list[str]:
    """The requirements of a lock, each with its hashes."""
    return [block.strip() + "\n" for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]]


def name(requirement: str) -> str:
    """What a requirement installs."""
    return re.split(r"[=\s;\[]", requirement, maxsplit=1)[0]


def main() -> int:
    """Install; the exit code is 0 even if peers are missing."""
    if subprocess.run([*PIP, "-r", str(LOCK)], check=False).returncode == 0:
        return 0
    print("not all of it can be installed together; trying package by package", file=sys.stderr)
    for requirement in requirements(LOCK.read_text(encoding="utf-8")):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as alone:
            alone.write(requirement)
            alone.flush()
            if subprocess.run([*PIP, "--no-deps", "-r", alone.name], check=False).returncode:
                print(f"not installed: {name(requirement)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
