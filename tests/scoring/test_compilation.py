"""Every compiled loop says what it is, and numba is imported in one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scoring import compilation

ROOT = Path(__file__).parent.parent.parent


def test_every_kernel_documents_itself_in_five_sections() -> None:
    folders = ("scoring", "guardian/decode", "guardian/sigma")
    for path in sorted(path for folder in folders for path in (ROOT / folder).glob("*.py")):
        for each in compilation.kernels_of(".".join(path.relative_to(ROOT).with_suffix("").parts)):
            assert each.__doc__
            for section in ("Shapes:", "Units:", "Cost:", "Source:", "Difference:"):
                assert section in each.__doc__, (each.__name__, section)
    assert len(compilation.KERNELS) >= 4


def test_what_is_compiled_is_found_again() -> None:
    compilation.compile_all("scoring.tail")
    assert compilation.cached("scoring.tail") == compilation.kernels_of("scoring.tail")


def test_only_one_file_imports_numba() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for package in ("guardian", "scoring", "exporters", "xr_telemetry")
        for path in (ROOT / package).rglob("*.py")
        if "import numba" in path.read_text(encoding="utf-8")
        or "from numba" in path.read_text(encoding="utf-8")
    ]
    assert importing == ["scoring/compilation.py"]


def test_the_cache_notices_an_edit_of_any_file_of_the_package(tmp_path: Path) -> None:
    """Code compiled for another layout would write where it must not."""
    package = tmp_path / "scoring"
    package.mkdir()
    for name in ("__init__", "layout", "risk", "eoct"):
        (package / f"{name}.py").write_text("WIDTH = 1\n")
    (package / "compilation.py").write_text((ROOT / "scoring" / "compilation.py").read_text())
    (package / "loops.py").write_text(
        "from scoring.compilation import F8, array, kernel\n"
        "from scoring.layout import WIDTH\n"
        "from scoring.parts import tens\n"
        "@kernel(array(F8))\n"
        "def widen(out):\n"
        "    out[0] = tens(out) + WIDTH\n"
    )
    part = "from scoring.compilation import inlined\n@inlined\ndef tens(out):\n    return 10 * {}\n"
    ask = "import numpy as np; from scoring.loops import widen; o = np.zeros(1); widen(o); print(int(o[0]))"
    for width, tens in ((1, 1), (2, 1), (2, 3)):
        (package / "layout.py").write_text(f"WIDTH = {width}\n" + "#" * width)
        (package / "parts.py").write_text(part.format(tens))
        out = subprocess.run(
            [sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert out.stdout.strip() == str(10 * tens + width), out.stderr
