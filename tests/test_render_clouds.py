"""Word clouds: every word with its count, in its place, apart from the others, and the same each time."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from render_samples import HOSTILE_NAME, unsafe_in

from llama_diversity.render.charts import rendered
from llama_diversity.render.clouds import FOOT, HEIGHT, WIDTH, cloud_panel
from llama_diversity.render.ramps import ARM_COLOURS, relative_luminance

NAMES = (
    "Emily Sarah Priya Kenji Olivia Maximilian Fatima Alejandro Guadalupe Chiara Jean-Baptiste Anne-Marie Søren Zoë "
    "O'Connor Okafor Wójcik Björk Oluwaseun Christopher Elizabeth Li Xiu Gregory Björn Ingrid Kwame Mateo Sang-woo "
    "Dmitri Hannah Robin Tariq Leila Sione Piotr Rosa Greta Arjun Nia"
).split()
STEEP = {name: max(1, 48 // place) for place, name in enumerate(NAMES, start=1)}  # one name above all
EVEN = dict.fromkeys(NAMES, 1)
FORTY = {"steep": STEEP, "even": EVEN}
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<svg", "pdf": b"%PDF-", "json": b"{"}
EDGE = 20  # points around the panel in the pictures that are measured


def cloud(counts: dict[str, int], **options: Any) -> Any:
    return cloud_panel(counts, **{"arm": "base", "position": 0, **options})


def rows(chart: Any) -> list[dict[str, Any]]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def words(chart: Any) -> dict[str, dict[str, Any]]:
    return {row["word"]: row for row in rows(chart) if "word" in row}


def darkness(spec: dict[str, Any]) -> Any:
    """The picture's pixels, 0 to 255, each text drawn in half-transparent black: where two lie, it is darker."""
    import numpy as np
    import vl_convert
    from PIL import Image

    spec = {**spec, "padding": EDGE, "autosize": "none", "background": "white"}
    for layer in spec["layer"]:
        layer["mark"] = {**layer["mark"], "color": "black", "opacity": 0.5}
    picture = Image.open(io.BytesIO(vl_convert.vegalite_to_png(spec, scale=2)))
    return 255 - np.asarray(picture.convert("L"), dtype=int)


@pytest.mark.parametrize("counts", FORTY.values(), ids=FORTY)
def test_words_neither_overlap_nor_leave_the_frame(counts: dict[str, int]) -> None:
    dark = darkness(cloud(counts).to_dict())
    assert dark.max() in {127, 128}  # half of 255: under no pixel lie two words (three quarters, 191)
    assert dark.shape == (2 * (HEIGHT + FOOT + 2 * EDGE), 2 * (WIDTH + 2 * EDGE))
    inside = dark[2 * EDGE : 2 * (EDGE + HEIGHT), 2 * EDGE : 2 * (EDGE + WIDTH)]
    assert inside.sum() == dark.sum() > 0


def test_an_overlap_would_be_seen() -> None:
    spec = cloud({"Emily": 1, "Sarah": 1}).to_dict()
    (data,) = spec["datasets"].values()
    data[1].update({key: data[0][key] for key in ("x", "y", "angle")})
    assert darkness(spec).max() == 191  # 255 * (1 - 0.5 * 0.5)


@pytest.mark.parametrize("counts", FORTY.values(), ids=FORTY)
def test_every_word_has_its_count_and_a_size_by_it(counts: dict[str, int]) -> None:
    shown = words(cloud(counts))
    assert {word: row["count"] for word, row in shown.items()} == counts
    sizes = {row["count"]: row["size"] for row in shown.values()}
    assert all(row["size"] == sizes[row["count"]] for row in shown.values())  # equal counts, equal sizes
    ordered = [sizes[count] for count in sorted(sizes)]
    assert ordered == sorted(ordered)


def test_a_name_above_all_is_much_larger() -> None:
    sizes = sorted((row["size"] for row in words(cloud(STEEP)).values()), reverse=True)
    assert words(cloud(STEEP))["Emily"]["size"] == sizes[0] >= 4 * sizes[-1]


def test_some_words_stand_upright_and_most_do_not() -> None:
    angles = [row["angle"] for row in rows(cloud(STEEP))]
    assert set(angles) == {0, 270}
    assert angles.count(0) > 20


def test_equal_counts_and_seeds_make_equal_charts() -> None:
    backwards = dict(reversed(list(EVEN.items())))
    assert cloud(EVEN).to_dict() == cloud(backwards).to_dict()
    assert cloud(EVEN).to_dict() != cloud(EVEN, seed=1).to_dict()


@pytest.mark.parametrize("counts", [{}, {"Emily": 0}], ids=["no words", "no counts"])
def test_nothing_is_called_none(counts: dict[str, int]) -> None:
    assert rows(cloud(counts)) == [{"shown": "none", "x": WIDTH / 2, "y": HEIGHT / 2, "size": 12, "angle": 0}]
    assert b">none<" in rendered(cloud(counts), ["svg"])["svg"]


def test_the_most_frequent_are_shown_and_the_others_counted() -> None:
    chart = cloud({"Zoe": 3, "Mia": 1, "Ana": 1, "Eva": 1, "Kim": 0}, most_words=3)
    assert list(words(chart)) == ["Zoe", "Ana", "Eva"]
    assert [row["shown"] for row in rows(chart) if "word" not in row] == ["3 of 4"]
    assert len(rows(cloud({"Zoe": 3, "Mia": 1}))) == 2  # all are shown, and nothing is said


def test_words_without_room_are_counted_too() -> None:
    chart = cloud({f"{chr(97 + place) * 24}": 1 for place in range(26)} | {f"{n}" * 24: 1 for n in range(10, 60)})
    shown = words(chart)
    assert 0 < len(shown) < 60
    assert f"{len(shown)} of 76" in {row["shown"] for row in rows(chart)}
    assert len({row["size"] for row in shown.values()}) == 1


def test_long_words_are_cut_and_stay_apart() -> None:
    first, second = "x" * 30, "x" * 31
    assert {row["word"]: row["shown"] for row in rows(cloud({first: 1, second: 1}))} == {
        first: "x" * 23 + "…",
        second: "x" * 23 + "… 2",
    }
    endless = rows(cloud({"y" * 100_000: 1}))
    assert [row["word"] for row in endless] == ["y" * 200 + "…"]


def test_wide_letters_are_cut_by_their_columns() -> None:
    # Eleven of two columns and the mark make 23; a twelfth would make 25.
    assert [row["shown"] for row in rows(cloud({"美" * 30: 1}))] == ["美" * 11 + "…"]


def test_hostile_words_are_inert() -> None:
    chart = cloud({HOSTILE_NAME: 2, "</script>": 1, "a\u202eb\n": 1, " ": 1, "": 1})
    document = rendered(chart, ["svg"])["svg"].decode()
    root = ElementTree.fromstring(document)
    assert unsafe_in(document) == []
    assert not {element.tag.split("}")[1] for element in root.iter()} & {"script", "image", "a", "foreignObject"}
    assert {row["shown"] for row in rows(chart)} >= {"</script>", "a⟨U+202E⟩b⏎", "⟨blank⟩", "⟨blank⟩ 2"}


@pytest.mark.parametrize("position", range(len(ARM_COLOURS)))
def test_words_can_be_read_on_white_and_on_black(position: int) -> None:
    """A contrast of three to one, as the Web Content Accessibility Guidelines ask of large text."""
    colour = cloud({"Emily": 1}, arm="some arm", position=position).to_dict()["layer"][0]["mark"]["color"]
    luminance = relative_luminance(colour)
    assert 1.05 / (luminance + 0.05) >= 3
    assert (luminance + 0.05) / (relative_luminance("#121212") + 0.05) >= 3


def test_base_and_aligned_have_their_colours() -> None:
    for position, arm in enumerate(("base", "aligned")):
        svg = rendered(cloud({"Emily": 1}, arm=arm, position=1 - position), ["svg"])["svg"].decode()
        assert re.findall(r'fill="(#\w{6})"', svg) == [ARM_COLOURS[position]]


@pytest.mark.parametrize("kind", MAGIC)
def test_every_format_is_what_its_name_says(kind: str) -> None:
    assert rendered(cloud({"Emily": 2, "Ana": 1}), [kind])[kind].startswith(MAGIC[kind])
