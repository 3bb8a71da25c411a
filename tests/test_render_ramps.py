"""The ramps: order by lightness, contrast, and the same steps at each depth."""

from __future__ import annotations

import pytest

from llama_diversity.errors import UnknownName
from llama_diversity.render import ramps
from llama_diversity.render.ramps import PLAIN, RAMPS, paint, relative_luminance, rgb_of

ORDERED = [name for name, ramp in RAMPS.items() if ramp.rises]


def lightness(colour: ramps.Colour) -> float:
    """CIE L*, 0 to 100."""
    y = relative_luminance(colour)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def contrast(one: ramps.Paint) -> float:
    assert one.background is not None
    assert one.text is not None
    low, high = sorted([relative_luminance(one.background), relative_luminance(one.text)])
    return (high + 0.05) / (low + 0.05)


def test_the_palette_formula_gives_known_xterm_colours() -> None:
    # 16 + 36*red + 6*green + blue over levels 0 95 135 175 215 255; greys 8 + 10*i.
    assert [rgb_of(number) for number in (16, 25, 231, 232, 255)] == [
        (0, 0, 0), (0, 95, 175), (255, 255, 255), (8, 8, 8), (238, 238, 238),
    ]  # fmt: skip


@pytest.mark.parametrize("palette", ORDERED)
@pytest.mark.parametrize("depth", ["truecolor", "256"])
def test_lightness_rises_at_every_step(palette: str, depth: str) -> None:
    ramp = RAMPS[palette]
    colours: tuple[ramps.Colour, ...] = ramp.truecolor if depth == "truecolor" else ramp.numbers_256
    values = [lightness(colour) for colour in colours]
    assert len(values) == ramps.N_STEPS
    assert all(low < high for low, high in zip(values, values[1:], strict=False))


@pytest.mark.parametrize("depth", ["truecolor", "256"])
def test_lightness_rises_with_the_size_of_a_difference(depth: ramps.Depth) -> None:
    for sign in (-1, 1):
        paints = [
            paint(sign * size, palette="magma", depth=depth, background="dark", diverging=True) for size in (1, 2, 3, 4)
        ]
        values = [lightness(one.background) for one in paints if one.background is not None]
        assert len(values) == ramps.N_SIDE_STEPS
        assert values == sorted(set(values))


@pytest.mark.parametrize("palette", RAMPS)
@pytest.mark.parametrize("depth", ["truecolor", "256"])
@pytest.mark.parametrize("background", ["dark", "light"])
def test_steps_are_distinct_and_their_text_is_readable(
    palette: str, depth: ramps.Depth, background: ramps.Background
) -> None:
    paints = [paint(step, palette=palette, depth=depth, background=background) for step in range(1, 10)]
    assert len({one.background for one in paints}) == 9
    assert min(map(contrast, paints)) > 4.5


@pytest.mark.parametrize("palette", RAMPS)
@pytest.mark.parametrize("depth", ["truecolor", "256", "16", "none"])
def test_the_likely_and_the_unknown_have_the_terminals_own_background(palette: str, depth: ramps.Depth) -> None:
    for step in (0, None):
        assert paint(step, palette=palette, depth=depth, background="dark") == PLAIN
        assert paint(step, palette=palette, depth=depth, background="light") == PLAIN


def test_256_colours_are_the_numbers_chosen_by_hand() -> None:
    numbers = [paint(step, palette="magma", depth="256", background="dark").background for step in range(1, 10)]
    assert numbers == [17, 54, 90, 126, 168, 203, 209, 222, 229]
    light = [paint(step, palette="magma", depth="256", background="light").background for step in range(1, 10)]
    assert light == [222, 209, 203, 168, 126, 90, 54, 17, 16]
    texts = [paint(step, palette="magma", depth="256", background="dark").text for step in range(1, 10)]
    assert texts == [231] * 4 + [16] * 5  # black from the sixth colour of the list, which is step 5


@pytest.mark.parametrize("palette", RAMPS)
def test_16_colours_use_three_levels_and_say_their_text_colour(palette: str) -> None:
    paints = [paint(step, palette=palette, depth="16", background="dark") for step in range(1, 10)]
    assert [paints.index(one) // 3 for one in paints] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(one.text is not None and one.background is not None for one in paints)


def test_no_colour_at_no_depth() -> None:
    assert {paint(step, palette="magma", depth="none", background="dark") for step in range(10)} == {PLAIN}


@pytest.mark.parametrize(
    ("no_color", "color_system", "depth"),
    [
        (False, "truecolor", "truecolor"),
        (False, "256", "256"),
        (False, "standard", "16"),
        (False, "windows", "16"),
        (False, None, "none"),
        (True, "256", "none"),  # what Rich says under NO_COLOR
    ],
)
def test_depth_of_a_console(no_color: bool, color_system: str | None, depth: str) -> None:  # noqa: FBT001
    assert ramps.depth_of(no_color=no_color, color_system=color_system) == depth


def test_an_unknown_palette_names_near_ones() -> None:
    with pytest.raises(UnknownName, match="Did you mean magma"):
        ramps.ramp_called("magna")


def test_base_and_aligned_keep_their_colours_in_any_order() -> None:
    assert ramps.arm_place("base", 1) == ramps.arm_place("base", 0) == 0
    assert ramps.arm_place("aligned", 0) == 1
    assert [ramps.arm_place(name, position) for position, name in enumerate(["x", "y", "z"])] == [0, 1, 2]
