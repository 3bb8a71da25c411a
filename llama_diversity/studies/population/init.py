"""A TARGET to start from."""

from __future__ import annotations

_TEXT = """\
# A population to make: what its people are like, and in which shares.
# Every share below is an EXAMPLE, round and made up. Replace them by those of your population, and say where from.

version = 1
title = "Adults (example shares)"
source = ""          # where the shares are from; it is printed with every number
product = "A coffee machine that grinds its own beans."

# A field with shares: they sum to 1, or to 100. `also` lists further spellings that models use.
[fields.gender]
values = { female = 0.5, male = 0.5 }
also = { female = ["woman", "f"], male = ["man", "m"] }

# A field of whole numbers: bins without holes.
[fields.age]
bins = { "18-29" = 0.2, "30-44" = 0.25, "45-64" = 0.35, "65+" = 0.2 }

[fields.household]
values = { alone = 0.2, "with a partner" = 0.4, "with children" = 0.3, "with others" = 0.1 }

# Free fields are written by the model. `examples` stand in the worked examples that a base model continues; an
# output that copies one is not used.
[fields.occupation]
free = true
max_words = 8
examples = ["nurse", "bus driver", "retired teacher", "software developer", "cook", "electrician"]

[fields.review]
free = true
max_words = 60
examples = [
    "Loud in the morning, but the coffee is worth it.",
    "The tank is too small for the four of us.",
    "Does what it should; the manual could be clearer.",
    "I have sent it back twice and am still waiting.",
]

# Two fields together; without pairs they are independent, and correlations are not checked. A table may be a file
# beside this one, too: table = "age_gender.csv", ages down, genders across.
[[pairs]]
of = ["age", "gender"]
[pairs.table]
"18-29" = { female = 0.1, male = 0.1 }
"30-44" = { female = 0.12, male = 0.13 }
"45-64" = { female = 0.17, male = 0.18 }
"65+" = { female = 0.11, male = 0.09 }

# What nobody may be. Conditions: "<62", ">=18", "18-29", a value, or "retired*" with a star for any letters.
[[rules]]
if = { age = "<50" }
not = { occupation = ["retired*", "pensioner*"] }
why = "too young to be retired"
"""


def starting_text() -> str:
    """A target as TOML with comments, which loads and fits as it stands; its shares are examples to replace."""
    return _TEXT
