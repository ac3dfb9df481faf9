"""The wheel: its top-level names, its files, and that it works outside of the tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    out = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return folder / out.stdout.split()[-1]


def test_top_level_names_and_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"guardian", "scoring", "exporters", "xr_telemetry"}
    for needed in (
        "guardian/console/index.html",
        "guardian/decode/maps/tamv.toml",
        "guardian/texts/page.es-MX.toml",
        "guardian/py.typed",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith("tests") or name.endswith(".pyc")]


def test_it_works_outside_of_the_tree(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, with the same dependencies but not our tree on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "e.ndjson").write_text('{"timestamp":"2023-11-14T22:00:00Z","action":"a","user_id":"u"}\n')
    code = (
        "import sys; sys.path[:] = [sys.argv[1]] + [p for p in sys.path if 'site-packages' in p or 'lib/python' in p]\n"
        "import guardian; assert guardian.__file__.startswith(sys.argv[1]), guardian.__file__\n"
        "from guardian.gateway.console import console_folder; assert (console_folder() / 'index.html').is_file()\n"
        "(batch,) = guardian.read('e.ndjson', map='tamv')\n"
        "print(len(guardian.Engine(guardian.Config()).feed(batch).scores))\n"
    )
    out = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout == "1\n"
