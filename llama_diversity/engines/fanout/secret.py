"""The token that a driver shows and a worker asks for: from the environment alone, so that no list or record has it."""

from __future__ import annotations

import hmac
import os
import re

from llama_diversity.errors import BadUsage

VARIABLE = "LLAMADIV_WORKER_TOKEN"
_FORM = re.compile(r"[!-~]{16,200}")
_MAKE = f"export {VARIABLE}=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')"


def worker_token() -> str:
    """The token of this process. Raises BadUsage where there is none, or one that is too short to be a secret."""
    token = os.environ.get(VARIABLE, "")
    if not token:
        raise BadUsage(
            f"Workers and their drivers know each other by a token, and {VARIABLE} is not set. Make one, and give the "
            f"same to all: {_MAKE}"
        )
    if not _FORM.fullmatch(token):
        raise BadUsage(f"{VARIABLE} must have 16 to 200 visible ASCII characters. Make one: {_MAKE}")
    return token


def bearer(token: str) -> str:
    """The header Authorization that shows it."""
    return f"Bearer {token}"


def is_shown(header: str | None, token: str) -> bool:
    """Whether a header Authorization shows the token; takes as long whatever it shows."""
    return hmac.compare_digest((header or "").encode("utf-8", "replace"), bearer(token).encode())
