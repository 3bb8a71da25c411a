"""Coloured texts on a page: what stands there is what is kept, and keys, mouse and touch ask for it in a browser."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, Page, browsing
from render_samples import HOSTILE, HOSTILE_NAME, HOSTILE_TEXT, LIKELIEST, SENTENCE, token, unsafe_in

from llama_diversity.records import Piece
from llama_diversity.render.cells import inline
from llama_diversity.render.exhibits import Section, Tokens
from llama_diversity.render.heatmap import DifferenceHeatmap, GenerationsHeatmap, Heatmap, Looks, TokenPicture
from llama_diversity.render.html import fragment, to_html, token_script
from llama_diversity.render.notebook import of_pictures
from llama_diversity.render.report import to_page
from llama_diversity.render.scales import Alternative, ScoredToken
from llama_diversity.render.token_data import token_data

OTHERS = (Alternative(Piece(b" she"), 0.7), Alternative(Piece(b" the"), 0.123456))
SECOND = [
    one._replace(surprisal_bits=one.surprisal_bits + at / 7, rank=one.rank and at + 1, alternatives=OTHERS)
    for at, one in enumerate(SENTENCE)
]
MIXED = [
    ScoredToken(Piece(b" a"), 1.25, 2.0, 1, LIKELIEST, 1.5, 1.75, (0.5, 3.25), 1, varentropy_bits2=0.625),
    ScoredToken(Piece(b" nurse"), 2.5, 2.0, 2, LIKELIEST, math.inf, 1.75, (4.0, 0.25), 0, varentropy_bits2=0.5),
]


def one(tokens: list[ScoredToken] = SENTENCE, **options: Any) -> Heatmap:
    return Heatmap(tokens, model="m", tokenizer="t", **options)


def two(**options: Any) -> DifferenceHeatmap:
    return DifferenceHeatmap(SENTENCE, SECOND, models=("base", "aligned"), tokenizer="t", **options)


# ---- the data


def test_every_number_of_every_token_stands_in_the_data_as_it_is_kept() -> None:
    data = token_data(two())
    assert len(data["texts"]) == 1
    [text] = data["texts"]
    for tokens, model in zip((SENTENCE, SECOND), text["models"], strict=True):
        for at, kept in enumerate(tokens):
            if math.isnan(kept.surprisal_bits):
                assert (model["surprisal"][at], model["percent"][at], model["rank"][at]) == (None, None, None)
                continue
            assert model["surprisal"][at] == round(kept.surprisal_bits, 2)
            assert model["percent"][at] == float(f"{100 * 2**-kept.surprisal_bits:.3g}")
            assert (model["entropy"][at], model["rank"][at]) == (round(kept.entropy_bits, 2), kept.rank)
            top = model["top"][at]
            assert top[1::2] == [float(f"{100 * other.probability:.3g}") for other in kept.alternatives]
            found = [read(data["pieces"][place]) for place in top[::2]]
            assert found == [(inline(other.piece), other.piece.bytes) for other in kept.alternatives]
    assert text["difference"][3] == round(SECOND[3].surprisal_bits - SENTENCE[3].surprisal_bits, 2)


def read(piece: str | list[str]) -> tuple[str, bytes]:
    """A piece's name and bytes, as the script reads them."""
    if isinstance(piece, str):
        return re.sub("^ | $", "·", piece), piece.encode()
    return piece[0], bytes.fromhex(piece[1]) if len(piece) == 2 else b""


@pytest.mark.parametrize("tokens", [SENTENCE, HOSTILE])
def test_names_and_bytes_come_back_whatever_the_token(tokens: list[ScoredToken]) -> None:
    data = token_data(one(tokens))
    found = [read(data["pieces"][place]) for place in data["texts"][0]["tokens"]]
    assert found == [(inline(kept.piece), kept.piece.bytes) for kept in tokens]


def test_each_view_has_the_steps_that_the_picture_has_when_it_is_coloured_so() -> None:
    for by in ("surprisal", "entropy", "rank", "probability"):
        written = token_data(one(by=by))
        assert [view["name"] for view in written["views"]] == ["surprisal", "entropy", "rank", "probability"]
        assert written["views"][written["first"]]["name"] == by
        for view in written["views"]:
            spans = Spans(fragment(one(by=view["name"])))
            digits = view["blocks"]["0"]
            assert ["nothing" if digit == "-" else view["ramp"][int(digit)][0] for digit in digits] == spans.classes


def test_of_two_models_the_difference_is_looked_at_first_and_of_the_others_both_texts() -> None:
    written = token_data(two())
    assert [view["name"] for view in written["views"]][-1] == "difference"
    assert written["first"] == len(written["views"]) - 1
    assert [sorted(view["blocks"]) for view in written["views"]] == [["0", "1"]] * 4 + [["2"]]


def test_only_what_a_picture_has_can_be_chosen() -> None:
    def views(**options: Any) -> list[str]:
        return [view["name"] for view in token_data(one(MIXED, **options))["views"]]

    assert views() == ["surprisal", "entropy", "rank", "probability", "leaning", "source"]
    assert views(distribution="sampler") == ["surprisal", "entropy", "probability", "leaning", "source"]
    [model] = token_data(one(MIXED, distribution="sampler"))["texts"][0]["models"]
    assert (model["sampler_surprisal"], model["sampler_entropy"]) == ([1.5, "∞"], [1.75, 1.75])
    assert (model["under"], model["source"], model["varentropy"]) == ([[0.5, 3.25], [4, 0.25]], [2, 1], [0.62, 0.5])
    [plain] = token_data(one(MIXED))["texts"][0]["models"]
    assert "sampler_surprisal" not in plain


def test_numbers_beside_tokens_follow_the_view() -> None:
    views = token_data(one(looks=Looks(numbers=True)))["views"]
    assert [view["numbers"]["0"][3] for view in views] == ["⁷", "³", "³", "¹"]
    assert "numbers" not in token_data(one())["views"][0]


def test_a_generation_has_a_text_and_a_block_of_its_own() -> None:
    picture = GenerationsHeatmap([("a", SENTENCE), ("b", SECOND[:4])], tokenizer="t")
    written = token_data(picture)
    assert [len(text["tokens"]) for text in written["texts"]] == [len(SENTENCE), 4]
    assert sorted(written["views"][0]["blocks"]) == ["0", "1"]


def test_a_picture_of_nothing_is_a_page_too() -> None:
    assert token_data(one([]))["texts"][0]["tokens"] == []
    assert token_data(GenerationsHeatmap([], tokenizer="t"))["texts"] == []


# ---- the page


class Spans(HTMLParser):
    """The tokens of a fragment, and what its scripts hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.classes: list[str] = []
        self.tags: set[str] = set()
        self.events: list[str] = []
        self._inside = ""
        self.scripts: list[tuple[str | None, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.events += [name for name in found if name.startswith("on")]
        self._inside = tag
        if tag == "span" and "title" in found:
            self.classes.append(found["class"] or "")
        if tag == "script":
            self.scripts.append((found.get("type"), ""))

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and self.scripts:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def pictures() -> dict[str, TokenPicture]:
    hostile = Heatmap(HOSTILE, model=HOSTILE_NAME, tokenizer=HOSTILE_NAME, title=HOSTILE_NAME)
    return {"one": one(), "two": two(), "hostile": hostile, "mixed": one(MIXED, distribution="sampler")}


@pytest.mark.parametrize("name", pictures())
def test_data_are_json_that_cannot_end_their_element_and_hold_nothing_unsafe(name: str) -> None:
    picture = pictures()[name]
    found = Spans(fragment(picture))
    [(kind, data)] = found.scripts
    assert kind == "application/json"
    assert "<" not in data
    assert set(unsafe_in(data)) <= {"\u200d"}
    assert json.loads(data) == json.loads(json.dumps(token_data(picture)))
    assert found.events == []


def test_the_page_runs_its_own_script_and_no_other() -> None:
    page = to_html([one(), two()], "two")
    assert [kind for kind, _ in Spans(page).scripts] == ["application/json", "application/json", None]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'unsafe-inline'", policy[1]
    )


def test_a_report_and_a_notebook_hold_the_same_fragment() -> None:
    exhibit = Tokens("tokens", "Tokens", two())
    page = to_page([Section("diff", "Diff", "", "llamadiv diff", (exhibit,))], "Report")
    assert fragment(two()) in page
    assert fragment(two()) in of_pictures([two()])
    for whole in (page, of_pictures([two()])):
        assert whole.count(token_script()) == 1
    assert "<script" not in to_page([Section("diff", "Diff", "", "llamadiv diff", ())], "Report")


def test_a_token_costs_few_bytes() -> None:
    """Statistics, five alternatives and four colourings of a token, beside what its span says without a script."""
    kinds = [Piece(f" word{at}".encode()) for at in range(200)]
    tokens = [
        token(kinds[at % 200], at % 13 + 0.37)._replace(
            varentropy_bits2=3.21,
            alternatives=tuple(Alternative(kinds[(at * 7 + n) % 200], 0.4321 / (n + 1)) for n in range(5)),
        )
        for at in range(1000)
    ]
    with_script, without = fragment(one(tokens)), re.sub(r"<script.*?</script>", "", fragment(one(tokens)))
    assert len(with_script) - len(without) < 100 * len(tokens)


# ---- in a browser

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; the tests above judge the page without one")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Shows pictures as a page; at the end nothing may have been logged, thrown or fetched."""
    opened: list[tuple[Page, Path]] = []

    def show(pictures: TokenPicture | list[TokenPicture], *, in_report: bool = False, **how: Any) -> Page:
        several = pictures if isinstance(pictures, list) else [pictures]
        path = tmp_path / f"page-{len(opened)}.html"
        exhibits = tuple(Tokens(f"tokens-{at}", f"Text {at}", picture) for at, picture in enumerate(several))
        report = to_page([Section("s", "Section", "About.", "llamadiv s", exhibits)], "Report")
        path.write_text(report if in_report else to_html(several, "Tokens"), "utf-8")
        page = browser.page()
        page.open(path, **how)
        opened.append((page, path))
        return page

    yield show
    for page, path in opened:
        assert page.complaints == []
        assert page.requests == [path.as_uri()]


TOLD = "document.querySelector('.tokens .asked').innerText"
CHOSEN = "document.querySelector('.tokens .chosen')?.textContent"
FOCUSED = "document.activeElement.textContent"
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def span(at: int, block: int = 0) -> str:
    return f"document.querySelectorAll('.tokens .block')[{block}].querySelectorAll('.text > span')[{at}]"


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("in_report", [False, True])
def test_keys_walk_the_text(shown: Any, width: int, in_report: bool) -> None:
    page = shown(one(), width=width, in_report=in_report)
    assert not page.value(WIDE)
    page.value(f"{span(0)}.focus()")
    assert page.value("document.querySelector('.asked').hidden")
    texts = page.value("[...document.querySelectorAll('.text > span')].map((one) => one.textContent)")
    walk = [
        (["ArrowRight"], 1), (["ArrowRight"], 2), (["ArrowLeft"], 1), (["End"], len(texts) - 1), (["Home"], 0),
        (["ArrowLeft"], 0), (["n"], texts.index("·nurse")), (["n"], texts.index("▪") + 1),
        (["N"], texts.index("·nurse")),
        (["b"], texts.index("·a")), (["b"], texts.index("·not")),
        (["ArrowRight", "ctrl"], texts.index("·a")), (["ArrowRight", "ctrl"], texts.index("·nurse")),
        (["w"], texts.index("→if")), (["b"], texts.index("·nurse")), (["G"], len(texts) - 1), (["g"], 0),
    ]  # fmt: skip
    for keys, at in walk:
        page.press(*keys)
        assert (page.value(FOCUSED), page.value(CHOSEN)) == (texts[at], texts[at]), keys
    page.press("End")
    page.press("n")
    assert page.value(TOLD).strip().startswith("No token further on has 8 bits or more.")
    assert page.value("document.querySelectorAll('[role=option][tabindex]').length") == 1
    assert page.value("document.querySelectorAll('[role=option][aria-selected=true]').length") == 1
    page.press("Home")
    page.press("ArrowDown")
    below = page.value("document.activeElement.getBoundingClientRect().top")
    page.press("ArrowUp")
    assert page.value("document.activeElement.getBoundingClientRect().top") < below
    assert not page.value(WIDE)
    page.press("Escape")
    assert page.value(CHOSEN) is None
    assert page.value("document.querySelector('.asked').hidden")


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_what_is_told_is_what_is_kept(shown: Any, width: int) -> None:
    page = shown(two(), width=width)
    page.value("document.querySelector('.tokens input[value=surprisal]').click()")
    page.tap(span(5))
    told = page.value(TOLD)
    for kept in (SENTENCE[5], SECOND[5]):
        for shown_number in (
            f"{kept.surprisal_bits:.2f} bits",
            f"{kept.entropy_bits:.2f} bits",
            f"{float(f'{100 * 2**-kept.surprisal_bits:.3g}'):g} %",
        ):
            assert shown_number in told
        for other in kept.alternatives:
            assert f"{float(f'{100 * other.probability:.3g}'):g} %" in told
            assert inline(other.piece) in told
    assert f"+{SECOND[5].surprisal_bits - SENTENCE[5].surprisal_bits:.2f} bits" in told
    assert "bytes 20 6E 75 72 73 65" in told
    assert "token 6 of 23" in told
    for nth, alternatives in enumerate((LIKELIEST, OTHERS)):
        of = f"[...document.querySelectorAll('.model-{nth} li:not(.others, .it)')]"
        rows = page.value(
            f"{of}.map((one) => [one.querySelector('.name').textContent, one.querySelector('.bar').style.width])"
        )
        assert rows == [
            [inline(other.piece), f"{float(f'{100 * other.probability:.3g}'):g}%"] for other in alternatives
        ]
    bars = page.value("[...document.querySelectorAll('.model-0 .bar')].map((one) => one.getBoundingClientRect().width)")
    assert bars[0] / bars[1] == pytest.approx(2, abs=0.05)


@in_browser
def test_a_screen_reader_hears_the_token(shown: Any) -> None:
    page = shown(one(), width=1440)
    page.call("Accessibility.enable")
    page.value(f"{span(0)}.focus()")
    for _ in range(5):
        page.press("ArrowRight")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    by_role = {}
    for node in nodes:
        by_role.setdefault(node.get("role", {}).get("value"), []).append(node)
    assert len(by_role["listbox"]) == 1
    assert len(by_role["option"]) == page.value("document.querySelectorAll('.text > span').length")
    [focused] = [node for node in by_role["option"] if {"focused", True} <= properties(node)]
    assert focused["name"]["value"].strip() == "·nurse"
    assert "description" not in focused or not focused["description"]["value"]
    spoken = page.value("document.querySelector('[role=status]').textContent")
    assert spoken == "·nurse, token 6. surprisal 11.00 bits, rank 3; likeliest ·the, 50 %"
    named = {node["name"]["value"] for node in by_role["button"]}
    assert {"Token before", "Token after", "Next surprise", "Close"} <= named
    outline = page.value("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"


def properties(node: dict[str, Any]) -> set[Any]:
    return {part for one in node.get("properties", []) for part in (one["name"], one["value"].get("value")) if part}


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_finger_chooses_and_buttons_move(shown: Any, width: int) -> None:
    page = shown(one(), width=width, touch=True)
    page.tap(span(4))
    assert page.value(CHOSEN) == "·a"
    page.tap("document.querySelector('.asked .next')")
    assert page.value(CHOSEN) == "·nurse"
    page.tap("document.querySelector('.asked .previous')")
    assert page.value(CHOSEN) == "·a"
    page.tap("document.querySelector('.asked .surprise')")
    assert page.value(CHOSEN) == "·nurse"
    box = page.value("JSON.stringify(document.querySelector('.asked').getBoundingClientRect())")
    height = page.value("innerHeight")
    assert json.loads(box)["bottom"] <= height + 1  # in view, also where the text is longer than the screen
    page.tap("document.querySelector('.asked .close')")
    assert page.value(CHOSEN) is None


@in_browser
def test_on_a_small_screen_the_panel_stays_in_view_and_covers_no_chosen_token(shown: Any) -> None:
    page = shown(one([kept for _ in range(40) for kept in SENTENCE[1:7]]), width=390, touch=True)
    page.tap(span(0))
    for key in ("End", "Home"):
        page.press(key)
        token_box, panel_box = (
            json.loads(page.value(f"JSON.stringify({one}.getBoundingClientRect())"))
            for one in ("document.activeElement", "document.querySelector('.asked')")
        )
        assert token_box["bottom"] <= panel_box["top"] + 1
        assert 0 <= token_box["top"]
        assert panel_box["bottom"] <= page.value("innerHeight") + 1


@in_browser
def test_the_panel_is_in_view_inside_boxes_that_scroll_too(browser: Browser, tmp_path: Path) -> None:
    """As a notebook's or a site's are: nothing sticks in them."""
    long = one([kept for _ in range(60) for kept in SENTENCE[1:7]])
    box = '<!DOCTYPE html><meta name="viewport" content="width=device-width"><div style="overflow: auto">'
    (tmp_path / "page.html").write_text(f"{box}{of_pictures([long])}{of_pictures([long])}</div>", "utf-8")
    page = browser.page()
    page.open(tmp_path / "page.html", width=390, touch=True)
    for at in (0, 1):
        page.tap(span(0, at))
        panel = f"document.querySelectorAll('.asked')[{at}].getBoundingClientRect()"
        assert page.value(f"{panel}.top > 0 && {panel}.bottom <= innerHeight + 1")
        assert page.value(f"{span(0, at)}.getBoundingClientRect().bottom <= {panel}.top + 1")
    assert page.value("document.querySelectorAll('.afloat').length") == 1
    assert page.complaints == []


@in_browser
def test_the_mouse_looks_without_choosing(shown: Any) -> None:
    page = shown(one(), width=1440)
    page.value(f"{span(2)}.click()")
    page.point(span(5))
    assert "11.00 bits" in page.value(TOLD)
    assert page.value(CHOSEN) == "·was"
    page.point("document.querySelector('h1')")
    assert "2.20 bits" in page.value(TOLD)


@in_browser
def test_the_colour_follows_the_control_and_so_does_the_legend(shown: Any) -> None:
    page = shown([one(), two(looks=Looks(numbers=True))], width=1440)
    for view in token_data(one())["views"]:
        page.value(f"document.querySelector('.tokens input[value={view['name']}]').click()")
        expected = ["nothing" if digit == "-" else view["ramp"][int(digit)][0] for digit in view["blocks"]["0"]]
        assert (
            page.value(
                "[...document.querySelectorAll('.text')[0].querySelectorAll('span')].map((one) => one.className)"
            )
            == expected
        )
        legend = page.value("document.querySelector('.legend').innerText")
        assert all(sentence in legend for sentence in (*view["above"], *view["below"]))
    second = "document.querySelectorAll('.tokens')[1]"
    visible = f"[...{second}.querySelectorAll('.block')].map((one) => !one.hidden)"
    assert page.value(visible) == [False, False, True]
    page.value(f"{second}.querySelector('input[value=rank]').click()")
    assert page.value(visible) == [True, True, False]
    spans = f"[...{second}.querySelectorAll('.block')[1].querySelectorAll('.text > span')]"
    numbers = f"{spans}.map((one) => one.querySelector('.number')?.textContent ?? '')"
    [rank] = [view for view in token_data(two(looks=Looks(numbers=True)))["views"] if view["name"] == "rank"]
    assert page.value(numbers) == rank["numbers"]["1"]


@in_browser
def test_several_tokens_of_a_glyph_are_told_one_by_one(shown: Any) -> None:
    page = shown(one(), width=1440)
    glyph = page.value("[...document.querySelectorAll('.text > span')].findIndex((one) => one.textContent === '你')")
    page.value(f"{span(glyph)}.click()")
    assert "2 tokens make this glyph; joint surprisal 10.00 bits" in page.value(TOLD)
    page.value(f"{span(glyph)}.focus()")
    page.press("ArrowRight")
    assert "bytes E4 BD" in page.value(TOLD)
    assert "token 13 of 23" in page.value(TOLD)


@in_browser
@pytest.mark.parametrize("in_report", [False, True])
def test_hostile_text_stays_text(shown: Any, in_report: bool) -> None:
    evil = Piece(b"</script><img src=x onerror=\"document.title='owned'\"><u>\x1b[2J" + "\u202e".encode())
    tokens = [ScoredToken(evil, 3.0, 1.0, 2, (Alternative(evil, 0.5), *HOSTILE[0].alternatives[:4]))]
    page = shown(
        [Heatmap(tokens, model=HOSTILE_NAME, tokenizer="t", title=HOSTILE_NAME), one(HOSTILE)],
        width=390, in_report=in_report,
    )  # fmt: skip
    page.value(f"{span(0)}.click()")
    assert "<img src=x onerror=" in page.value(TOLD)
    last = "[...document.querySelectorAll('.tokens')].at(-1)"
    page.value(f"[...{last}.querySelectorAll('.text > span')].forEach((one) => one.click())")
    assert page.value("document.title") in ("Tokens", "Report")
    assert page.value("document.querySelectorAll('img, u').length") == 0
    assert set(unsafe_in(page.value("document.body.innerText"))) <= {"\u200d", "\t"}  # between cells of a table
    assert not page.value(WIDE)
    assert HOSTILE_TEXT  # it is in there


@in_browser
def test_without_a_script_titles_and_colours_are_there(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "still.html"
    path.write_text(to_html(two(), "Tokens"), "utf-8")
    page = browser.page()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(path, width=390)
    document = page.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
    spans = page.call("DOM.querySelectorAll", nodeId=document, selector=".text > span[title]")["nodeIds"]
    assert len(spans) == 3 * len(page_cells())
    assert page.call("DOM.querySelectorAll", nodeId=document, selector=".asked, .controls, [hidden]")["nodeIds"] == []


def page_cells() -> list[str]:
    return Spans(fragment(one())).classes
