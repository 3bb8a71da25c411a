"""What the lab grew and measured, for a reader: lines of a report, and the files of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_diversity.decimals import readable_bytes
from llama_diversity.render.files import write_whole

if TYPE_CHECKING:
    from llama_diversity.render.charts import SweepPoint


def of_base(report: Mapping[str, Any]) -> Iterator[str]:
    """How well a base model predicts texts that it has not read."""
    for kind, quality in report["held_out"].items():
        yield f"{kind:<14}{quality['bits_per_byte']:6.2f} bits a byte, {quality['n_documents']} held-out documents"
    for name, bits_per_byte in report["held_out_baselines_bits_per_byte"].items():
        yield f"{name:<14}{bits_per_byte:6.2f} bits a byte, for comparison"


def of_aligned(report: Mapping[str, Any]) -> Iterator[str]:
    """How good the reward model is, and how well each stage answers."""
    reward = report["reward_model"]
    yield f"reward model  right about {reward['held_out_accuracy']:.1%} of {reward['n_held_out']} held-out pairs"
    for stage, row in report["held_out_judgement"].items():
        yield f"{stage:<14}score {row['score']:.2f} (se {row['score_se']:.2f}) on {row['n']} held-out requests"


def written(file: Path) -> Iterator[str]:
    """Where a model is, and how to try it."""
    yield f"\nWritten: {file}"
    yield f"Try it:  llamadiv sample -m {file} -p 'Grace Hopper was'"


def of_blend(report: Mapping[str, Any]) -> Iterator[str]:
    """What was blended, by which rule, and where it is."""
    depth = "" if report["shallow"] is None else f", {report['shallow']:g} in the first block"
    names = f"{report['a']['name']} and {report['b']['name']}"
    yield f"{names}, alpha {report['alpha']:g}{depth}: {report['n_tensors']} tensors, {report['type']}"
    yield f"{report['path']}: {readable_bytes(report['size_bytes'])}, sha256 {report['sha256']}"


def save_sweep(points: Sequence[Any], headings: Mapping[str, str], table: str, out: Path, *, n_seeds: int) -> None:
    """`sweep.svg` and `sweep.png`, a panel for each knob and measure, and the table as `sweep.md`. Raises BadValue."""
    from llama_diversity.render import charts  # Altair is heavy, and only needed for files

    panels: dict[tuple[str, str], list[SweepPoint]] = {}
    for point in points:
        panel = panels.setdefault((point.knob, headings[point.measure]), [])
        panel.append(charts.SweepPoint(point.value, point.mean, point.low, point.high))
    title = "What the knobs of RLHF do to a model of 3.4 million parameters"
    figure = charts.sweep_panels(panels, title=title, subtitle=f"mean of {n_seeds} seeds, bars: 95 % t interval")
    for kind in ("svg", "png"):
        charts.save_chart(figure, out / f"sweep.{kind}")
    write_whole(out / "sweep.md", table + "\n")
