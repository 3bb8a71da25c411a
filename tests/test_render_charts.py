"""Charts: what they say, and that a file is written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from render_samples import HOSTILE, HOSTILE_NAME, SENTENCE, unsafe_in

from llama_diversity.errors import BadValue
from llama_diversity.render import charts
from llama_diversity.render.charts import save_chart
from llama_diversity.render.files import write_whole
from llama_diversity.render.ramps import ARM_COLOURS, relative_luminance

BASE = [1.1, 1.2, 1.3, 1.4, 1.6, math.nan]
ALIGNED = [0.6, 0.9, 1.0]
SAMPLES = {"base": SENTENCE[1:17], "aligned": SENTENCE[5:21]}
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<svg", "pdf": b"%PDF-", "json": b"{"}


def box_plot(**samples: list[float]) -> Any:
    panel = charts.entropy_box_panel(samples, unit="mean token entropy, bits")
    return charts.side_by_side({"": panel}, title="Figure 11", subtitle="T = 1")


def specification(chart: Any) -> dict[str, Any]:
    return chart if isinstance(chart, dict) else json.loads(chart.to_json())


def inline_values(chart: Any) -> list[list[dict[str, Any]]]:
    return list(specification(chart)["datasets"].values())


def test_the_box_plot_holds_every_value_and_its_n() -> None:
    rows = inline_values(box_plot(base=BASE, aligned=ALIGNED))[0]
    assert [row["value"] for row in rows if row["arm"] == "base (n = 5)"] == BASE[:5]
    assert [row["value"] for row in rows if row["arm"] == "aligned (n = 3)"] == ALIGNED
    text = json.dumps(specification(box_plot(base=BASE, aligned=ALIGNED)))
    assert "mean token entropy, bits" in text
    assert text.index(ARM_COLOURS[0]) < text.index(ARM_COLOURS[1])


def test_base_and_aligned_have_the_same_colours_in_any_order() -> None:
    def colours(chart: Any) -> dict[str, str]:
        [panel] = specification(chart)["vconcat"][0]["hconcat"]
        scale = panel["layer"][0]["encoding"]["color"]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))

    assert colours(box_plot(base=BASE, aligned=ALIGNED)) == colours(box_plot(aligned=ALIGNED, base=BASE))
    [strip] = charts.token_entropies({"aligned": SENTENCE[1:3]}).values()
    assert specification(strip)["mark"]["color"] == ARM_COLOURS[1]


def test_shares_get_lighter_from_the_likeliest_to_the_rest() -> None:
    values = [relative_luminance(colour) for colour in charts.SHARE_COLOURS]
    assert values == sorted(set(values))


def test_shares_add_up_to_one() -> None:
    rows = inline_values(charts.stacked_probabilities({"base": SENTENCE[1:4]})["base (one sample, n = 3 tokens)"])[0]
    assert [row["kind"] for row in rows] == ["1", "2", "3", "4", "5", "rest"] * 3
    # 0.5 + 0.25 + 0.125 + 0.0625 + 0.03125 = 0.96875
    assert [row["share"] for row in rows[:6]] == [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125]


def test_tokens_stay_in_order_and_apart() -> None:
    same = [SENTENCE[1]] * 12
    [strip] = charts.token_entropies({"base": same}).values()
    axis = specification(strip)["encoding"]["x"]
    assert axis["sort"] == [f"{position} She" for position in range(1, 13)]


@pytest.mark.parametrize("suffix", MAGIC)
def test_every_format_is_what_its_name_says(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / f"figure.{suffix}"
    save_chart(charts.side_by_side(charts.token_entropies(SAMPLES), title="Figure 12"), path)
    assert path.read_bytes().startswith(MAGIC[suffix])
    assert os.listdir(path.parent) == [path.name]
    save_chart(box_plot(base=BASE, aligned=ALIGNED), path)  # replaces
    assert path.read_bytes().startswith(MAGIC[suffix])


@pytest.mark.parametrize("kind", ["box", "entropies", "probabilities"])
def test_hostile_text_makes_an_inert_picture(kind: str, tmp_path: Path) -> None:
    samples = {HOSTILE_NAME: HOSTILE[:30]}
    chart: Any = {
        "box": lambda: {HOSTILE_NAME: charts.entropy_box_panel({HOSTILE_NAME: BASE}, unit=HOSTILE_NAME)},
        "entropies": lambda: charts.token_entropies(samples),
        "probabilities": lambda: charts.stacked_probabilities(samples),
    }[kind]()
    path = tmp_path / "hostile.svg"
    save_chart(charts.side_by_side(chart, title=HOSTILE_NAME, subtitle=HOSTILE_NAME), path)
    document = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(document)
    assert unsafe_in(document) == []
    assert not {element.tag.split("}")[1] for element in root.iter()} & {"script", "image", "a", "foreignObject"}
    named = {name: value for element in root.iter() for name, value in element.attrib.items()}
    assert not {name for name in named if "href" in name or name.startswith("on") or name == "src"}
    assert "url(http" not in document
    assert "@font-face" not in document


@pytest.mark.parametrize("samples", [{}, {"base": []}, {"base": [math.nan]}])
def test_no_data_still_makes_a_picture(samples: dict[str, list[float]], tmp_path: Path) -> None:
    save_chart(box_plot(**samples), tmp_path / "empty.svg")
    assert (tmp_path / "empty.svg").read_text().startswith("<svg")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"must end in one of png, svg, pdf, json"):
        save_chart(box_plot(base=BASE), tmp_path / "figure.gif")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadValue, match="it cannot be written"):
        write_whole(tmp_path / "file" / "figure.svg", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadValue, match="it cannot be written"):
        write_whole(tmp_path / "folder", b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_whole(tmp_path / "page.html", "é\n")
    assert (tmp_path / "page.html").read_bytes() == b"\xc3\xa9\n"


def test_learning_curves_share_their_steps(tmp_path: Path) -> None:
    curves = {"reward": [0.0, 0.5], "KL, nats": [0.0, 3.0]}
    chart = charts.learning_curves(curves, step="iteration", title="PPO")
    assert sorted(inline_values(chart), key=lambda rows: rows[1]["value"]) == [
        [{"step": 0, "value": 0.0}, {"step": 1, "value": 0.5}],
        [{"step": 0, "value": 0.0}, {"step": 1, "value": 3.0}],
    ]
    save_chart(chart, tmp_path / "ppo.svg")
    assert "iteration" in (tmp_path / "ppo.svg").read_text("utf-8")


def test_a_sweep_has_a_panel_for_each_measure_and_intervals_only_where_there_are_some(tmp_path: Path) -> None:
    point = charts.SweepPoint
    panels = {
        ("beta", "KL, nats"): [point(0, 9.0, 8.0, 10.0), point(0.3, 2.0, 1.0, 3.0)],
        ("beta", "score"): [point(0, 4.0, math.nan, math.nan)],
        ("steps", "KL, nats"): [point(10, 1.0, 0.5, 1.5)],
    }
    chart = charts.sweep_panels(panels, title="Knobs", subtitle="two seeds")
    rows = [row for values in inline_values(chart) for row in values]
    assert {"knob": "0.3", "mean": 2.0, "low": 1.0, "high": 3.0} in rows
    assert {"knob": "0", "mean": 4.0, "low": 4.0, "high": 4.0} in rows
    assert [len(row["hconcat"]) for row in specification(chart)["vconcat"]] == [2, 1]
    save_chart(chart, tmp_path / "sweep.svg")
    assert "Knobs" in (tmp_path / "sweep.svg").read_text("utf-8")
