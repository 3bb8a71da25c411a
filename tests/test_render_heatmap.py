"""The heatmap in the terminal, as SVG and as HTML: the same cells, steps and legend everywhere."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from render_samples import (
    HOSTILE,
    HOSTILE_NAME,
    SENTENCE,
    SGR,
    assert_golden,
    console_of,
    rendered,
    token,
    unsafe_in,
)
from rich.cells import cell_len
from rich.measure import Measurement

from llama_diversity.errors import BadValue, UnknownName
from llama_diversity.records import Piece
from llama_diversity.render import ramps
from llama_diversity.render.heatmap import DifferenceHeatmap, GenerationsHeatmap, Heatmap, Looks, TokenPicture
from llama_diversity.render.html import fragment, to_html
from llama_diversity.render.scales import OF_MIXTURES, SCALES, ScoredToken
from llama_diversity.render.svg import to_svg

DEPTHS = ("truecolor", "256", "16", "none")
SVG = "{http://www.w3.org/2000/svg}"

# One token in the middle of each step, with a word that stands nowhere else.
LADDER = [token(f"word{step}".encode(), 1.6 * step + 0.8) for step in range(10)]
SHIFTED = [token(one.piece, one.surprisal_bits + 2 * (index - 4.5)) for index, one in enumerate(LADDER)]


def heatmap(tokens: list[ScoredToken], **looks: object) -> Heatmap:
    return Heatmap(tokens, model="stories260K", tokenizer="1a2b3c4d", looks=Looks(**looks))  # type: ignore[arg-type]


def difference(first: list[ScoredToken], second: list[ScoredToken], **looks: object) -> DifferenceHeatmap:
    both = ("base", "aligned")
    return DifferenceHeatmap(first, second, models=both, tokenizer="1a2b3c4d", looks=Looks(**looks))  # type: ignore[arg-type]


def pictures() -> dict[str, TokenPicture]:
    second = [one._replace(surprisal_bits=abs(one.surprisal_bits - 3)) for one in SENTENCE]
    return {
        "heatmap": Heatmap(SENTENCE, model="stories260K", tokenizer="1a2b3c4d", title="A sentence"),
        "difference": difference(SENTENCE, second),
        "hostile": Heatmap(HOSTILE, model=HOSTILE_NAME, tokenizer=HOSTILE_NAME, title=HOSTILE_NAME),
        "hostile difference": DifferenceHeatmap(
            HOSTILE, HOSTILE, models=(HOSTILE_NAME, HOSTILE_NAME), tokenizer=HOSTILE_NAME, title=HOSTILE_NAME
        ),
        "empty": heatmap([]),
        "generations": GenerationsHeatmap([("base: a", SENTENCE), ("aligned: b", second)], tokenizer="1a2b3c4d"),
        "hostile generations": GenerationsHeatmap([(HOSTILE_NAME, HOSTILE)] * 2, tokenizer=HOSTILE_NAME),
    }


# Golden files: what a person sees.


@pytest.mark.parametrize(
    ("name", "looks", "width"),
    [
        ("numbers", {}, 80),
        ("ascii", {"ascii": True}, 80),
        ("bars", {"style": "bars"}, 80),
        ("narrow", {}, 20),
    ],
)
def test_plain_text_golden(name: str, looks: dict[str, object], width: int) -> None:
    assert_golden(f"heatmap-{name}.txt", rendered(heatmap(SENTENCE, **looks), width=width))


@pytest.mark.parametrize("by", [name for name in SCALES if name not in OF_MIXTURES])
def test_quantities_golden(by: str) -> None:
    tokens = [
        token(one.piece, one.surprisal_bits, entropy=position, rank=3**position) for position, one in enumerate(LADDER)
    ]
    picture = Heatmap(tokens, model="stories260K", tokenizer="1a2b3c4d", by=by)
    assert_golden(f"heatmap-{by}.txt", rendered(picture))


def test_difference_golden() -> None:
    assert_golden("heatmap-difference.txt", rendered(pictures()["difference"]))


def test_svg_and_html_golden() -> None:
    tokens = [token(b" the", 0.4), token(b" <nurse>\n", 9.7), token(b"\xe4\xbd", 2.0), token(b"\xa0", 6.0)]
    assert_golden("heatmap.svg", to_svg(heatmap(tokens), 60))
    assert_golden("heatmap.html", fragment(heatmap(tokens)))


@pytest.mark.parametrize("width", [60, 100])
def test_two_generations_golden(width: int) -> None:
    picture = GenerationsHeatmap([("base: a", SENTENCE), ("aligned: b", SENTENCE[:4])], tokenizer="1a2b3c4d")
    text = rendered(picture, width=width)
    assert ("base: a" in text.splitlines()[0] and "aligned: b" in text.splitlines()[0]) == (width == 100)
    assert_golden(f"heatmap-generations-{width}.txt", text)


# The same steps at every depth and in every form.


def terminal_backgrounds(picture: TokenPicture, depth: str) -> dict[str, ramps.Colour | None]:
    """Word -> background, from what Rich was given to write."""
    console = console_of(depth)
    found: dict[str, ramps.Colour | None] = {}
    for line in console.render_lines(picture, pad=False):
        for segment in line:
            colour = segment.style.bgcolor if segment.style else None
            is_number = colour is not None and colour.triplet is None
            background = None if colour is None else colour.number if is_number else colour.name
            for word in re.findall(r"word\d", segment.text):
                found[word] = background
    return found


class Spans(HTMLParser):
    """Word -> class of its span."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.current = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span":
            self.current = dict(attrs).get("class") or ""

    def handle_data(self, data: str) -> None:
        for word in re.findall(r"word\d", data):
            self.found[word] = self.current


def without_scripts(page: str) -> str:
    """What a reader has whose browser runs none."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def svg_backgrounds(document: str) -> dict[str, str | None]:
    found = {}
    for group in ElementTree.fromstring(document).iter(f"{SVG}g"):
        texts = "".join(text.text or "" for text in group.findall(f"{SVG}text"))
        rectangle = group.find(f"{SVG}rect")
        for word in re.findall(r"word\d", texts):
            found[word] = None if rectangle is None else rectangle.get("fill")
    return found


@pytest.mark.parametrize("palette", ramps.RAMPS)
@pytest.mark.parametrize("background", ["dark", "light"])
def test_steps_are_the_same_in_every_form(palette: str, background: ramps.Background) -> None:
    picture = heatmap(LADDER, palette=palette, background=background)
    words = [f"word{step}" for step in range(10)]
    ramp = ramps.RAMPS[palette]
    turned = ramp.rises and background == "light"
    order = [0, *((9 - step if turned else step) for step in range(1, 10))]
    truecolor = [None, *(ramp.truecolor[place] for place in order[1:])]
    assert [terminal_backgrounds(picture, "truecolor")[word] for word in words] == truecolor
    numbers = [None, *(ramp.numbers_256[place] for place in order[1:])]
    assert [terminal_backgrounds(picture, "256")[word] for word in words] == numbers
    levels = [None, *(ramp.paints_16[(step - 1) // 3].background for step in range(1, 10))]
    assert [terminal_backgrounds(picture, "16")[word] for word in words] == levels
    assert [terminal_backgrounds(picture, "none")[word] for word in words] == [None] * 10
    svg = svg_backgrounds(to_svg(picture))
    assert [svg[word] for word in words] == truecolor
    html = Spans(without_scripts(to_html(picture, "ladder"))).found
    assert [html[word] for word in words] == [f"{palette}-{step}" for step in range(10)]


def test_difference_steps_are_the_same_in_every_form() -> None:
    # B - A = 2 * (index - 4.5) = -9, -7, -5, -3, -1, 1, 3, 5, 7, 9 and the edges are 1, 3, 5, 7.
    steps = [-4, -4, -3, -2, -1, 1, 2, 3, 4, 4]
    picture = difference(LADDER, SHIFTED)
    words = [f"word{step}" for step in range(10)]
    numbers = [ramps.BELOW_256[-step - 1] if step < 0 else ramps.ABOVE_256[step - 1] for step in steps]
    # The last of the three blocks is the difference, and later words overwrite earlier ones.
    assert [terminal_backgrounds(picture, "256")[word] for word in words] == numbers
    colours = [ramps.hex_of(number) for number in numbers]
    assert [terminal_backgrounds(picture, "truecolor")[word] for word in words] == colours
    svg = svg_backgrounds(to_svg(picture))
    assert [svg[word] for word in words] == colours
    html = Spans(without_scripts(to_html(picture, "ladder"))).found
    assert [html[word] for word in words] == [f"{'below' if step < 0 else 'above'}-{abs(step)}" for step in steps]


def test_256_colours_are_written_as_numbers_and_never_converted() -> None:
    written = rendered(heatmap(LADDER), "256")
    assert set(re.findall(r"48;5;(\d+)", written)) == {str(n) for n in ramps.RAMPS["magma"].numbers_256[1:]}
    assert "48;2;" not in written


def test_no_color_leaves_no_colour_and_writes_the_numbers() -> None:
    console = console_of("256")
    console.no_color = True
    with console.capture() as capture:
        console.print(heatmap(SENTENCE))
    written = capture.get()
    assert "She was² not⁷ a⁴ nurse¹¹." in SGR.sub("", written)
    assert set("".join(re.findall(r"\x1b\[([0-9;]*)m", written)).replace(";", "")) <= set("012")  # reset, bold, dim


def test_16_colours_always_write_the_numbers_and_truecolor_only_on_request() -> None:
    assert "word9¹⁵" in SGR.sub("", rendered(heatmap(LADDER), "16"))
    assert "word9¹⁵" not in SGR.sub("", rendered(heatmap(LADDER), "truecolor"))
    assert "word9¹⁵" in SGR.sub("", rendered(heatmap(LADDER, numbers=True), "truecolor"))


def test_the_difference_always_writes_its_sign() -> None:
    shown = SGR.sub("", rendered(difference(LADDER, SHIFTED), "truecolor"))
    assert "word0⁻⁹" in shown
    assert "word9⁺⁹" in shown
    assert "word9[+9]" in rendered(difference(LADDER, SHIFTED, ascii=True))


# The legend.


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_legend_is_always_printed_with_its_edges(depth: str) -> None:
    picture = Heatmap(SENTENCE, model="stories260K", tokenizer="1a2b3c4d", maximum_bits=20)
    shown = SGR.sub("", rendered(picture, depth))
    words = " ".join(shown.split())
    for said in ("surprisal", "maximum 20 bits", "model stories260K", "raw distribution", "tokenizer 1a2b3c4d"):
        assert said in words
    ramp = next(line for line in shown.splitlines() if line.startswith("steps"))
    assert re.findall(r"[\d.]+\+?", ramp) == "0 2 4 6 8 10 12 14 16 18+".split()
    assert "1 token has no value" in shown
    assert "22 tokens: 82.8 bits in all, 3.76 per token" in shown


def test_the_samplers_distribution_is_named() -> None:
    drawn = [ScoredToken(Piece(b"x"), 9.0, 1.0, 1, (), 2.0, 1.0)]
    picture = Heatmap(drawn, model="m", tokenizer="t", distribution="sampler", looks=Looks(numbers=True))
    shown = rendered(picture)
    assert "x²" in shown
    assert "the sampler's distribution" in shown
    assert "raw distribution" not in shown
    scored = Heatmap(LADDER, model="m", tokenizer="t", distribution="sampler")
    assert "10 tokens have no value" in rendered(scored)


def test_totals_count_tokens_not_cells() -> None:
    # Two tokens make one glyph and three cells: 2 + 6 bits, not 16.
    assert "2 tokens: 8.0 bits in all, 4.00 per token" in rendered(
        heatmap([token(b"\xe4\xbd", 2.0), token(b"\xa0", 6.0)])
    )


# Layout.


@pytest.mark.parametrize("name", ["heatmap", "difference", "hostile", "empty"])
@pytest.mark.parametrize("width", [20, 33, 80])
@pytest.mark.parametrize("depth", ["256", "none"])
def test_no_line_is_wider_than_the_terminal(name: str, width: int, depth: str) -> None:
    for line in SGR.sub("", rendered(pictures()[name], depth, width=width)).splitlines():
        assert cell_len(line) <= width


def test_a_long_token_keeps_its_colour_on_every_line() -> None:
    console = console_of("256", width=80)
    lines = console.render_lines(heatmap([token(b"x" * 1000, 12.0)]), pad=False)
    long = [segment for line in lines for segment in line if "xxx" in segment.text]
    assert [len(segment.text) for segment in long] == [80] * 12 + [40]
    assert {segment.style.bgcolor.number for segment in long if segment.style and segment.style.bgcolor} == {209}
    assert len(ElementTree.fromstring(to_svg(heatmap([token(b"x" * 1000, 12.0)]), 100)).findall(f".//{SVG}rect")) > 10


def test_nothing_still_has_a_legend() -> None:
    shown = rendered(heatmap([]))
    assert "surprisal" in shown
    assert "no token has a value" in shown
    assert "no token has a value" in to_html(heatmap([]), "empty")
    assert "no token has a value" in to_svg(heatmap([]))


def test_a_heatmap_can_stand_in_a_column() -> None:
    console = console_of("256", width=50)
    measured = Measurement.get(console, console.options, heatmap(SENTENCE))
    assert (measured.minimum, measured.maximum) == (cell_len("⟨|eot|⟩"), 50)


# Hostile text.


@pytest.mark.parametrize("name", ["hostile", "hostile difference"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_control_character_reaches_the_terminal(name: str, depth: str, encoding: str) -> None:
    written = rendered(pictures()[name], depth, encoding=encoding)
    assert len(written) > 1500
    assert set(unsafe_in(written)) <= {"\u200d"}  # inside the one emoji group that is drawn whole
    if encoding == "ascii":
        assert SGR.sub("", written).isascii()


@pytest.mark.parametrize("name", pictures())
def test_svg_is_well_formed_and_inert(name: str) -> None:
    document = to_svg(pictures()[name], 60)
    root = ElementTree.fromstring(document)
    assert set(unsafe_in(document)) <= {"\u200d"}
    assert {element.tag for element in root.iter()} <= {f"{SVG}{tag}" for tag in ("svg", "g", "text", "rect", "title")}
    assert set(re.findall(r"\bhttps?://[^\s\"<]+", re.sub(r">[^<]*<", "><", document))) == {
        "http://www.w3.org/2000/svg"
    }
    assert "@font-face" not in document
    assert to_svg(pictures()[name], 60) == document


class Structure(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.titles: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.titles += [value or "" for name, value in attrs if name == "title"]


@pytest.mark.parametrize("name", pictures())
def test_html_is_inert_and_whole_without_its_script(name: str) -> None:
    page = to_html(pictures()[name], HOSTILE_NAME)
    structure = Structure(without_scripts(page))
    assert structure.tags <= set("html head meta title style body h1 h2 h3 section div span p i br wbr".split())
    assert structure.attributes <= set("lang charset http-equiv content name class title".split())
    assert Structure(page).tags - structure.tags == {"script"}
    assert Structure(page).attributes - structure.attributes == {"type"}
    assert set(unsafe_in(page)) <= {"\u200d"}
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    assert to_html(pictures()[name], HOSTILE_NAME) == page


def test_html_tells_all_about_a_token() -> None:
    titles = Structure(to_html(heatmap([token(b" nurse", 11.0)]), "one")).titles
    assert titles == [
        "“·nurse”\nsurprisal 11.00 bits (p = 0.000488)\nentropy 2.50 bits, rank 3\n"
        "0.5000  “·the”\n0.2500  “·a”\n0.1250  “⏎”\n0.0625  “⟨E4 BD⟩”\n0.0312  control token ⟨/s⟩"
    ]


def test_html_of_several_pictures_has_a_section_each() -> None:
    page = to_html([heatmap(LADDER), difference(LADDER, SHIFTED, palette="viridis")], "two")
    assert page.count('<section class="tokens">') == 2
    assert ".magma-9 " in page
    assert ".viridis-9 " in page
    assert ".above-4 " in page


# What is refused.


def test_two_tokenisations_are_refused() -> None:
    with pytest.raises(BadValue, match="same tokens as base; compare the two in bits per byte"):
        difference(LADDER, LADDER[1:])


def test_unknown_names_are_refused_before_anything_is_drawn() -> None:
    with pytest.raises(UnknownName, match="palette"):
        heatmap(LADDER, palette="jet")
    with pytest.raises(UnknownName, match="quantity"):
        Heatmap(LADDER, model="m", tokenizer="t", by="perplexity")


def test_a_token_known_to_one_model_only_has_no_difference() -> None:
    shown = rendered(difference([token(b"x", math.nan), token(b"y", 1.0)], [token(b"x", 2.0), token(b"y", 4.0)]))
    assert "x⁻y⁺³" in shown
    assert "1 token: +3.0 bits in all" in shown
