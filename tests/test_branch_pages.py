"""Trees of text on a page: every number is that of the search, and keys, mouse and touch open them in a browser."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, Page, browsing
from render_samples import HOSTILE_NAME, HOSTILE_PIECES, unsafe_in

from llama_diversity.records import Piece
from llama_diversity.render.branch_pages import branch_script, branching_data, branching_html
from llama_diversity.render.branches import Branch, Grown, WeightedPath, branches_of, compared, weights_of
from llama_diversity.render.exhibits import Branching, Section, in_terminal
from llama_diversity.render.notebook import of_exhibit
from llama_diversity.render.report import to_page


def path(text: str, *probabilities: float) -> WeightedPath:
    return WeightedPath([Piece(word.encode()) for word in re.findall(r" ?\w+", text)], probabilities)


BASE = [
    path(" an American writer", 0.64, 0.32, 0.04), path(" an American singer", 0.64, 0.32, 0.03),
    path(" an English lady", 0.64, 0.15, 0.01), path(" a nurse", 0.33, 0.05), path(" a doctor", 0.33, 0.04),
]  # fmt: skip
ALIGNED = [path(" a nurse", 0.7, 0.69), path(" a doctor", 0.7, 0.004), path(" an American writer", 0.25, 0.1, 0.001)]


def exhibit() -> Branching:
    weights = {"base": weights_of(BASE), "aligned": weights_of(ALIGNED)}
    trees = (
        Grown("base", "base: She was", compared(branches_of(BASE, 100), [weights["aligned"]])),
        Grown("aligned", "aligned: She was", compared(branches_of(ALIGNED, 100), [weights["base"]])),
    )
    return Branching("branches", "Where they part", trees, "A note.")


def hostile() -> Branching:
    evil = Piece(b"</script><img src=x onerror=\"document.title='owned'\"><u>\x1b[2J" + "\u202e".encode())
    below = [Branch((piece,), 0.001, texts=(HOSTILE_NAME,)) for piece in HOSTILE_PIECES[:40]]
    branch = Branch((evil,), 0.5, below, told=HOSTILE_NAME, texts=(evil.bytes.decode(),))
    return Branching("branches", HOSTILE_NAME, (Grown(HOSTILE_NAME, HOSTILE_NAME, [branch]),), HOSTILE_NAME)


def page_of(one: Branching) -> str:
    return to_page([Section("tree", "Trees", "About.", "llamadiv tree", (one,))], "Report")


# ---- what stands in a page


def walked(branches: list[Any], above: str = "") -> Iterator[tuple[str, list[float | None]]]:
    for text, percents, *rest in branches:
        yield above + text, percents
        yield from walked(rest[0] if rest else [], above + text)


def test_every_branch_has_its_probability_under_each_model() -> None:
    [base, aligned] = branching_data(exhibit())["trees"]
    assert dict(walked(base["branches"])) == {
        " an": [64, 25], " an American": [32, 10], " an American writer": [4, 0.1], " an American singer": [3, None],
        " an English lady": [1, None], " an English": [15, None], " a": [33, 70], " a nurse": [5, 69],
        " a doctor": [4, 0.4],
    }  # fmt: skip
    assert dict(walked(aligned["branches"])) == {
        " a nurse": [69, 5], " a": [70, 33], " a doctor": [0.4, 4], " an": [25, 64],
        " an American": [10, 32], " an American writer": [0.1, 4],
    }  # fmt: skip
    assert [tree["colour"] for tree in (base, aligned)] == [0, 1]


def test_the_heaviest_are_there_without_a_script_and_nothing_unsafe_is() -> None:
    still = re.sub(r"<script.*?</script>", "", branching_html(exhibit()), flags=re.DOTALL)
    assert '>64 %</span> <span class="words"> an</span>' in still
    for one in (exhibit(), hostile()):
        page = page_of(one)
        tags = Tags(page)
        assert tags.found.isdisjoint({"img", "u", "link", "iframe"})
        assert tags.scripts == ["application/json", None]
        assert tags.events == []
        assert set(unsafe_in(page)) <= {"\u200d"}
        assert branching_html(one) in of_exhibit(one)
        assert page.count(branch_script()) == of_exhibit(one).count(branch_script()) == 1
        data = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
        assert data
        assert "<" not in data[1]
        assert json.loads(data[1]) == branching_data(one)


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.events: list[str] = []
        self.scripts: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.events += [name for name, _ in attrs if name.startswith("on")]
        self.scripts += [dict(attrs).get("type")] if tag == "script" else []


def test_a_tree_of_nothing_is_a_page_too() -> None:
    empty = Branching("branches", "Nothing", (Grown("base", "base: She", []),))
    assert branching_data(empty)["trees"][0]["branches"] == []
    assert "Nothing" in page_of(empty)
    assert in_terminal(Section("tree", "Trees", "", "llamadiv tree", (empty,)))


def test_the_tree_of_a_search_is_on_its_page(run: Callable, tmp_path: Path) -> None:
    arms = ("--base", "scripted:base", "--aligned", "scripted:aligned")
    assert run("tree", *arms, "-p", "She was", "--depth", 4, "-k", 30, "--out", tmp_path, "-q")[0] == 0
    found = json.loads((tmp_path / "tree.json").read_text())["arms"]
    data = re.search(r'<script type="application/json">(.*?)</script>', (tmp_path / "index.html").read_text("utf-8"))
    assert data
    for tree in json.loads(data[1])["trees"]:
        shown = dict(walked(tree["branches"]))
        heaviest = found[tree["arm"]]["openings"][0]
        percent = float(f"{100 * math.exp(heaviest['log_probabilities'][-1]):.3g}")
        assert percent in [percents[0] for text, percents in shown.items() if text.startswith(heaviest["text"])]


# ---- in a browser

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; the tests above judge the page without one")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Shows trees on a page; at the end nothing may have been logged, thrown or fetched."""
    pages: list[Page] = []

    def show(one: Branching, **how: Any) -> Page:
        (tmp_path / "page.html").write_text(page_of(one), "utf-8")
        pages.append(browser.page())
        pages[-1].open(tmp_path / "page.html", **how)
        return pages[-1]

    yield show
    for page in pages:
        assert page.complaints == []
        assert page.requests == [(tmp_path / "page.html").as_uri()]


WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
HERE = "document.activeElement.querySelector('.words')?.textContent"
TOLD = "document.querySelector('.branching .told').innerText"


def lines(arm: int) -> str:
    """The lines of a tree that can be seen."""
    rows = f"[...document.querySelectorAll('.arm')[{arm}].querySelectorAll('.line')]"
    return f"{rows}.filter((one) => one.checkVisibility()).map((one) => one.querySelector('.words').textContent)"


def row(text: str, arm: int = 0) -> str:
    rows = f"[...document.querySelectorAll('.arm')[{arm}].querySelectorAll('.line')]"
    return f"{rows}.find((one) => one.querySelector('.words').textContent === {json.dumps(text)})"


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_keys_walk_and_open_the_tree(shown: Callable[..., Page], width: int) -> None:
    page = shown(exhibit(), width=width)
    assert not page.value(WIDE)
    everything = [" an", " American", " writer", " singer", " English", " lady", " a", " nurse", " doctor"]
    assert page.value(lines(0)) == everything
    page.value("document.querySelector('[role=treeitem]').focus()")
    for keys, here in (
        (["ArrowDown"], " American"), (["ArrowLeft"], " American"), (["ArrowDown"], " English"),
        (["ArrowUp"], " American"),
        (["ArrowRight"], " American"), (["ArrowRight"], " writer"), (["ArrowLeft"], " American"), (["End"], " doctor"),
        (["Home"], " an"), (["ArrowLeft"], " an"), (["ArrowDown"], " a"), (["ArrowUp"], " an"), (["*"], " an"),
    ):  # fmt: skip
        page.press(*keys)
        assert page.value(HERE) == here, keys
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.value("document.querySelectorAll('[role=tree]').length") == 2
    assert page.value("document.querySelector('[role=tree]').querySelectorAll('[tabindex]').length") == 1
    page.press("Enter")
    assert page.value(lines(0))[:2] == [" an", " a"]
    assert not page.value(WIDE)


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_what_is_told_is_what_was_found(shown: Callable[..., Page], width: int) -> None:
    page = shown(exhibit(), width=width, touch=True)
    page.tap(row(" nurse"))
    assert page.value(TOLD).strip() == "a nurse base 5 %, aligned 69 %. It is 15 % of the branch above it."
    assert page.value("document.querySelectorAll('.twin').length") == 1
    assert page.value("document.querySelector('.twin').closest('.arm').dataset.arm") == "1"
    page.tap(row(" a"))
    assert "Of it 27 % is listed below it." in page.value(TOLD)
    assert " nurse" in page.value(lines(0))
    page.tap(row(" a"))
    assert " nurse" not in page.value(lines(0))
    widths = page.value(f"[...{row(' a')}.querySelectorAll('.bar')].map((one) => one.getBoundingClientRect().width)")
    assert widths[1] / widths[0] == pytest.approx(70 / 33, rel=0.03)
    page.tap(row(" singer"))
    assert "not listed of aligned" in page.value(TOLD)
    page.tap("document.querySelector('.choice input[value=aligned]')")
    assert page.value("[...document.querySelectorAll('.arm')].map((one) => one.hidden)") == [True, False]


@in_browser
def test_a_screen_reader_hears_the_branch(shown: Callable[..., Page]) -> None:
    page = shown(exhibit(), width=1440)
    page.call("Accessibility.enable")
    page.value("document.querySelector('[role=treeitem]').focus()")
    page.press("ArrowDown")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    items = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "treeitem"]
    assert "32 percent: American" in items
    assert page.value("document.querySelector('[role=status]').textContent").startswith(" an American base 32 %")


@in_browser
def test_a_branch_without_tokens_is_said_and_is_no_part_of_a_path(shown: Callable[..., Page]) -> None:
    below = [Branch((Piece(b" nurse"),), 1e-9, texts=(" from Leeds",))]
    page = shown(Branching("b", "B", (Grown("base", "base", [Branch((), 1.0, below)]),)), width=390)
    assert page.value(lines(0)) == ["(as it goes on)", " nurse"]
    page.value(f"{row(' nurse')}.click()")
    assert page.value(TOLD).split() == "nurse base 1e-7 %. It is under 1 % of the branch above it. from Leeds".split()
    boxes = page.value(
        f"[...{row(' nurse')}.children].map((one) => [one.getBoundingClientRect().left, one.scrollWidth])"
    )
    assert boxes[2][0] + boxes[2][1] <= boxes[3][0]  # a long number stands beside the words


@in_browser
def test_hostile_text_stays_text(shown: Callable[..., Page]) -> None:
    page = shown(hostile(), width=390)
    page.value("[...document.querySelectorAll('.line')].forEach((one) => one.click())")
    page.value("document.querySelector('.line').click()")
    assert "<img src=x onerror=" in page.value(TOLD)
    assert page.value("document.title") == "Report"
    assert page.value("document.querySelectorAll('img, u').length") == 0
    assert set(unsafe_in(page.value("document.body.innerText"))) <= {"\u200d"}
    assert not page.value(WIDE)


# ---- of a stored run


@pytest.fixture
def stored(run: Callable, tmp_path: Path) -> dict[str, Any]:
    """Branches of a model that were stored, as a folder of files has them, and the data of their page."""
    taken = ("--then", " a", "--top", 2, "-n", 5, "--max-tokens", 4)
    store = ("--store", tmp_path / "store.sqlite")
    assert run("branch", "-m", "scripted:base", "-p", "She was", *taken, "--out", tmp_path, "-q", *store)[0] == 0
    data = re.search(r'<div class="exhibit branching".*?<script type="application/json">(.*?)</script>',
                     (tmp_path / "index.html").read_text("utf-8"), re.DOTALL)  # fmt: skip
    assert data
    return {"found": json.loads((tmp_path / "branch.json").read_text()), "trees": json.loads(data[1])["trees"]}


def test_ways_that_were_stored_stand_in_their_tree_with_what_followed(stored: dict[str, Any]) -> None:
    [tree] = stored["trees"]
    [[text, percents, branches, told, texts]] = tree["branches"]
    assert (text, percents, told, len(texts)) == ("", [100], "way 1: 5 continuations.", 5)
    ways = stored["found"]["ways"][1:]
    assert [branch[0] for branch in branches] == ["".join(one["text"] for one in way["taken"]) for way in ways]
    for branch, way in zip(branches, ways, strict=True):
        assert branch[1] == [float(f"{100 * way['mass']:.3g}")]
        assert f"{way['share']['k']} of {way['share']['n']} continuations of way 1 began so" in branch[3]
        assert len(branch[4]) == way["n"] == 5
