"""Changes of a compromise event as the console makes them: in words what would follow, and then the change itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from fraud.compromise import CompromiseStatus, transition
from fraud.compromise_amendments import Amendment, AmendmentEffect, KnownExposure
from fraud.compromise_disclosure import Disclosure, disclose
from fraud.compromise_facts import FactKind
from fraud.console.event_forms import FormData, read_amendment
from fraud.console.exposure_words import element_words
from fraud.console.formatting import Format
from fraud.store import compromise_changes as store
from fraud.store.compromise_views import CompromiseEventView

Consequences = Callable[[Connection, CompromiseEventView, Format], list[str]]
Perform = Callable[[Connection, int, str], object]


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what would follow from it, in sentences, and how it is done (at a time, by somebody)."""

    consequences: Consequences
    perform: Perform


def status_change(event_id: str, form: FormData) -> Change:
    """A step of the finding."""
    to = form.one_of(CompromiseStatus, "status")
    version, reason = form.version(), form.note("reason")

    def consequences(connection: Connection, event: CompromiseEventView, format_: Format) -> list[str]:
        transition(CompromiseStatus(event.status), to, reason=reason)
        effect = store.status_effect(connection, event, to)
        before, after = (format_.t.named("event_status", item) for item in (event.status, to.value))
        lines = [format_.t("confirm.status", before=before, after=after)]
        if event.is_open and not to.is_open:
            lines.append(format_.t.count("confirm.released", effect.released))
            lines.append(format_.t.count("confirm.kept", effect.kept_elsewhere))
        elif to.is_open and not event.is_open:
            lines.append(format_.t("confirm.reopened"))
        if to is CompromiseStatus.REFUTED:
            lines.append(format_.t("confirm.final"))
        return lines

    def perform(connection: Connection, now: int, actor: str) -> object:
        return store.set_status(connection, event_id, to, version, now, reason, actor)

    return Change(consequences, perform)


def disclosure_change(event_id: str, form: FormData) -> Change:
    """What may be said from now on."""
    to = form.one_of(Disclosure, "disclosure")
    version, reason = form.version(), form.note("reason")

    def consequences(_connection: Connection, event: CompromiseEventView, format_: Format) -> list[str]:
        published = any(fact.kind == FactKind.PUBLISHED for fact in event.standing_facts)
        current = Disclosure(event.disclosure)
        disclose(current, to, published=published, reason=reason)
        before, after = (format_.t.named("disclosure", item.value) for item in (current, to))
        names = "confirm.names_shown" if to.may_name_entity else "confirm.names_hidden"
        return [format_.t("confirm.disclosure", before=before, after=after), format_.t(names, code=event.code_name)]

    def perform(connection: Connection, now: int, actor: str) -> object:
        return store.set_disclosure(connection, event_id, to, version, now, reason, actor)

    return Change(consequences, perform)


def amendment_change(event_id: str, form: FormData, known: KnownExposure) -> Change:
    """An amendment of what is known."""
    amendment: Amendment = read_amendment(form, known)
    version = form.version()

    def consequences(connection: Connection, _event: CompromiseEventView, format_: Format) -> list[str]:
        effect, watched = store.preview_amendment(connection, event_id, amendment)
        return amendment_words(effect, watched, format_)

    def perform(connection: Connection, now: int, actor: str) -> object:
        return store.amend_compromise_event(connection, event_id, amendment, version, now, actor)

    return Change(consequences, perform)


def amendment_words(effect: AmendmentEffect, watched: int, format_: Format) -> list[str]:
    """What an amendment would change, a sentence each."""
    t = format_.t
    lines = []
    for key, stretches in (("confirm.days_added", effect.days_added), ("confirm.days_removed", effect.days_removed)):
        if stretches:
            lines.append(t(key, days=_days(stretches)))
    if "window" in effect.changed and not (effect.days_added or effect.days_removed):
        lines.append(t("confirm.window_precision"))
    for key, names in (
        ("confirm.elements_added", effect.elements_added),
        ("confirm.elements_removed", effect.elements_removed),
    ):
        if names:
            lines.append(t(key, elements=element_words(names, format_)))
    if effect.tier_before != effect.tier_after:
        lines.append(t("confirm.tier", before=effect.tier_before, after=effect.tier_after))
    lines += [t(f"confirm.changed.{name}") for name in effect.changed if name not in {"window", "elements"}]
    lines.append(t.count("confirm.taken_up", watched) if effect.changes_matching else t("confirm.no_look_back"))
    return lines


def _days(stretches: Sequence[tuple[date, date]]) -> str:
    shown = [f"{first}" if first == last else f"{first} \u2013 {last}" for first, last in stretches]
    return ", ".join(shown)
