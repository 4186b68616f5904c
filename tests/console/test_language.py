"""Every text is in the translation files, in every language, and no template has a text of its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from string import Formatter

import pytest

from fraud.api.permissions import ROLE_PERMISSIONS
from fraud.cases import CaseStatus, FraudType, Outcome, ReasonCode
from fraud.codes import MCC_GROUPS
from fraud.compromise import AlertSource, CompromiseStatus, DataElements, EntityRole, ExposedCardStatus
from fraud.console.language import LANGUAGES, choose_language, translator
from fraud.transactions import FIELD_BY_NAME

CONSOLE = Path(str(files("fraud.console")))
TEMPLATES = sorted(CONSOLE.glob("templates/*.html"))
SOURCES = [*TEMPLATES, *sorted(CONSOLE.rglob("*.py"))]
# How the policy names its reasons: as it makes one, and in its table of triggers.
FORMS = (r'Reason\(\s*"([A-Z_]+)"', r'^\s+"([A-Z_]+)":')
REASONS = (
    "MODEL_SCORE_HIGH",
    "ANOMALY_HIGH",
    "EXPOSED_CARD",
    "CARD_TESTING",
    "TEST_THEN_SPEND",
    "AMOUNT_UNUSUAL",
    "NEW_MERCHANT",
    "NEW_COUNTRY",
    "FOREIGN_ECOMMERCE",
    "NO_CHALLENGE",
    "HIGH_RISK_GOODS",
    "VELOCITY",
    "UNUSUAL_HOUR",
    "MANY_NEW_MERCHANTS",
    "SCORING_FAILED",
    "KNOWN_MERCHANT",
    "CHALLENGE_PASSED",
    "CHIP_AT_HOME",
    "LONG_STANDING_RECURRING",
    "USUAL_AMOUNT",
)


def placeholders(message: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(message) if name}


def test_every_language_has_every_message_with_the_same_facts() -> None:
    english = translator("en").messages
    for language in LANGUAGES:
        messages = translator(language).messages
        assert set(messages) == set(english)
        assert [key for key in english if not messages[key].strip()] == []
        different = [key for key in english if placeholders(messages[key]) != placeholders(english[key])]
        # A month has a name in one language and a number in the other, but no facts in either.
        assert different == []


def test_messages_that_the_code_names_exist_and_none_is_left_over() -> None:
    messages = translator("en").messages
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    quoted = set(re.findall(r"""["']([a-z][A-Za-z0-9_.]*\.?[A-Za-z0-9_]*)["']""", text))
    called = set(re.findall(r"""\bt(?:\.count)?\(\s*["']([^"']+)["']\s*[,)]""", text))
    assert called - set(messages) == set()
    groups = set(re.findall(r"""\bnamed\(\s*["']([^"']+)["']""", text)) | {
        prefix.rstrip(".") for prefix in re.findall(r"""["']([a-z_.]+\.)(?:["'] ~|\{)""", text)
    }

    def used(key: str) -> bool:
        base = key.removesuffix(".one")
        group = base.rpartition(".")[0]
        return base in quoted or group in groups or group.split(".")[0] == "reason"

    assert [key for key in messages if not used(key)] == []


@pytest.mark.parametrize(
    ("group", "codes"),
    [
        ("status", list(CaseStatus)),
        ("outcome", list(Outcome)),
        ("reason_code", list(ReasonCode)),
        ("fraud_type", list(FraudType)),
        ("event_status", list(CompromiseStatus)),
        ("exposure.certainty", list(CompromiseStatus)),
        ("exposed_status", list(ExposedCardStatus)),
        ("entity_role", list(EntityRole)),
        ("source", list(AlertSource)),
        ("element", list(DataElements.__dataclass_fields__)),
        ("mcc_group", list(MCC_GROUPS)),
        ("channel", list(FIELD_BY_NAME["channel"].values)),
        ("three_ds", list(FIELD_BY_NAME["three_ds"].values)),
        ("check", list(FIELD_BY_NAME["cvv2_result"].values)),
        ("role", list(ROLE_PERMISSIONS)),
        ("reason", REASONS),
        ("tier", ["0", "1", "2", "3", "4", "5"]),
        ("month", [str(month) for month in range(1, 13)]),
    ],
)
def test_every_code_has_a_word(group: str, codes: list[str]) -> None:
    messages = translator("en").messages
    assert [code for code in codes if f"{group}.{code}" not in messages] == []


def test_every_reason_that_the_policy_gives_has_words() -> None:
    policy = (CONSOLE.parent / "policy.py").read_text(encoding="utf-8")
    made, triggers = (re.findall(form, policy, re.MULTILINE) for form in FORMS)
    given = {*made, *triggers}
    assert given
    assert given - set(REASONS) == set()
    for reason in REASONS:
        assert f"reason.{reason}.short" in translator("en").messages
        facts = placeholders(translator("en").messages[f"reason.{reason}"])
        assert not facts or f"reason.{reason}.plain" in translator("en").messages


class VisibleText(HTMLParser):
    """Collects what a person would see or hear of a page."""

    ATTRIBUTES = frozenset({"title", "aria-label", "placeholder", "alt", "label"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if value and name in self.ATTRIBUTES]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_text_of_their_own(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    source = re.sub(r"\{% block width %\}[a-z]*|\{#.*?#\}|\{%.*?%\}", "", source, flags=re.DOTALL)
    source = re.sub(r"\{\{.*?\}\}", "", source, flags=re.DOTALL)
    parser = VisibleText()
    parser.feed(source)
    words = [text.strip() for text in parser.found if re.search(r"[^\W\d_]{2,}", text)]
    assert words == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_obey_the_content_security_policy(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle\s*=|\son[a-z]+\s*=|hx-on|hx-vals=.js:|javascript:", source)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", source))
    assert "|safe" not in source.replace(" ", "")


@pytest.mark.parametrize(
    ("chosen", "header", "language"),
    [
        ("ja", "en", "ja"),
        (None, "ja,en;q=0.8", "ja"),
        (None, "en;q=0.5,ja-JP;q=0.9", "ja"),
        (None, "fr,de", "en"),
        ("xx", "ja;q=oops", "ja"),
        (None, None, "en"),
    ],
)
def test_the_language_is_the_persons_choice_or_the_browsers(
    chosen: str | None, header: str | None, language: str
) -> None:
    assert choose_language(chosen, header) == language
