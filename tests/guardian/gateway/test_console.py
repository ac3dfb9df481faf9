from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import guardian
from guardian import texts
from guardian.gateway import console


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<!doctype html>hola")
    (tmp_path / "page.js").write_text("let a")
    (tmp_path / "secret.key").write_text("never")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "x.css").write_text("a{}")
    return tmp_path


async def test_the_page_and_its_files(serve: Any, folder: Path):
    face = await serve(folder=folder)
    status, headers, body = await face.get("/")
    assert (status, body, headers["Content-Type"]) == (
        200,
        b"<!doctype html>hola",
        "text/html; charset=utf-8",
    )
    assert (await face.get("/index.html"))[2] == body
    status, headers, body = await face.get("/page.js")
    assert (body, headers["Content-Type"]) == (b"let a", "text/javascript; charset=utf-8")
    assert (await face.get("/parts/x.css"))[2] == b"a{}"
    status, again, body = await face.get("/page.js", headers={"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")
    assert again["ETag"] == headers["ETag"]


@pytest.mark.parametrize("path", ["/secret.key", "/../secret.key", "/%2e%2e/x", "/parts", "/parts/"])
async def test_nothing_else(serve: Any, folder: Path, path: str):
    face = await serve(folder=folder)
    assert (await face.get(path))[0] == 404


async def test_the_texts_of_the_page(face: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "catalogue", lambda area, language: {"area": area, "language": language})
    assert (await face.get("/texts/page.es-MX.json"))[2] == {"area": "page", "language": "es-MX"}
    assert (await face.get("/texts/page.en.json"))[2] == {"area": "page", "language": "en"}
    assert (await face.get("/texts/page.fr.json"))[0] == 404


async def test_an_installation_without_texts_says_so(face: Any, monkeypatch: pytest.MonkeyPatch):
    def missing(_area: str, _language: str) -> dict[str, str]:
        raise FileNotFoundError

    monkeypatch.setattr(texts, "catalogue", missing)
    assert (await face.get("/texts/page.en.json"))[0] == 404


def test_an_installed_page_comes_before_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "guardian"
    for folder in (tmp_path / "dashboards" / "console", package / "console"):
        monkeypatch.setattr(guardian, "__file__", str(package / "__init__.py"))
        folder.mkdir(parents=True)
        assert console.console_folder() != folder
        (folder / "index.html").write_text("")
        assert console.console_folder() == folder
