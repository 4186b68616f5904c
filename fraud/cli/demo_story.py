"""What the demonstration's story page shows: the notice's dates, where the story has got to, and three cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine

from fraud.cli.demo_event import COMPROMISE_EVENT_ID, record_until
from fraud.store.database import write
from fraud.store.operations import set_story
from fraud.store.story import matches_by_card, story_cases
from streams.simulator import Simulation
from streams.simulator.parameters import midnight_ms

TITLE = "A shop's payment page is skimmed. Cardholders hear of it 166 days after the shop. This is the time between."

# The notice's own dates (kind is for the picture).
DATES: tuple[tuple[str, str, str], ...] = (
    ("2022-07-28", "The script's supplier tells the shop. Monitoring starts, on suspicion.", "told"),
    ("2022-08-01", "The shop reports to the Personal Information Protection Commission.", "regulator"),
    ("2022-08-03", "The shop stops taking cards.", "contained"),
    ("2022-10-17", "The supplier's forensic report arrives.", "report"),
    ("2022-12-08", "The shop's own forensic report is done.", "report"),
    ("2022-12-09", "The police are told.", "police"),
    ("2023-01-10", "Publication: cardholders are told.", "published"),
)


def open_story(engine: Engine, simulation: Simulation) -> None:
    """Write what does not change while the story plays."""
    dates = simulation.parameters.dates
    window = {"starts_on": dates.window_first.isoformat(), "ends_on": dates.window_last.isoformat()}
    with write(engine) as connection:
        set_story(connection, "title", TITLE)
        set_story(connection, "dates", [{"on": on, "label": label, "kind": kind} for on, label, kind in DATES])
        set_story(connection, "window", window)
        set_story(connection, "compromise_event_id", COMPROMISE_EVENT_ID)
        set_story(connection, "today", dates.told.isoformat())
        set_story(connection, "cards", [])


def tell_day(
    engine: Engine, simulation: Simulation, today: date, progress: Mapping[str, int], frauds: Mapping[str, int]
) -> None:
    """Write where the story has got to. `frauds` maps a card to its fraudulent events so far."""
    now = midnight_ms(today)
    with write(engine) as connection:
        record_until(connection, today, now)
        set_story(connection, "today", today.isoformat())
        set_story(connection, "progress", dict(progress))
        set_story(connection, "cards", three_cards(connection, simulation, frauds))


def close_story(engine: Engine, scorecard: Mapping[str, Any], sentences: Sequence[str]) -> None:
    """Write the scorecard."""
    with write(engine) as connection:
        set_story(connection, "scorecard", dict(scorecard))
        set_story(connection, "scorecard_sentences", list(sentences))


def three_cards(connection: Connection, simulation: Simulation, frauds: Mapping[str, int]) -> list[dict[str, Any]]:
    """A defrauded exposed card caught, an innocent exposed card left alone, an unexposed anomaly; as far as known."""
    cases = story_cases(connection)
    found = []
    caught = next((item for item in cases if item.kind == "EXPOSED" and frauds.get(item.card_ref)), None)
    if caught:
        sentence = "An exposed card that a thief used, and that was caught."
        found.append(_card("caught", caught.card_ref, caught.case_id, sentence))
    alone = simulation.never_defrauded_exposed() - {item.card_ref for item in cases}
    innocent = next((card_ref for card_ref in matches_by_card(connection) if card_ref in alone), None)
    if innocent:
        sentence = "An exposed card whose holder went on spending: watched, and left alone."
        found.append(_card("innocent", innocent, None, sentence))
    anomaly = next((item for item in cases if item.kind == "ANOMALY" and frauds.get(item.card_ref)), None)
    if anomaly:
        sentence = "A card in no compromise event, noticed by its spending alone."
        found.append(_card("anomaly", anomaly.card_ref, anomaly.case_id, sentence))
    return found


def _card(role: str, card_ref: str, case_id: int | None, sentence: str) -> dict[str, Any]:
    return {"role": role, "card_ref": card_ref, "case_id": case_id, "sentence": sentence}
