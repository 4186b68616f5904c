"""The console's languages: one flat file of messages each, and the choice between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LANGUAGES: tuple[str, ...] = ("en", "ja")
DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Translator:
    """The messages of one language. Calling it gives a message with its facts filled in."""

    language: str
    messages: Mapping[str, str]

    def __call__(self, key: str, **facts: object) -> str:
        """The message `key`, plain text; `KeyError` when the message or one of its facts is missing."""
        message = self.messages[key]
        return message.format(**facts) if facts else message

    def count(self, key: str, n: int, **facts: object) -> str:
        """The message for `n` things: `key.one` where the language has it and n is 1, otherwise `key`."""
        chosen = f"{key}.one" if n == 1 and f"{key}.one" in self.messages else key
        return self(chosen, n=f"{n:,}", **facts)

    def named(self, group: str, code: str | None) -> str:
        """The word for a code such as a status; a code that nobody has named yet is shown as it is."""
        if code is None:
            return ""
        return self.messages.get(f"{group}.{code}", code)


@cache
def translator(language: str) -> Translator:
    """The translator of one of `LANGUAGES`."""
    path = files("fraud.console").joinpath("translations", f"{language}.json")
    return Translator(language, json.loads(path.read_text(encoding="utf-8")))


def choose_language(chosen: str | None, accept_language: str | None) -> str:
    """The person's own choice, else the first language of the browser's list that we have, else the default."""
    if chosen in LANGUAGES:
        return chosen
    ranked: list[tuple[float, int, str]] = []
    for place, item in enumerate((accept_language or "").split(",")):
        tag, _, weight = item.strip().partition(";q=")
        language = tag.split("-")[0].lower()
        if language in LANGUAGES:
            ranked.append((-_weight(weight), place, language))
    return min(ranked)[2] if ranked else DEFAULT_LANGUAGE


def _weight(text: str) -> float:
    try:
        return float(text or "1")
    except ValueError:
        return 0.0
