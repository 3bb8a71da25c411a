"""Outputs to read beside a plane: escaped, there without a script, and shown by pointer, tap and key in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llama_diversity.render.exhibits import Figure, Reading, Readings, Section
from llama_diversity.render.notebook import of_sections
from llama_diversity.render.planes import Dot, plane
from llama_diversity.render.readings import readings_html
from llama_diversity.render.report import to_page

EVIL = "</details><script>document.title='owned'</script>\x1b[2J"
DOTS = [
    Dot("aligned", "", 0.4, 0.35, 0.45, 0.9, 0.85, 0.95, is_on_front=False),
    Dot("heat T=1", "heat", 0.5, 0.45, 0.55, 0.9, 0.85, 0.95, is_on_front=True),
    Dot("heat T=2", "heat", 0.7, 0.65, 0.75, 0.6, 0.5, 0.7, is_on_front=True),
    Dot("cut p=1", "cut", 0.3, 0.25, 0.35, 0.5, 0.4, 0.6, is_on_front=False),
]


def section() -> Section:
    figure = Figure(
        "the-plane",
        "Plane",
        lambda: {"": plane(DOTS, across="diversity", up="quality", is_up_better=True, delta=0.05)},
    )
    entries = tuple(Reading(dot.name, f"told of {dot.name}", (("asked", f"{dot.name} says {EVIL}"),)) for dot in DOTS)
    return Section(
        "x", "X", "About.", "llamadiv x", (figure, Readings("texts", "Texts", "the-plane", entries, "Note."))
    )


def test_texts_are_there_without_a_script_and_escaped() -> None:
    shown = readings_html(section().exhibits[1])
    assert shown.count("<details data-name=") == 4
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert shown.count("told of heat T=1") == 1
    assert "told of heat T=1" in of_sections([section()])


def test_up_is_better_whichever_way_the_measure_goes() -> None:
    for is_up in (True, False):
        spec = plane(DOTS, across="d", up="q", is_up_better=is_up, delta=0.05).to_dict()
        layer = next(one for one in spec["layer"] if one["mark"].get("type") == "line" and "color" in one["encoding"])
        assert layer["encoding"]["y"]["scale"].get("reverse", False) is not is_up
        [floor] = {row["floor"] for rows in spec["datasets"].values() for row in rows if "floor" in row}
        assert floor == pytest.approx(0.85 if is_up else 0.95)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(String(event.message)));
document.addEventListener("drawn", () => setTimeout(() => {
  const shown = document.querySelector(".shown"), seen = {errors, points: 0};
  const points = [...document.querySelectorAll("#the-plane [tabindex]")];
  seen.points = points.length;
  seen.hidden = shown.hidden;
  const of = (name) => points.find((one) => one.getAttribute("aria-label") === name);
  of("heat T=2").dispatchEvent(new PointerEvent("pointerenter"));
  seen.pointed = shown.textContent;
  of("cut p=1").focus();
  seen.focused = shown.textContent;
  const box = of("heat T=1").getBoundingClientRect();
  const near = {bubbles: true, clientX: box.x + box.width / 2 + 9, clientY: box.y + box.height / 2 + 9};
  document.querySelector("#the-plane svg").dispatchEvent(new MouseEvent("click", near));
  seen.tapped = shown.textContent;
  seen.owned = document.title === "owned";
  seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.body.dataset.seen = JSON.stringify(seen);
}, 50));
</script>
</body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; the tests above judge the page without one")
def test_in_a_browser_a_setting_is_read_by_pointer_tap_and_key(tmp_path: Path) -> None:
    page = PROBE.join(to_page([section()], "Report").rsplit("</body>", 1))
    (tmp_path / "page.html").write_text(page, "utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=500,900", "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert (seen["errors"], seen["owned"], seen["wide"]) == ([], False, False)
    assert (seen["points"], seen["hidden"]) == (4, True)
    assert "told of heat T=2" in seen["pointed"]
    assert "told of cut p=1" in seen["focused"]
    assert "told of heat T=1" in seen["tapped"]
