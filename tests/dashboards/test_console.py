"""The status page: its files hold to their rules, and a real browser shows what the service says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from guardian.events import CHANNELS, CONTEXT, LAYERS, ROLES
from guardian.levels import BAND_EDGES, RECOMMENDED_ACTION, Level
from guardian.texts import LANGUAGES, catalogue
from tests.dashboards.browser import CHROMIUM, Browser, browser
from tests.dashboards.fake_service import HOSTILE, STATES, application

CONSOLE = Path(__file__).parents[2] / "dashboards" / "console"
PAGE = (CONSOLE / "index.html").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(CONSOLE.glob("*.js"))}
CODE = "\n".join(SCRIPTS.values())

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")


class _Texts(HTMLParser):
    """``data-text`` key → the Spanish that stands in the document."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self._key = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._key = dict(attrs).get("data-text") or ""

    def handle_data(self, data: str) -> None:
        if self._key and data.strip():
            self.found[self._key] = data
            self._key = ""


@pytest.fixture(scope="module")
def document() -> _Texts:
    parser = _Texts()
    parser.feed(PAGE)
    return parser


# ------------------------------------------------------------------------------------------------ files


def test_the_document_already_speaks_the_spanish_of_its_catalogue(document: _Texts):
    spanish = catalogue("page", "es-MX")
    assert document.found == {key: spanish[key] for key in document.found}
    assert len(document.found) > 30


def test_both_languages_have_the_same_texts_and_placeholders():
    spanish, english = (catalogue("page", language) for language in LANGUAGES)
    assert spanish.keys() == english.keys()
    for key, text in spanish.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key


def test_every_text_that_the_page_asks_for_exists():
    asked = set(re.findall(r'say\(\s*"(\w+)"', CODE)) | {
        "lost_short",
        "connecting",
        "live",
        "level_unknown",
        "say_waiting",
    }
    families = {
        "level": [level.word for level in Level],
        "say": [level.word for level in Level],
        "layer": [*LAYERS, "unseen"],
        "role": list(ROLES),
        "channel": [*CHANNELS, CONTEXT],
        "action": sorted({name for names in RECOMMENDED_ACTION.values() for name in names}),
        "outcome": ["approved", "review", "rejected", "unknown"],
    }
    asked |= {f"{family}_{word}" for family, words in families.items() for word in words}
    assert asked <= catalogue("page", "es-MX").keys()


def test_no_text_is_left_unused():
    used = set(re.findall(r'"(\w+)"', CODE)) | set(re.findall(r'data-(?:text|label)="(\w+)"', PAGE))
    families = ("level", "say", "layer", "role", "channel", "action", "outcome", "phase", "reason")
    left = {
        key
        for key in catalogue("page", "en")
        if key not in used and not key.startswith(tuple(f"{name}_" for name in families))
    }
    assert not left


def test_the_levels_of_the_page_are_those_of_the_engine():
    edges = re.search(r"const EDGES = \[([^\]]+)\]", CODE)
    assert edges is not None
    assert [float(edge) for edge in edges[1].split(",")] == [0.0, *BAND_EDGES, 100.0]
    recommended = re.search(r"const RECOMMENDED = \{(.+?)\};", CODE)
    assert recommended is not None
    named = {
        word: tuple(re.findall(r'"(\w+)"', names))
        for word, names in re.findall(r"(\w+): \[([^\]]*)\]", recommended[1])
    }
    for level in (Level.MEDIUM, Level.HIGH, Level.CRITICAL):
        assert named[level.word] == RECOMMENDED_ACTION[level]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(document: _Texts):
    for tag, name, value in document.attributes:
        assert name != "style", tag
        assert not name.startswith("on"), tag
        assert not re.match(r"(https?:)?//", value or ""), value
    assert not re.search(r"<script(?![^>]*\bsrc=)", PAGE)
    assert "<style" not in PAGE
    css = (CONSOLE / "page.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", css)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", CODE)


def test_the_colour_of_each_channel_stands_out_from_its_ground_in_both_themes():
    css = (CONSOLE / "page.css").read_text(encoding="utf-8")
    fills = dict(re.findall(r'\[data-channel="(\w+)"\] \{ --fill: (#\w{6}); \}', css))
    assert fills.keys() == set(CHANNELS)
    assert len(set(fills.values())) == len(CHANNELS)
    grounds = re.findall(r"--(?:surface|rail): (#\w{6});", css)
    assert len(grounds) == 4
    for channel, fill in fills.items():
        for ground in grounds:
            darker, lighter = sorted((_luminance(fill), _luminance(ground)))
            assert (lighter + 0.05) / (darker + 0.05) >= 3.0, (channel, ground)  # WCAG 2.2, 1.4.11


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_scripts_never_make_markup_or_code_of_a_string():
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\.style\b|setAttribute\(\"on",
        CODE,
    )


def test_every_control_has_a_name_and_the_page_has_landmarks(document: _Texts):
    tags = {tag for tag, _, _ in document.attributes} | set(re.findall(r"<(\w+)", PAGE))
    assert {"header", "main", "footer", "h1"} <= tags
    assert PAGE.count("<h1") == 1
    for section in re.findall(r"<section[^>]*>", PAGE):
        title = re.search(r'aria-labelledby="([\w-]+)"', section)
        assert title is not None
        assert f'id="{title[1]}"' in PAGE


# ------------------------------------------------------------------------------------------------ in a browser

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    async with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@asynccontextmanager
async def serving(state: dict[str, Any], *, texts: bool = True) -> AsyncIterator[str]:
    """The stand-in with one state, on a free port."""
    runner = web.AppRunner(application(state, texts=texts))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    finally:
        await runner.cleanup()


@needs_browser
@pytest.mark.asyncio(loop_scope="module")
class TestInABrowser:
    async def test_an_attack_is_understood_at_a_glance(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            await tab.until("document.querySelectorAll('#alerts li').length")
            assert await tab.text("#level-word") == "Crítico"
            assert await tab.text("#score") == "92"
            assert await tab.value("document.title") == "⬣ Crítico 92 · TAMV Guardian"
            assert await tab.text("#sentence") == "Amenaza crítica. Actúe ahora."
            assert await tab.text("#because") == "Dirección 203.0.113.66: regla en waf.sql_injection"
            assert "aislar + avisar (espera la aprobación de una persona)" in await tab.text("#recommended")
            assert await tab.value("document.getElementById('held').hidden")
            assert tab.complaints == []

    async def test_every_score_is_explained_by_a_bar_and_its_twin_in_text(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            first = await tab.text("#entities li")
            for part in (
                "203.0.113.66",
                "Dirección",
                "92",
                "Crítico",
                "41.0",
                "regla",
                "22.3",
                "ráfaga",
                "18.4",
                "novedad",
                "10.0",
                "contexto",
            ):
                assert part in first
            widths = await tab.value(
                "[...document.querySelector('#entities .stack').querySelectorAll('[data-channel]')].map(r => Number(r.getAttribute('width')) + 0.5)"
            )
            assert widths == pytest.approx([41.0, 22.3, 18.4, 10.0])

    async def test_a_reason_says_what_would_be_without_its_channel(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(f"{url}?lang=es-MX")
            told = (
                "[...document.querySelectorAll('#entities .entity')].map(n => [...n.querySelectorAll('.why .without')]"
                ".filter(w => w.checkVisibility()).map(w => [w.parentElement.querySelector('.channel').innerText, w.innerText]))"
            )
            assert await tab.value(told) == [
                [["regla", "sin este canal el nivel sería medio"]],
                [["regla", "sin este canal el nivel sería medio"]],
                [
                    ["muchos fallos", "sin este canal el nivel seguiría en alto"],
                    ["alcance amplio", "sin este canal el nivel sería medio"],
                ],
                # Once for the two kinds of the pairing; the value alone would change nothing and is not the strongest.
                [
                    ["orden inusual", "sin este canal el nivel sería bajo"],
                    ["nueva relación", "sin este canal el nivel sería bajo"],
                ],
            ]
            await tab.open(f"{url}?lang=en")
            assert "without this channel the level would be medium" in await tab.text("#entities .why")
            assert tab.complaints == []

    async def test_a_held_level_is_not_said_to_stay(self, tab: Browser):
        state = STATES["calm"]()
        person = state["guardian"]["top"][0] | {"level": "medium"}  # its score is low
        person["reasons"][0] |= {"scoreWithout": 20.5, "levelWithout": "low"}
        del person["reasons"][1]["levelWithout"]  # as of a service that does not say
        state["guardian"]["top"] = [person]
        async with serving(state) as url:
            await tab.open(url)
            assert await tab.value(
                "[...document.querySelectorAll('#entities .without')].every(n => n.hidden)"
            )

    async def test_of_no_level_nothing_is_said(self, tab: Browser):
        async with serving(STATES["calm"]()) as url:
            await tab.open(f"{url}?lang=en")
            told = "[...document.querySelectorAll('#entities .entity')].map(n => n.querySelectorAll('.without:not([hidden])').length)"
            assert await tab.value(told) == [2, 0, 0]

    async def test_layers_say_shape_word_and_number(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            layers = await tab.value(
                "[...document.querySelectorAll('#layers li')].map(n => [n.dataset.level, n.innerText])"
            )
            assert [level for level, _ in layers] == [
                "unknown",
                "none",
                "none",
                "none",
                "medium",
                "critical",
                "high",
                "unknown",
            ]
            assert "Crítico · 92" in layers[5][1]
            shapes = await tab.value(
                "[...document.querySelectorAll('#layers path')].map(p => p.getAttribute('d'))"
            )
            assert len(set(shapes)) == 5

    async def test_decisions_and_records_are_told_in_words(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            await tab.until(
                "document.querySelectorAll('#bookpi li').length && document.getElementById('msr-root').innerText !== '–'"
            )
            assert "coacción no permitida, intenta pasar por encima de la doctrina" in await tab.text(
                "#protocols"
            )
            assert "rechazado · perfilar emociones" in await tab.text("#isabella")
            assert "riesgo 0.85 · crítico · coacción, daño, privacidad" in await tab.text("#eoct")
            assert "la coacción no está permitida" in await tab.text("#bookpi")
            assert await tab.text("#msr-size") == "1,412"
            assert (await tab.text("#msr-root")).startswith("q4YHb1W6")

    async def test_a_service_without_events_invites_the_first_ones(self, tab: Browser):
        async with serving(STATES["empty"]()) as url:
            await tab.open(url)
            assert await tab.text("#level-word") == "Sin datos"
            assert "/api/v1/events" in await tab.text("#sentence")
            assert await tab.value("document.getElementById('synthetic').hidden")
            assert await tab.value("[...document.querySelectorAll('.empty')].every(n => !n.hidden)")
            assert tab.complaints == []

    async def test_synthetic_data_says_so(self, tab: Browser):
        async with serving(STATES["calm"]()) as url:
            await tab.open(url)
            assert (await tab.text("#synthetic")).startswith("Datos sintéticos")
            assert not await tab.value("document.getElementById('synthetic').hidden")

    async def test_hostile_strings_stay_text(self, tab: Browser):
        async with serving(STATES["hostile"]()) as url:
            await tab.open(url)
            await tab.until("document.querySelectorAll('#bookpi li').length")
            assert "pwned" not in await tab.value("document.title")
            assert await tab.value("document.querySelectorAll('img, main script, iframe').length") == 0
            assert await tab.value("document.querySelector('#entities .name').textContent") == HOSTILE
            assert tab.complaints == []

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("width", [360, 768, 1280, 1920])
    @pytest.mark.parametrize("state", ["empty", "hostile"])
    async def test_nothing_runs_out_of_the_window(self, tab: Browser, state: str, width: int, dark: bool):
        async with serving(STATES[state]()) as url:
            await tab.open(f"{url}?lang=en", width=width, dark=dark)
            await tab.until("document.querySelectorAll('#layers li').length === 8")
            assert await tab.value("document.documentElement.scrollWidth") <= width
            outside = await tab.value(
                "[...document.querySelectorAll('main *')].filter(n => n.getBoundingClientRect().right > innerWidth + 1 && !n.closest('.unseen')"
                " && getComputedStyle(n.parentElement).overflow !== 'hidden' && getComputedStyle(n).overflow !== 'hidden').map(n => n.className || n.tagName)"
            )
            assert outside == []

    @pytest.mark.parametrize("dark", [False, True])
    async def test_text_contrasts_with_its_ground(self, tab: Browser, dark: bool):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url, dark=dark)
            await tab.until("document.querySelectorAll('#alerts li').length")
            ratios = await tab.value("""(() => {
                const light = (text) => {
                    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
                        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
                };
                const ground = light(getComputedStyle(document.querySelector('.panel')).backgroundColor);
                return ['h2', '.fine', '.entity .name', '.why .kind', '.why .without', 'time', '#sentence', '#recommended'].map((selector) => {
                    const ink = light(getComputedStyle(document.querySelector(selector)).color);
                    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
                });
            })()""")
            assert min(ratios) >= 4.5  # WCAG 2.2, 1.4.3

    async def test_the_language_changes_at_once_and_is_remembered(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            await tab.value("document.querySelector('[data-language=\"en\"]').click()")
            await tab.until("document.documentElement.lang === 'en'")
            await tab.until("document.getElementById('level-word').innerText === 'Critical'")
            assert await tab.text("#entities-title") == "Who and why"
            assert "coercion not allowed" in await tab.text("#protocols")
            assert (
                await tab.value(
                    "document.querySelector('[data-language=\"en\"]').getAttribute('aria-pressed')"
                )
                == "true"
            )
            await tab.open(url)
            assert await tab.value("document.documentElement.lang") == "en"
            await tab.value("localStorage.clear()")

    async def test_the_keyboard_reaches_everything(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            reached = []
            for _ in range(4):
                await tab.press("Tab", 9)
                reached.append(
                    await tab.value(
                        "document.activeElement.className || document.activeElement.dataset.language || document.activeElement.tagName"
                    )
                )
            assert reached == ["skip", "es-MX", "en", "SUMMARY"]
            assert await tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    async def test_it_follows_the_service_and_announces_levels(self, tab: Browser):
        state = STATES["calm"]()
        async with serving(state) as url:
            await tab.open(url)
            assert await tab.text("#level-word") == "Bajo"
            state.update(STATES["critical"]())
            await tab.until("document.getElementById('level-word').innerText === 'Crítico'")
            assert (
                await tab.value("document.getElementById('announcement').getAttribute('aria-live')")
                == "polite"
            )
            assert (
                await tab.value("document.getElementById('announcement').textContent")
                == "Nivel de amenaza: Crítico, 92 de 100."
            )
            await tab.until("document.getElementById('entities').children.length === 4")
            state["guardian"] = state["guardian"] | {"score": 30.0, "top": state["guardian"]["top"][:1]}
            await tab.until("!document.getElementById('held').hidden")
            await tab.until("document.getElementById('entities').children.length === 1")

    async def test_the_trend_has_a_table_for_its_twin(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            await tab.until("document.querySelectorAll('#trend .line').length === 1")
            await tab.value("document.querySelector('.trend summary').click()")
            rows = await tab.text("#trend-rows")
            assert "92" in rows
            assert "Crítico" in rows
            assert (
                await tab.value("document.getElementById('trend').getAttribute('aria-label')")
                == "Evolución de la puntuación: ahora 92, máxima 92."
            )

    async def test_a_reason_is_acknowledged_with_the_keyboard(self, tab: Browser):
        state = STATES["critical"]()
        async with serving(state) as url:
            await tab.open(url)
            await tab.value("document.querySelector('#entities .why button').focus()")
            assert (
                await tab.value("document.activeElement.getAttribute('aria-label')")
                == "Reconocer: Dirección 203.0.113.66, waf.sql_injection"
            )
            await tab.press("Enter", 13)
            await tab.until("document.getElementById('acknowledge').open")
            assert await tab.text("#acknowledge-about") == "Dirección 203.0.113.66: waf.sql_injection"
            assert await tab.value("document.activeElement.id") == "acknowledge-reason"
            proposed = await tab.value(
                "new Date(document.getElementById('acknowledge-until').value).toISOString()"
            )
            assert (
                proposed == "2026-11-04T02:41:00.000Z"
            )  # by the event clock, which here is not this machine's
            await tab.press("Tab", 9)
            await tab.value("document.getElementById('acknowledge-send').focus()")
            await tab.press("Enter", 13)  # without a reason
            await tab.until("!document.getElementById('acknowledge-trouble').hidden")
            assert (await tab.text("#acknowledge-trouble")).startswith("Diga por qué")
            assert await tab.value("document.activeElement.id") == "acknowledge-reason"
            await tab.call("Input.insertText", text="  prueba propia <b>ñ</b> ")
            await tab.value("document.getElementById('acknowledge-send').focus()")
            await tab.press("Enter", 13)
            await tab.until("!document.getElementById('acknowledge').open")
            assert await tab.value("document.activeElement.className") == "quiet"  # back where it began
            assert state["posted"] == [
                (
                    "acknowledgements",
                    {
                        "role": "address",
                        "entity": "203.0.113.66",
                        "kind": "waf.sql_injection",
                        "action": "snooze",
                        "reason": "prueba propia <b>ñ</b>",
                        "until": "2026-11-04T02:41:00.000Z",
                    },
                )
            ]
            assert tab.complaints == []

    async def test_for_good_and_what_the_service_refuses(self, tab: Browser):
        error = {"key": "reason", "expected": "text without control characters", "got": "text"}
        state = STATES["critical"]() | {"answer": (422, {"errors": [error]})}
        async with serving(state) as url:
            await tab.open(f"{url}?lang=en")
            await tab.value("document.querySelector('#entities .why button').click()")
            await tab.value("document.getElementById('acknowledge-until').value = '2026-11-03T00:00'")
            await tab.call("Input.insertText", text="our own scanner")
            await tab.value("document.getElementById('acknowledge-send').click()")
            assert (await tab.text("#acknowledge-trouble")).startswith("The end must be")
            await tab.value("document.getElementById('acknowledge-until').value = ''")
            await tab.value("document.getElementById('acknowledge-send').click()")
            await tab.until("document.getElementById('acknowledge-trouble').innerText.includes('422')")
            assert "reason: text without control characters" in await tab.text("#acknowledge-trouble")
            assert state["posted"][0][1]["action"] == "acknowledge"
            assert "until" not in state["posted"][0][1]
            await tab.press("Escape", 27)
            await tab.until("!document.getElementById('acknowledge').open")

    async def test_what_is_acknowledged_is_listed_and_withdrawn(self, tab: Browser):
        state = STATES["critical"]()
        async with serving(state) as url:
            await tab.open(f"{url}?lang=en")
            await tab.until("document.querySelectorAll('#acknowledgements li').length === 2")
            assert await tab.text("#acknowledgements-title") == "Acknowledged as benign 9"
            first = await tab.text("#acknowledgements li")
            for part in (
                "Resource",
                "respaldos",
                "respaldo.terminado",
                "respaldo nocturno",
                "local",
                "until Nov",
            ):
                assert part in first
            assert "until it is withdrawn" in await tab.text("#acknowledgements li:last-child")
            await tab.value("document.querySelector('#acknowledgements button').click()")
            assert await tab.text("#acknowledge-title") == "Let these events count again?"
            assert not await tab.value("document.getElementById('acknowledge-until').checkVisibility()")
            await tab.call("Input.insertText", text="backup moved")
            await tab.value("document.getElementById('acknowledge-send').click()")
            await tab.until("!document.getElementById('acknowledge').open")
            ((_, sent),) = state["posted"]
            assert sent == {
                "role": "target",
                "entity": "respaldos",
                "kind": "respaldo.terminado",
                "action": "withdraw",
                "reason": "backup moved",
            }

    async def test_only_one_kind_at_its_own_entity_can_be_acknowledged(self, tab: Browser):
        async with serving(STATES["critical"]()) as url:
            await tab.open(url)
            hidden = await tab.value(
                "[...document.querySelector('#entities .why').children].map(n => [n.querySelector('.channel').innerText, n.querySelector('button').hidden])"
            )
            assert hidden == [["regla", False], ["ráfaga", True], ["novedad", False], ["contexto", True]]

    async def test_a_lost_connection_is_said_and_forgotten(self, tab: Browser):
        state = STATES["critical"]()
        kept = state["guardian"]
        async with serving(state) as url:
            await tab.open(url)
            state["guardian"] = 503
            await tab.until("!document.getElementById('trouble').hidden")
            assert (await tab.text("#trouble")).startswith("Sin conexión desde las ")
            assert await tab.text("#level-word") == "Crítico"  # the last that was known stays
            await tab.value("document.querySelector('[data-language=\"en\"]').click()")
            await tab.until("document.getElementById('trouble').innerText.startsWith('No connection since ')")
            state["guardian"] = kept
            await tab.until("document.getElementById('trouble').hidden")
            assert await tab.text("#connection") == "Live"
            await tab.value("localStorage.clear()")

    async def test_a_page_without_permission_says_so(self, tab: Browser):
        async with serving(STATES["calm"]() | {"guardian": 401}) as url:
            await tab.open(url)
            await tab.until("!document.getElementById('trouble').hidden")
            assert "autorización (HTTP 401)" in await tab.text("#trouble")

    async def test_a_missing_route_silences_its_own_panel_only(self, tab: Browser):
        async with serving(STATES["critical"]() | {"eoct/evaluations": 404}) as url:
            await tab.open(url)
            await tab.until("document.querySelectorAll('#isabella li').length === 3")
            await tab.until(
                "document.querySelector('#eoct').parentElement.innerText.includes('No disponible')"
            )
            assert await tab.text("#level-word") == "Crítico"

    async def test_without_its_texts_the_page_stays_readable(self, tab: Browser):
        async with serving(STATES["critical"](), texts=False) as url:
            await tab.open(url)
            assert await tab.text("#level-word") == "critical"
            assert await tab.text("#entities-title") == "Quién y por qué"
            assert "{" not in await tab.text("main")
