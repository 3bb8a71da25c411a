"""Figures for print, judged by what stands in their files: size, text, fonts, metadata, and what no font draws."""

from __future__ import annotations

import json
import math
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from render_samples import SENTENCE

from llama_diversity.cli import main
from llama_diversity.errors import BadValue
from llama_diversity.render import charts, clouds, glyphs, path_charts
from llama_diversity.render.drawing import from_svg, svg_of, width_of
from llama_diversity.render.exhibits import Figure, Section, Tokens
from llama_diversity.render.folder import files_of, write_report
from llama_diversity.render.forest import Row, forest_panels
from llama_diversity.render.heatmap import Heatmap
from llama_diversity.render.metadata import About, with_metadata
from llama_diversity.render.pdf import in_order
from llama_diversity.render.print_form import ON_SCREEN, PrintForm, points_of
from llama_diversity.render.ticks import MOST, log_ticks

COLUMN = PrintForm(points_of("84mm"), 7.0, has_caption=False)
COMMAND = "llamadiv compare --arm a=/home/someone/models/a.gguf"
NEVER = "\U0010abcd"  # private: no font of the world should have it
SVG = "{http://www.w3.org/2000/svg}"
DC = "{http://purl.org/dc/elements/1.1/}"


def boxes() -> dict[str, Any]:
    samples = {"base": [4.0, 4.5, 5.0, 6.0], "aligned": [0.5, 0.6, 0.9]}
    return {"": charts.entropy_box_panel(samples, unit="bits per token")}


def forest() -> Mapping[str, Any]:
    rows = {arm: [Row(f"measure {at}", 0.9, 0.55, 1.2, "less") for at in range(4)] for arm in ("sft", "aligned")}
    return forest_panels(rows, title="share kept")


def token_bars() -> dict[str, Any]:
    return charts.stacked_probabilities({"base": SENTENCE[1:17], "aligned": SENTENCE[5:21]})


def curves() -> dict[str, Any]:
    names = ("base", "aligned", "aligned with a long system prompt", "one more arm of a long name")
    some = [path_charts.Curve(name, [1, 2, 3], [0.1, 0.4, 0.5], [], []) for name in names]
    return {name: path_charts.curves_panel(some, across="n", unit="kinds") for name in ("one", "two", "three")}


def cloud() -> dict[str, Any]:
    return {"base": clouds.cloud_panel({"Emily": 3, "Ana": 2, "Mei": 1}, arm="base", position=0)}


DRAWN = {"boxes": boxes, "forest": forest, "tokens": token_bars, "curves": curves, "cloud": cloud}


def section(name: str, draw: Any) -> Section:
    return Section("s", "S", "What was done.", COMMAND, (Figure(name, "The title", draw, "The caption."),))


@pytest.fixture(scope="module")
def printed() -> dict[str, bytes]:
    """Every figure at the width of a column."""
    return {name: content for key, draw in DRAWN.items() for name, content in files_of(section(key, draw), COLUMN)}


# ---- what the files say


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + data)
        yield kind, data
        at += 12 + length


def png_size(png: bytes) -> tuple[float, float]:
    """Width in inches, and pixels per inch."""
    parts = dict(chunks(png))
    pixels = struct.unpack(">I", parts[b"IHDR"][:4])[0]
    per_metre, _, unit = struct.unpack(">IIB", parts[b"pHYs"])
    assert unit == 1
    return pixels / per_metre / 0.0254, per_metre * 0.0254


def pdf_object(pdf: bytes, number: int) -> bytes:
    """The object as the last cross-reference table that has it points to it."""
    start = int(re.findall(rb"startxref\s+(\d+)", pdf)[-1])
    while True:
        tables = pdf[start : pdf.index(b"trailer", start)]
        trailer = pdf[pdf.index(b"trailer", start) : pdf.index(b"startxref", start)]
        for first, count, body in re.findall(rb"(\d+) (\d+)\r?\n((?:\d{10} \d{5} [nf]\s\s?)+)", tables):
            entries = re.findall(rb"(\d{10}) \d{5} ([nf])", body)
            assert len(entries) == int(count)
            if int(first) <= number < int(first) + int(count) and entries[number - int(first)][1] == b"n":
                place = int(entries[number - int(first)][0])
                assert pdf[place:].startswith(b"%d 0 obj" % number)
                return pdf[place : pdf.index(b"endobj", place)]
        start = int(re.search(rb"/Prev (\d+)", trailer)[1])


def parts_of(written: bytes) -> tuple[list[bytes], bytes]:
    """An object's dictionary but for numbers of objects and their order, and what flows behind it."""
    dictionary, _, flowing = written.partition(b"\nstream\n")
    return sorted(re.sub(rb"\d+ 0 (?=R|obj)", b"", dictionary).splitlines()), flowing


def pdf_information(pdf: bytes) -> dict[str, str]:
    number = int(re.findall(rb"/Info (\d+) 0 R", pdf)[-1])
    pairs = re.findall(rb"/(\w+) <FEFF([0-9a-f]*)>", pdf_object(pdf, number))
    return {name.decode(): bytes.fromhex(text.decode()).decode("utf-16-be") for name, text in pairs}


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_every_format_is_84_mm_wide(printed: dict[str, bytes], name: str) -> None:
    inches, ppi = png_size(printed[f"{name}.png"])
    assert inches * ppi == pytest.approx(84 / 25.4 * ppi, abs=1)  # to a pixel
    assert ppi >= 300
    box = re.search(rb"/MediaBox \[0 0 ([0-9.]+) [0-9.]+\]", printed[f"{name}.pdf"])
    assert float(box[1]) * 25.4 / 72 == pytest.approx(84, abs=0.01)
    root = ElementTree.fromstring(printed[f"{name}.svg"])
    assert root.get("width") == "84mm"
    assert root.get("height").endswith("mm")
    wide, high = (float(end) for end in root.get("viewBox").split()[2:])
    assert 84 / float(root.get("height").removesuffix("mm")) == pytest.approx(wide / high, rel=1e-4)


@pytest.mark.parametrize("name", ["boxes", "forest", "tokens", "curves"])  # words of a cloud have their own
@pytest.mark.parametrize("points", [7.0, 9.0])
def test_all_text_has_the_size_that_was_asked_for(name: str, points: float) -> None:
    form = PrintForm(points_of("84mm"), points, has_caption=False)
    svg = dict(files_of(section(name, DRAWN[name]), form))[f"{name}.svg"]
    root = ElementTree.fromstring(svg)
    points_per_unit = points_of(root.get("width")) / float(root.get("viewBox").split()[2])
    sizes = {float(node.get("font-size").removesuffix("px")) * points_per_unit for node in root.iter(f"{SVG}text")}
    assert sizes
    assert all(size == pytest.approx(points, rel=0.001) for size in sizes)


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_off_and_no_panel_is_wider_than_the_figure(printed: dict[str, bytes], name: str) -> None:
    """What Vega drew fits the canvas: a drawing that is too wide would have been made smaller, text and all."""
    spec = json.loads(printed[f"{name}.vl.json"])
    assert width_of(svg_of({key: part for key, part in spec.items() if key != "usermeta"})) <= 408.19 + 1
    assert spec["usermeta"]["llamadiv"]["millimetresPerUnit"] == pytest.approx(84 / 408.19, abs=0.001)


def test_labels_of_many_tokens_stand_upright_and_legends_lie_below(printed: dict[str, bytes]) -> None:
    spec = json.loads(printed["tokens.vl.json"])
    assert [len(row["hconcat"]) for row in spec["vconcat"]] == [1, 1]
    panels = [row["hconcat"][0] for row in spec["vconcat"]]
    assert [panel["encoding"]["x"]["axis"]["labelAngle"] for panel in panels] == [-60, -60]
    assert [panel["encoding"]["color"]["legend"]["orient"] for panel in panels] == ["bottom", "bottom"]
    assert [panel["encoding"]["y"]["title"] for panel in panels] == ["probability", "probability"]
    legend = json.loads(printed["curves.vl.json"])["vconcat"][0]["hconcat"][0]["layer"][0]["encoding"]["color"][
        "legend"
    ]
    assert legend["columns"] == 1  # the longest name leaves no room beside it


def test_two_narrow_panels_stand_beside_each_other() -> None:
    wide = PrintForm(points_of("174mm"), 7.0)
    spec = json.loads(dict(files_of(section("forest", forest), wide))["forest.vl.json"])
    assert [len(row["hconcat"]) for row in spec["vconcat"]] == [2]


def test_fonts_are_in_the_pdf(printed: dict[str, bytes]) -> None:
    for name in DRAWN:
        pdf = printed[f"{name}.pdf"]
        descriptors = re.findall(rb"/Type /FontDescriptor.*?endobj", pdf, re.DOTALL)
        assert descriptors
        assert all(re.search(rb"/FontName /[A-Z]{6}\+", one) for one in descriptors)  # a subset of the font
        assert all(re.search(rb"/FontFile[23] \d+ 0 R", one) for one in descriptors)
        assert len(re.findall(rb"/Subtype /CIDFontType[02]", pdf)) == len(descriptors)  # no font beside those


def test_fonts_of_an_svg_are_named_with_one_that_everybody_has(printed: dict[str, bytes]) -> None:
    families = {node.get("font-family") for node in ElementTree.fromstring(printed["forest.svg"]).iter(f"{SVG}text")}
    assert families == {charts.FONT}
    assert charts.FONT.endswith("sans-serif")


def test_caption_and_command_are_where_they_belong(tmp_path: Path) -> None:
    title, caption = "The title", "The caption."
    for form, shown in ((COLUMN, []), (ON_SCREEN, [title, caption])):
        write_report(section("boxes", boxes), tmp_path, form)
        drawn = " ".join(texts((tmp_path / "boxes.svg").read_bytes()))
        assert [text for text in (title, caption) if text in drawn] == shown
        assert "/home/someone" not in drawn
        spec = json.loads((tmp_path / "boxes.vl.json").read_text())
        assert ("title" in spec) == bool(shown)
        assert spec["usermeta"]["llamadiv"]["command"] == COMMAND
        written = [data for kind, data in chunks((tmp_path / "boxes.png").read_bytes()) if kind == b"tEXt"]
        found = dict(data.decode().split("\0", 1) for data in written)
        assert [found[name] for name in ("Title", "Description", "Source")] == [title, caption, COMMAND]
        root = ElementTree.fromstring((tmp_path / "boxes.svg").read_bytes())
        said = [root.find(f".//{SVG}metadata//{DC}{name}").text for name in ("title", "description", "source")]
        assert said == [title, caption, COMMAND]
        information = pdf_information((tmp_path / "boxes.pdf").read_bytes())
        assert (information["Title"], information["Subject"], information["Source"]) == (title, caption, COMMAND)
        assert COMMAND in (tmp_path / "index.html").read_text()


def test_metadata_holds_any_character() -> None:
    odd = 'a <b> & "c" ) \\ 美 🦙 é'
    size = 'width="10" height="10" viewBox="0 0 10 10"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="5" height="5"/></svg>'
    files = {
        kind: with_metadata(content, kind, About(odd, "", odd))
        for kind, content in from_svg(svg, ("png", "svg", "pdf")).items()
    }
    [title, source] = [part.decode().split("\0")[-1] for kind, part in chunks(files["png"]) if kind == b"iTXt"]
    assert title == source == odd
    assert ElementTree.fromstring(files["svg"]).find(f".//{DC}title").text == odd
    assert pdf_information(files["pdf"])["Title"] == odd
    assert "Subject" not in pdf_information(files["pdf"])


def test_a_coloured_text_is_as_wide_and_on_white(tmp_path: Path) -> None:
    picture = Heatmap(SENTENCE, model="tiny", tokenizer="t", title="Heading")
    shown = Section("s", "S", "", COMMAND, (Tokens("text", "Title", picture),))
    files = dict(files_of(shown, COLUMN))
    inches, ppi = png_size(files["text.png"])
    assert inches * ppi == pytest.approx(84 / 25.4 * ppi, abs=1)
    root = ElementTree.fromstring(files["text.svg"])
    assert root.get("width") == "84mm"
    assert 14 * points_of("84mm") / float(root.get("viewBox").split()[2]) == pytest.approx(7, rel=0.001)
    assert root.find(f"{SVG}rect").get("fill") == "#ffffff"
    assert "Heading" not in texts(files["text.svg"])
    assert "Heading" in texts(dict(files_of(shown))["text.svg"])


# ---- lengths


@pytest.mark.parametrize(
    ("typed", "points"), [("84mm", 238.11), ("8.4 cm", 238.11), ("3.5in", 252), ("240pt", 240), ("320px", 240)]
)
def test_lengths(typed: str, points: float) -> None:
    assert points_of(typed) == pytest.approx(points, abs=0.01)


@pytest.mark.parametrize("typed", ["84", "mm", "-84mm", "84 furlongs", "1mm", "3000mm", "", "nanmm", "8,4cm"])
def test_what_is_no_length_is_said(typed: str) -> None:
    with pytest.raises(BadValue, match="for example 84mm|from 20 mm to 2 m"):
        points_of(typed)


def test_form_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ended(*form: str) -> object:
        with pytest.raises(SystemExit) as end:
            main(["collapse", "--steps", "3", "--runs", "2", *form])
        return end.value.code

    assert ended("--width", "84mm") == 2
    assert "--out" in capsys.readouterr().err
    assert ended("--out", str(tmp_path), "--font-size", "2") == 2
    assert "from 3 to 72 points" in capsys.readouterr().err
    assert ended("--out", str(tmp_path), "--width", "3in", "--no-caption", "-q") == 0
    assert ElementTree.parse(tmp_path / "collapse-paths.svg").getroot().get("width") == "76.2mm"
    assert capsys.readouterr().err == ""


# ---- ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.5, 2, [0.5, 0.8, 1, 1.25, 2]),
        (0.8, 1.25, [0.8, 0.9, 1, 1.1, 1.25]),
        (0.33, 1.35, [0.5, 0.8, 1, 1.25]),
        (0.05, 1.25, [0.05, 0.1, 0.2, 0.5, 1]),
        (0.01, 100, [0.01, 0.1, 1, 10, 100]),
        (1, 10_000, [1, 10, 100, 1000, 10_000]),
        (1.31, 1.46, [1.35, 1.4, 1.45]),
    ],
)
def test_ticks_stand_at_round_numbers_where_the_data_lie(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks


def test_ticks_are_inside_rising_and_apart() -> None:
    for at in range(400):
        low, ratio = 10 ** (at % 9 - 5 + at / 400), 1.02 * 1.05**at
        found = log_ticks(low, low * ratio)
        assert 2 <= len(found) <= MOST + 1, (low, ratio, found)
        assert found == sorted(set(found))
        assert low * (1 - 1e-6) <= found[0] < found[-1] <= low * ratio * (1 + 1e-6)
        assert min(math.log(b / a) for a, b in zip(found, found[1:], strict=False)) >= 0.9 * math.log(ratio) / MOST


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (1, 1), (1, math.inf), (math.nan, 1)])
def test_no_axis_no_ticks(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="no logarithmic axis"):
        log_ticks(low, high)


def test_the_forest_has_them() -> None:
    axis = forest()["aligned"].to_dict()["layer"][0]["encoding"]["x"]["axis"]
    assert axis["values"] == [0.6, 0.8, 1, 1.25]  # from 0.55 / 1.08 to 1.25 * 1.08


# ---- characters without a font


def test_a_character_that_no_font_has_is_found() -> None:
    assert glyphs.undrawn(f"Ab é ж α {NEVER} →") == [NEVER]
    assert glyphs.undrawn("plain – “text” … \u200d e\u0301") == []


def test_such_a_character_is_said_with_its_figure_and_a_package(tmp_path: Path) -> None:
    def draw() -> dict[str, Any]:
        rows = alt.InlineData(values=[{"name": f"x{NEVER}", "value": 1}])
        return {"": alt.Chart(rows).mark_bar().encode(x="value:Q", y="name:N")}

    written = write_report(section("odd", draw), tmp_path)
    assert written.undrawn == {"odd": [NEVER]}
    assert write_report(section("boxes", boxes), tmp_path).undrawn == {}
    said = glyphs.sentence({"figure-1": ["国", "美"], "figure-8": ["ض", "🧋"]})
    for part in ("国 (U+56FD)", "🧋 (U+1F9CB)", "figure-1, figure-8", "fonts-noto-cjk", "fonts-noto-core",
                 "fonts-noto-color-emoji", "brew install --cask", "font-noto-sans-arabic"):  # fmt: skip
        assert part in said


@pytest.mark.parametrize(
    ("char", "package"),
    [("美", "fonts-noto-cjk"), ("の", "fonts-noto-cjk"), ("한", "fonts-noto-cjk"), ("ض", "fonts-noto-core"),
     ("ह", "fonts-noto-core"), ("🦙", "fonts-noto-color-emoji"), ("🇯", "fonts-noto-color-emoji"),
     (NEVER, "fonts-noto-core")],
)  # fmt: skip
def test_the_package_that_brings_a_font(char: str, package: str) -> None:
    assert glyphs.package_of(char)[0] == package


def test_equal_charts_are_equal_files_however_many_were_drawn_before() -> None:
    """Vega numbers gradients and clips over all that a process draws; a cache that lost one must not show."""
    from llama_diversity.render.drawing import _numbered, _svg_of

    colour = {"field": "x", "type": "quantitative"}
    spec = {
        "data": {"values": [{"x": 1}, {"x": 2}]},
        "mark": {"type": "point", "clip": True},
        "encoding": {"x": colour, "color": colour},
    }
    first, second = _svg_of(spec), _svg_of(spec)
    assert first != second
    assert _numbered(first) == _numbered(second)
    assert 'id="gradient_0"' in _numbered(second)
    assert "url(#gradient_0)" in _numbered(second)


def test_a_picture_has_one_pdf_in_whatever_order_it_is_written() -> None:
    """Fonts and opacities come from the drawer in another order each time."""
    import vl_convert

    boxes = "".join(f'<rect x="{20 * at}" y="9" width="9" height="9" fill-opacity="0.{at + 1}"/>' for at in range(8))
    words = '<text y="40">plain</text><text y="50" font-weight="bold">bold</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60">{boxes}{words}</svg>'
    drawn = {vl_convert.svg_to_pdf(svg) for _ in range(12)}
    assert len(drawn) > 1
    (pdf,) = {in_order(one) for one in drawn}
    assert in_order(pdf) == pdf
    (n_objects,) = {int(re.findall(rb"/Size (\d+)", one)[-1]) for one in (pdf, *drawn)}
    parts = [sorted(parts_of(pdf_object(one, number)) for number in range(1, n_objects)) for one in (pdf, *drawn)]
    assert all(one == parts[0] for one in parts)  # each stands where the table says, and none is lost or changed


def test_a_pdf_of_another_form_stays_as_it_is() -> None:
    for content in (b"%PDF-1.7\n", b"%PDF-1.7\n\n1 0 obj\n5\nendobj xref\n0 2\ntrailer\n<<>>\nstartxref\n9\n%%EOF"):
        assert in_order(content) == content
