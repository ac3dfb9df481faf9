"""Every compiled loop says what it is, and numba is imported in one place."""

from __future__ import annotations

from pathlib import Path

from scoring import compilation

ROOT = Path(__file__).parent.parent.parent


def test_every_kernel_documents_itself_in_five_sections() -> None:
    for path in sorted((ROOT / "scoring").glob("*.py")):
        for each in compilation.kernels_of(path.stem):
            assert each.__doc__
            for section in ("Shapes:", "Units:", "Cost:", "Source:", "Difference:"):
                assert section in each.__doc__, (each.__name__, section)
    assert len(compilation.KERNELS) >= 4


def test_compiling_reports_each_kernel_of_one_module() -> None:
    said: list[tuple[str, int, int]] = []
    compilation.compile_all("kernels", lambda *progress: said.append(progress))
    names = [each.__name__ for each in compilation.kernels_of("kernels")]
    assert said == [(name, done, len(names)) for done, name in enumerate(names)]


def test_only_one_file_imports_numba() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for package in ("guardian", "scoring", "exporters", "xr_telemetry")
        for path in (ROOT / package).rglob("*.py")
        if "import numba" in path.read_text(encoding="utf-8")
        or "from numba" in path.read_text(encoding="utf-8")
    ]
    assert importing == ["scoring/compilation.py"]
