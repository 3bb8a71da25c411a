"""What the lab grew and measured, for a reader: lines of a report, and the files of a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_diversity.decimals import readable_bytes
from llama_diversity.render.files import write_whole
from llama_diversity.render.model_pages import columns

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
    drawn = "-" if (share := reward["held_out_accuracy_drawn"]) is None else f"{share:.1%}"
    yield (
        f"reward model  right about {reward['held_out_accuracy']:.1%} of {reward['n_held_out']} held-out pairs, "
        f"{drawn} of those drawn for one prompt"
    )
    for stage, row in report["held_out_judgement"].items():
        yield f"{stage:<14}score {row['score']:.2f} (se {row['score_se']:.2f}) on {row['n']} held-out requests"


_OF_ANSWERS = {
    "cosine of two": ("tf_idf_cosine", ".3f"),
    "different words": ("distinct_words", ","),
    "tokens of requests": ("request_tokens", ","),
}


def of_recipes(report: Mapping[str, Any], out: Path) -> Iterator[str]:
    """What the siblings were fine-tuned on, how well DPO knows preferences, what each answers, and how to compare."""
    sets = report["answers"]
    sizes = {name: [sum(row[what] for row in sets[name].values()) for what in ("n", "answer_tokens")] for name in sets}
    said = " and ".join(f"{n:,} {name} ones of {n_tokens:,} tokens" for name, (n, n_tokens) in sizes.items())
    yield f"answers       {said}"
    rows = []
    for kind, narrow in sets["narrow"].items():
        varied = sets["varied"][kind]
        pairs = [[f"{one[key]:{form}}" for one in (narrow, varied)] for key, form in _OF_ANSWERS.values()]
        rows.append((kind, *(" / ".join(pair) for pair in pairs), str(varied["n_in_both"])))
    yield from columns(("narrow / varied", *_OF_ANSWERS, "in both"), rows)
    known = report["implicit_reward"]["held_out"]
    others = f"the reward model about {report['reward_model_held_out_accuracy']:.1%}"
    yield f"DPO           right about {known['accuracy']:.1%} of {known['n']} held-out pairs, {others}"
    for stage, row in report["held_out_judgement"].items():
        judged = f"score {row['score']:.2f} (se {row['score_se']:.2f})"
        moved = f"KL to SFT {row['kl_nats']:.1f} nats (se {row['kl_nats_se']:.1f})"
        yield f"{stage:<14}{judged}, {moved}, {row['entropy_bits']:.2f} bits a token"
    names = [name for name in report["held_out_judgement"] if name != "sft"]
    files = {name: str(out / f"tiny-{name}-f16.gguf") for name in ("base", *names)}
    arms = " ".join(f"--arm {name}={shlex.quote(file)}" for name, file in files.items())
    yield f"\nWritten: {', '.join(file for name, file in files.items() if name not in ('base', 'aligned'))}"
    yield f"Compare: llamadiv compare {arms}"


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
