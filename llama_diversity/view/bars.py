"""The lines around the texts: what is looked at, how to read the colours, and which keys there are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text as Line
from textual.geometry import Size

from llama_diversity.render.heatmap import ramp_of
from llama_diversity.render.scales import Difference, Scale
from llama_diversity.render.token_pages import DISTRIBUTIONS
from llama_diversity.studies.viewed import Abreast
from llama_diversity.view.ink import BOLD, DIM, TALL, Drawn, cut, folded

KEYS_FIRST = "? help  q quit  c colour  n surprise  s sample  tab arm"


class Title(Drawn):
    """What is looked at, on one line."""

    words = ""
    prompt = ""

    def say(self, words: str, prompt: str) -> None:
        """Other words."""
        if (words, prompt) != (self.words, self.prompt):
            self.words, self.prompt = words, prompt
            self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        line = Line(cut(self.words, width), BOLD, no_wrap=True)
        room = width - line.cell_len - 2
        if self.prompt and room > 8:
            shown = self.prompt if len(self.prompt) < room else ".." + self.prompt[-room:]
            line.append(f"  {cut(self.ink.safe(shown), room)}", DIM)
        return [line]


class Legend(Drawn):
    """How to read the colours: the quantity, its steps, and of which distribution it is."""

    scale: Scale | None = None
    abreast: Abreast | None = None
    _most = 0  # lines that the screen has for it, 0 for as many as it takes

    def explain(self, scale: Scale, abreast: Abreast | None) -> None:
        """Another scale, or other texts."""
        before = (self.scale, None if self.abreast is None else self._source(self.abreast))
        self.scale, self.abreast = scale, abreast
        if before != (scale, None if abreast is None else self._source(abreast)):  # else it stays as high as it is
            width, height = self.size
            self.redraw(layout=len(self.lines(width, 0)) != height)  # else nothing around it has to move

    def lines(self, width: int, height: int) -> Sequence[Line]:
        if self.scale is None:
            return []
        steps = folded(ramp_of(self.scale, self.ink.looks, self.ink.depth, self.ink.marks), width)
        found = [*folded(Line(self.scale.sentence()), width), *steps]
        if self.abreast is not None:
            found += folded(Line(self._source(self.abreast), DIM), width)
        if (
            self._most and len(found) > self._most
        ):  # the text comes first, then what colours it: whole sentences give way
            sentence = folded(Line(self.scale.sentence()), width)
            found = [*sentence, *steps] if len(sentence) + len(steps) <= self._most else list(steps)
        return found

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._most = 0 if viewport.height >= TALL else max(1, viewport.height // 8)
        return super().get_content_height(container, viewport, width)

    def _source(self, abreast: Abreast) -> str:
        if self.scale is None:
            return ""
        names = dict.fromkeys(f"{text.arm} {text.model}" for text in abreast.texts)
        vocabularies = " and ".join(dict.fromkeys(text.vocabulary for text in abreast.texts))
        words = DISTRIBUTIONS["raw"]
        if isinstance(self.scale, Difference) and len(names) > 1 and self.scale.name == Difference.name:
            first, *others = (self.ink.safe(text.arm) for text in abreast.texts)
            words = f"A is {first}, B is {' or '.join(others)}; {words}"
        number = f"; {self.scale.number_sentence()}" if self.ink.has_numbers else ""
        return f"{words}; tokenizer {vocabularies}{number}"


class Footer(Drawn):
    """The most useful keys; in their place now and then a remark."""

    remark = ""
    where = ""
    keys = KEYS_FIRST

    def say(self, remark: str) -> None:
        """A remark."""
        if remark != self.remark:
            self.remark = remark
            self.redraw(layout=True)

    def forget(self, remark: str) -> None:
        """The remark, unless there is another by now."""
        if remark == self.remark:
            self.say("")

    def offer(self, keys: str = KEYS_FIRST) -> None:
        """Other keys."""
        if keys != self.keys:
            self.keys = keys
            self.redraw()

    def stand(self, where: str) -> None:
        """Where the cursor is, in a few words."""
        if where != self.where:
            self.where = where
            self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        room = max(0, width - len(self.where) - 1)
        if len(self.remark) > room:  # a sentence is read to its end, or not at all
            return folded(Line(self.ink.safe(self.remark), BOLD), width)
        line = Line(no_wrap=True)
        line.append(cut(self.ink.safe(self.remark) or self.keys, room), BOLD if self.remark else DIM)
        line.append(" " * max(1, width - line.cell_len - len(self.where)))
        line.append(self.where, DIM)
        return [line]
