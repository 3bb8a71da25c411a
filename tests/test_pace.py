"""Where a whole run stands: its samples, its speed, and the time that is left, worked out by hand."""

from __future__ import annotations

import pytest
from scripted_work import cell_of, open_scripted

from llama_diversity.records import Cell
from llama_diversity.runner import Progress
from llama_diversity.studies.drawing import together
from llama_diversity.studies.pace import Left, Pace, Standing, Stored, drawn_with


class Clock:
    """Time that passes when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def cell(text: str, n: int, *, max_tokens: int = 10, model: str = "base") -> Cell:
    return cell_of(open_scripted(model), n, text=text, max_tokens=max_tokens, arm=f"compare/{text}")


def told(pace: Pace, clock: Clock, one: Cell, after_s: float, progress: Progress) -> Standing:
    clock.now_s += after_s
    return pace.heard(one, progress)


def test_samples_of_all_cells_and_the_time_for_those_that_lack() -> None:
    clock = Clock()
    first, second, done = cell("She", 20), cell("He", 30, max_tokens=20), cell("They", 7)
    pace = Pace([Stored(first, 4, 9), Stored(second, 0, 9), Stored(done, 7, 9)], clock=clock)
    standing = told(pace, clock, first, 0, Progress(4, 20, 4, 0))
    assert standing == Standing(11, 57, None, None, "compare/She")
    standing = told(pace, clock, first, 10, Progress(12, 20, 4, 40))
    # 40 tokens in 10 s; samples of 5 tokens: 16 of 5 less 40, and of the other, for its length as long, 30 of 10
    assert standing == Standing(19, 57, 4.0, Left((16 * 5 - 40 + 300) / 4.0, False), "compare/She")
    told(pace, clock, first, 10, Progress(20, 20, 4, 80))
    standing = told(pace, clock, second, 3600, Progress(0, 30, 0, 0))  # a model was loaded: not drawing
    assert standing == Standing(27, 57, 4.0, Left(300 / 4.0, False), "compare/He")
    standing = told(pace, clock, second, 5, Progress(30, 30, 0, 200))
    assert standing == Standing(57, 57, (80 + 200) / 25, None, "compare/He")


def test_before_a_sample_has_ended_the_time_is_a_bound() -> None:
    clock = Clock()
    one = cell("She", 20)
    pace = Pace([Stored(one, 0, 9)], clock=clock)
    told(pace, clock, one, 0, Progress(0, 20, 0, 0))
    assert told(pace, clock, one, 5, Progress(0, 20, 0, 9)).left is None  # prompts are read: too soon for a bound
    standing = told(pace, clock, one, 5, Progress(0, 20, 0, 50))
    assert standing == Standing(0, 20, 5.0, Left((200 - 50) / 5, True), "")  # one cell: no need to name it


def test_one_that_ended_early_does_not_make_the_others_long() -> None:
    """One of 20 in flight has ended after 4 tokens: 80 tokens over one sample, but none is longer than 10."""
    clock = Clock()
    one = cell("She", 20)
    pace = Pace([Stored(one, 0, 9)], clock=clock)
    told(pace, clock, one, 0, Progress(0, 20, 0, 0))
    assert told(pace, clock, one, 8, Progress(1, 20, 0, 80)).left == Left((200 - 80) / 10, False)


@pytest.mark.parametrize(("n_params", "seconds"), [(9, 10.0), (18, 20.0), (0, 10.0)])
def test_a_model_that_has_not_run_is_slower_as_it_is_larger(n_params: int, seconds: float) -> None:
    clock = Clock()
    first, second = cell("She", 10), cell("She", 10, model="aligned")
    pace = Pace([Stored(first, 0, 9), Stored(second, 0, n_params)], clock=clock)
    told(pace, clock, first, 0, Progress(0, 10, 0, 0))
    assert told(pace, clock, first, 10, Progress(10, 10, 0, 60)).left == Left(seconds, False)


def test_cells_of_one_recipe_share_their_samples() -> None:
    few, many = cell("She", 10), cell("She", 25)
    assert few.recipe == many.recipe
    pace = Pace([Stored(many, 5, 9), Stored(few, 5, 9)], clock=Clock())
    standing = pace.heard(few, Progress(10, 10, 5, 40))
    assert (standing.n_done, standing.n_total) == (10, 25)
    standing = pace.heard(many, Progress(12, 25, 10, 10))
    assert (standing.n_done, standing.n_total) == (12, 25)
    [part] = pace._parts.values()
    assert (part.n_ended, part.n_tokens) == (7, 50)
    assert pace.heard(few, Progress(10, 10, 10, 0)).n_done == 12


def test_cells_that_are_drawn_together_stand_together() -> None:
    """Three of one sample, one of them stored, beside a cell of two that is drawn by itself."""
    clock = Clock()
    ones, two = [cell(text, 1, max_tokens=length) for text, length in (("a", 10), ("b", 20), ("c", 5))], cell("She", 2)
    assert len({drawn_with(one) for one in ones}) == 1
    assert together([ones[0], two, *ones[1:], two]) == [ones, [two], [two]]
    pace = Pace([Stored(two, 0, 9), Stored(ones[0], 1, 9), *(Stored(one, 0, 9) for one in ones[1:])], clock=clock)
    standing = told(pace, clock, ones[0], 0, Progress(1, 3, 1, 0))
    assert standing == Standing(1, 5, None, None, "compare/a and 2 more")
    # 8 tokens in 2 s and one sample of two ended: the other is as long, 8; those of two, for their 10 of 20, 4 each
    standing = told(pace, clock, ones[0], 2, Progress(2, 3, 1, 8))
    assert standing == Standing(2, 5, 4.0, Left((2 * 8 - 8 + 2 * 4) / 4, False), "compare/a and 2 more")
    assert told(pace, clock, two, 9, Progress(0, 2, 0, 0)).now == "compare/She"


def test_hearing_of_one_of_thousands_takes_no_look_at_all_of_them() -> None:
    ones = [cell(f"{number}", 1) for number in range(300)]
    pace = Pace([Stored(one, 0, 9) for one in ones], clock=Clock())
    assert len(pace._parts) == 1
    assert pace.heard(ones[7], Progress(20, 300, 0, 60)).n_total == 300


def test_workers_are_counted_in_words() -> None:
    standing = Standing(3, 10, 12.0, None, "")
    assert standing.words == "3/10 samples, 12 tokens/s"
    assert standing._replace(n_workers=2).words == "3/10 samples, 12 tokens/s on 2 workers"
    assert standing._replace(n_workers=1).words == "3/10 samples, 12 tokens/s on 1 worker"
