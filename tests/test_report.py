"""The page: whole, escaped, without a request, and alive in a browser where there is one."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from llama_diversity.render import maps
from llama_diversity.render.csv import to_csv as rows_as_csv
from llama_diversity.render.exhibits import (
    Between,
    Figure,
    Remark,
    Section,
    Share,
    Table,
    in_terminal,
)
from llama_diversity.render.folder import to_csv, write_report
from llama_diversity.render.report import to_page

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\x1b[2J\u202e"
SPOTS = [maps.Spot(float(at), float(at % 3), at / 10, at % 2, f"text {at}" if at else EVIL) for at in range(10)]


def section(name: str = "semantic") -> Section:
    figure = Figure(
        "figure-10-map",
        "Map",
        lambda: {"base": maps.map_panel(SPOTS, SPOTS[:2], quantity="cosine", low=0, high=1, pick="cluster_0")},
        "a note",
    )
    table = Table(
        "table-1",
        "Numbers",
        ("what", "value", "95 % interval", "share"),
        ((EVIL, 0.12345, Between(0.1, 0.2), Share(0.25)), ("=1+1", None, None, None)),
    )
    remarks = (Remark("One prompt."), Remark(EVIL, is_warning=True))
    exhibits = (*remarks, table, figure)
    return Section(name, f"Experiment {EVIL}", "What was done.", "llamadiv semantic --seed 0", exhibits)


class Tags(HTMLParser):
    """Every tag with its attributes; the text of scripts by type."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_text_becomes_markup_and_nothing_is_fetched() -> None:
    page = to_page([section()], EVIL)
    tags = Tags(page).found
    assert [tag for tag, _ in tags if tag in ("img", "link", "iframe", "base", "object")] == []
    assert [attributes.get("src") for tag, attributes in tags if tag == "script"] == [None, None]
    assert not any("onerror" in attributes for _, attributes in tags)
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    assert "&lt;/script&gt;&lt;script&gt;" in body


def test_the_data_of_the_charts_are_json_that_cannot_end_its_element() -> None:
    page = to_page([section()], "Report")
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert data
    assert "<" not in data[1]
    spec = json.loads(data[1])["figure-10-map-0"]
    assert not {"config", "background"} & set(spec)
    assert "figure-10-map-0" in {attributes.get("id") for _, attributes in Tags(page).found}


def test_the_same_sections_give_the_same_bytes_and_several_get_a_table_of_contents() -> None:
    assert to_page([section()], "Report") == to_page([section()], "Report")
    page = to_page([section("one"), section("two")], "Report")
    assert 'href="#one"' in page
    assert 'href="#two"' in page
    assert "<nav>" not in to_page([section()], "Report")


def test_a_very_long_table_is_in_its_file_alone() -> None:
    for n, is_there in ((1000, True), (1001, False)):
        long = Table("table-2", "Long", ("number",), tuple((f"row {at}",) for at in range(n)))
        page = to_page([Section("semantic", "Meaning", "", "llamadiv semantic", (long,))], "Report")
        assert ("row 999" in page, "1,001 rows, in the file table-2.csv." in page) == (is_there, not is_there)


def test_numbers_are_rounded_for_readers_and_whole_in_files() -> None:
    page = to_page([section()], "Report")
    for shown in ("0.123", "0.100 to 0.200", "25 %", "–"):
        assert f">{shown}</td>" in page
    [head, evil, formula] = to_csv(section().exhibits[2]).splitlines()  # type: ignore[arg-type]
    assert head == 'what,value,"95 % interval, low","95 % interval, high",share'
    assert evil.endswith(",0.12345,0.1,0.2,0.25")
    assert formula == "'=1+1,,,,"


def test_a_long_table_is_folded_away_and_whole() -> None:
    rows = tuple((at,) for at in range(26))
    for n, is_folded in ((25, False), (26, True)):
        page = to_page([Section("s", "t", "a", "c", (Table("x", "y", ("n",), rows[:n]),))], "Report")
        assert ("<details>" in page) == is_folded
        assert page.count("<tr>") == n + 1


def test_a_table_without_rows_and_a_figure_of_nothing_are_left_out(tmp_path: Path) -> None:
    empty = (Table("none", "No rows", ("n",), ()), Figure("blank", "No panels", dict), Remark("what is there"))
    write_report(Section("s", "t", "a", "c", empty), tmp_path)
    [page] = tmp_path.iterdir()
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(in_terminal(Section("s", "t", "a", "c", empty)))
    for shown in (page.read_text(), capture.get()):
        assert "what is there" in shown
        assert "No rows" not in shown
        assert "No panels" not in shown


def test_a_page_without_charts_has_no_script() -> None:
    plain = Section("s", "t", "a", "c", (Remark("r"),))
    assert "<script" not in to_page([plain], "Report")


def test_all_files_are_written_and_the_terminal_shows_tables(tmp_path: Path) -> None:
    write_report(section(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "index.html", "table-1.csv", "figure-10-map.png", "figure-10-map.svg", "figure-10-map.pdf",
        "figure-10-map.vl.json",
    }  # fmt: skip
    assert in_terminal(section())


PROBE = """
<script>
const seen = {errors: [], tooltip: "", before: 0, after: 0};
addEventListener("error", e => seen.errors.push(String(e.message)));
addEventListener("unhandledrejection", e => seen.errors.push(String(e.reason)));
addEventListener("securitypolicyviolation", e => seen.errors.push("blocked " + e.blockedURI));
const points = () => document.querySelectorAll("#figure-10-map-0 .mark-symbol.role-mark path");
const visible = () => [...points()].filter(p => p.getAttribute("stroke") === "#808080");
async function probe() {
  while (!document.body.dataset.drawn) await new Promise(r => setTimeout(r, 20));
  try { await look(); } catch (error) { seen.errors.push(String(error)); }
  document.documentElement.dataset.seen = JSON.stringify(seen);
}
async function look() {
  seen.before = visible().length;
  const box = visible()[1].getBoundingClientRect();
  for (const kind of ["pointerover", "pointermove", "mousemove"])
    visible()[1].dispatchEvent(new PointerEvent(kind, {bubbles: true, clientX: box.x + 2, clientY: box.y + 2}));
  await new Promise(r => setTimeout(r, 50));
  seen.tooltip = (document.getElementById("vg-tooltip-element") || {}).textContent || "";
  const list = document.querySelector("#figure-10-map-0 select");
  list.selectedIndex = 1; list.dispatchEvent(new Event("input", {bubbles: true}));
  list.dispatchEvent(new Event("change", {bubbles: true}));
  await new Promise(r => setTimeout(r, 200));
  seen.after = visible().length;
  seen.fetched = performance.getEntriesByType("resource").map(e => e.name);
  seen.wide = document.documentElement.scrollWidth > innerWidth;
}
probe();
</script>
</body>"""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; the tests above judge the page without one")
@pytest.mark.parametrize("width", [500, 1440])
def test_in_a_browser_points_answer_and_clusters_filter(tmp_path: Path, width: int) -> None:
    page = PROBE.join(to_page([section()], "Report").rsplit("</body>", 1))
    (tmp_path / "page.html").write_text(page, "utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900", "--virtual-time-budget=20000", "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["errors"] == []
    assert seen["fetched"] == []
    assert seen["before"] == 10
    assert seen["after"] == 5
    assert "text 1" in seen["tooltip"]
    assert not seen["wide"]


def test_a_carriage_return_in_a_cell_does_not_part_a_row() -> None:
    written = rows_as_csv(["said", "n"], [["one\rtwo", "1"], ["=\r", "2"]])
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["said", "n"], ["one\rtwo", "1"], ["=\r", "2"]]
    assert written.startswith('said,n\n"one\rtwo",1\n')
