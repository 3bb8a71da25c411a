"""Texts to read beside a figure: a list that opens without a script, and the small script that follows a pointer.

The script reads names from the points that Vega drew and shows what stands in the list already; it makes no markup of
any text and asks no network.
"""

from __future__ import annotations

from html import escape

from llama_diversity.render.exhibits import Reading, Readings
from llama_diversity.render.safe import visible

REACH = 28  # pixels around a point within which a tap means it

READ = """
for (const list of document.querySelectorAll(".readings")) {
  const shown = list.querySelector(".shown"), figure = document.getElementById(list.dataset.figure);
  const entries = new Map([...list.querySelectorAll("details")].map((one) => [one.dataset.name, one]));
  const show = (name) => {
    const head = document.createElement("h4"), texts = entries.get(name).lastElementChild.cloneNode(true);
    head.textContent = name;
    shown.replaceChildren(head, ...texts.childNodes);
    shown.hidden = false;
  };
  document.addEventListener("drawn", () => {
    const points = [...figure.querySelectorAll(".mark-symbol path")].filter((one) =>
      entries.has(one.__data__?.datum?.name));
    for (const one of points) {
      const name = one.__data__.datum.name;
      one.setAttribute("tabindex", "0");
      one.setAttribute("role", "button");
      one.setAttribute("aria-label", name);
      for (const kind of ["pointerenter", "focus"]) one.addEventListener(kind, () => show(name));
    }
    figure.addEventListener("click", (event) => {
      const far = (one) => {
        const box = one.getBoundingClientRect();
        return Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      };
      const near = points.filter((one) => one.isConnected && far(one) < REACH).sort((a, b) => far(a) - far(b))[0];
      if (near) show(near.__data__.datum.name);
    });
  });
}
""".replace("REACH", str(REACH))


def readings_html(exhibit: Readings) -> str:
    """The list, closed, and the place for what is pointed at."""
    note = f'<p class="note">{_text(exhibit.note)}</p>\n' if exhibit.note else ""
    return (
        f'<div class="exhibit readings" id="{escape(exhibit.name)}" data-figure="{escape(exhibit.figure)}">\n'
        f'<h3>{_text(exhibit.title)}</h3>\n{note}<div class="shown" aria-live="polite" hidden></div>\n'
        f"{''.join(map(_entry, exhibit.entries))}</div>\n"
    )


def _entry(one: Reading) -> str:
    texts = "".join(f"<dt>{_text(asked)}</dt><dd>{_text(text)}</dd>\n" for asked, text in one.texts)
    return (
        f'<details data-name="{_text(one.name)}"><summary>{_text(one.name)}</summary>\n'
        f'<div><p class="note">{_text(one.told)}</p><dl>{texts}</dl></div></details>\n'
    )


def _text(text: str) -> str:
    return escape(visible(text))
