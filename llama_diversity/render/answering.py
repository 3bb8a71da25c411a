"""What a page needs beside exhibits that answer keys and touch, whichever of them it holds: their rules and scripts."""

from __future__ import annotations

from collections.abc import Sequence

from llama_diversity.render.branch_pages import branch_script, branch_style
from llama_diversity.render.exhibits import Branching, Exhibit, Tokens
from llama_diversity.render.html import token_script, token_style


def style_of(exhibits: Sequence[Exhibit]) -> str:
    """Their rules, which reach no further than these; empty where none of them answers."""
    pictures = [one.picture for one in exhibits if isinstance(one, Tokens)]
    has_branches = any(isinstance(one, Branching) for one in exhibits)
    return (token_style(pictures) if pictures else "") + (branch_style() if has_branches else "")


def scripts_of(exhibits: Sequence[Exhibit]) -> str:
    """Their scripts as elements that stand behind them; empty where none of them answers."""
    scripts = [token_script()] if any(isinstance(one, Tokens) for one in exhibits) else []
    scripts += [branch_script()] if any(isinstance(one, Branching) for one in exhibits) else []
    return "".join(f"<script>{script}</script>\n" for script in scripts)
