"""A reviewers' morning: two compromise events, exposed cards, ordinary spending, theft, anomalies, dead letters.

Everything goes through the store's own calls, as the worker and the people do it. The same seed gives the same data.
"""

from __future__ import annotations

import html
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine

from fraud.alert_files import ParsedAlertFile, ParsedCard
from fraud.api.app import create_app
from fraud.cases import FraudType, Outcome, ReasonCode, Resolution
from fraud.compromise import CompromisedEntity, CompromiseStatus, DataElements, EntityRole, ExposureWindow
from fraud.compromise_amendments import Amendment
from fraud.console.app import install_console
from fraud.pan_guard import PanGuard
from fraud.settings import ApiSettings, PortfolioSettings, Settings
from fraud.store.cases import CaseFilter, add_note, claim, list_cases, resolve
from fraud.store.compromise_changes import amend_compromise_event
from fraud.store.database import open_engine, read, upgrade, write
from fraud.store.effects import claim_position, commit_effects
from fraud.store.exposure import (
    NewCompromiseEvent,
    add_fact,
    create_compromise_event,
    get_compromise_event,
    import_exposed_cards,
    set_status,
)
from fraud.store.operations import ensure_reference_set, set_story
from fraud.store.people import create_user
from fraud.store.records import (
    Counters,
    DeadLetterRecord,
    DetectionRecord,
    ExposureMatchRecord,
    PartitionEffects,
    PartitionKey,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = int(datetime(2022, 9, 6, 5, 20, tzinfo=UTC).timestamp() * 1000)  # 14:20 in Tokyo
TOLD = int(datetime(2022, 7, 28, 1, 0, tzinfo=UTC).timestamp() * 1000)

REVIEWER, OTHER_REVIEWER, OPERATOR, AUDITOR, MANAGER = "aoi", "kenji", "ops", "audit", "mei"
PASSWORD = "correct horse battery staple"
PEOPLE = {
    REVIEWER: ("Aoi Tanaka", "reviewer"),
    OTHER_REVIEWER: ("Kenji Mori", "reviewer"),
    OPERATOR: ("Operations", "operator"),
    AUDITOR: ("Audit", "auditor"),
    MANAGER: ("Mei Kuroda", "event_manager"),
}

HANAMORI, RYOKAN = "ce-2022-07", "ce-2022-08"  # ids name no shop: everybody sees them
KEY = PartitionKey("mimamori", "7f0d6c1e-1f7b-4a53-9a5e-3a1f3c2b9d10", "card.transactions", 0)
HOSTILE_NAME = "<script>alert(1)</script> \u202egnp.exe"

_HOME = [
    ("まるやま商店 青葉台店", "5411", "card_present"),
    ("コンビニ・ミナト 渋谷三丁目", "5499", "card_present"),
    ("YAMABUKI DRUG", "5912", "card_present"),
    ("そらいろ書店オンライン", "5942", "ecommerce"),
    ("HIBIKI STREAMING", "5815", "ecommerce"),
    ("みどり電力", "4900", "ecommerce"),
    ("KAWASEMI RAILWAY", "4111", "card_present"),
    ("レストラン つばめ", "5812", "card_present"),
]
_ABROAD = [
    ("DIGICARD24 GIFT CODES", "5815", "NL", "digital_goods"),
    ("NORDWIND ELEKTRONIK", "5732", "DE", "electronics"),
    ("E-TICKET WORLD LTD", "7922", "GB", "tickets"),
    ("LUMEN HOTELS ONLINE", "7011", "SG", "lodging"),
    ("QUICKTOPUP*PREPAID", "6540", "CY", "electronic_money"),
    (HOSTILE_NAME, "5732", "US", "electronics"),
    ("A VERY LONG MERCHANT NAME THAT AN ACQUIRER SENT WITHOUT ANY REGARD FOR COLUMNS", "5816", "MT", "digital_goods"),
]


@dataclass(slots=True)
class Seeded:
    """What the tests look for."""

    caught: str = ""  # an exposed card with a case
    innocent: str = ""  # an exposed card that was left alone
    anomaly: str = ""  # a card in no event with a case
    unknown: str = "v1:" + "f" * 64
    cases: dict[str, int] = field(default_factory=dict)  # card reference to its open case


def words_of(page: str) -> str:
    """What a person reads of a page, in one line."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


class FixedClock:
    """It is always the same morning."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW / 1000, UTC)


def console_settings(folder: Path) -> Settings:
    return Settings(
        data_dir=folder,
        database_url=f"sqlite:///{folder}/store.db",  # type: ignore[arg-type]
        portfolio=PortfolioSettings(bin_ranges=("453201",)),
        api=ApiSettings(secure_cookies=False),
    )


def new_store(settings: Settings) -> Engine:
    engine = open_engine(settings.database_url.get_secret_value())
    upgrade(engine)
    return engine


def console_app(settings: Settings, engine: Engine) -> FastAPI:
    app = create_app(settings, engine, FixedClock(), PanGuard.from_settings(settings.portfolio))
    install_console(app)
    return app


def card_ref(number: int) -> str:
    return f"v1:{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:048x}"


def last4(number: int) -> str:
    return f"{(number * 7919 + 1234) % 10_000:04d}"


def seed_people(engine: Engine) -> None:
    with write(engine) as connection:
        for username, (display_name, role) in PEOPLE.items():
            create_user(connection, username, display_name, PASSWORD, role, NOW)


def seed_everything(engine: Engine) -> Seeded:
    """People, events, cards, a stream's effects and some decisions."""
    seed_people(engine)
    seed_exposure(engine)
    seeded = _Stream(engine).run()
    _decide(engine, seeded)
    return seeded


def seed_exposure(engine: Engine) -> None:
    with write(engine) as connection:
        create_compromise_event(
            connection,
            NewCompromiseEvent(
                compromise_event_id=HANAMORI,
                name="Hanamori Cosme Online",
                source="MERCHANT_NOTICE",
                window=ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo"),
                data_elements=DataElements(pan=True, expiry=True, cvv2=True),
                vector="Script of an outside supplier on the payment page",
                entities=(
                    CompromisedEntity("Hanamori Cosme Online", EntityRole.MERCHANT, "0123", "M-7001"),
                    CompromisedEntity("Kazami Scripts", EntityRole.SUPPLIER),
                ),
                code_name="Amber Heron",
                suspected_at=TOLD,
            ),
            TOLD,
            MANAGER,
        )
        create_compromise_event(
            connection,
            NewCompromiseEvent(
                compromise_event_id=RYOKAN,
                name="Kitano Ryokan bookings",
                source="ACQUIRER",
                window=ExposureWindow(date(2022, 8, 1), date(2022, 8, 20), "Asia/Tokyo"),
                data_elements=DataElements(pan=True, expiry=True),
                code_name="Cedar Plover",
            ),
            NOW - 6 * DAY,
            MANAGER,
        )
        for on, kind, note in (
            ("2022-07-28", "FIRST_WORD", "The script's supplier told the shop; the shop cut the integration"),
            ("2022-08-01", "REGULATOR_TOLD", "Report to the Personal Information Protection Commission"),
            ("2022-08-03", "PAYMENTS_STOPPED", "The shop takes no cards"),
        ):
            add_fact(connection, HANAMORI, kind, date.fromisoformat(on), note, NOW, actor=MANAGER)
        version = get_compromise_event(connection, HANAMORI).version
        set_status(connection, HANAMORI, CompromiseStatus.INVESTIGATING, version, NOW, actor=MANAGER)
        amend_compromise_event(
            connection,
            RYOKAN,
            Amendment(
                "The acquirer names two days more",
                window=ExposureWindow(date(2022, 7, 30), date(2022, 8, 20), "Asia/Tokyo"),
            ),
            1,
            NOW - 2 * DAY,
            MANAGER,
        )
        import_exposed_cards(connection, HANAMORI, "notice.csv", _file("a", range(1, 61)), "kim", TOLD)
        import_exposed_cards(connection, RYOKAN, "acquirer.csv", _file("b", range(50, 75)), "kim", NOW - 6 * DAY)


def _file(digest: str, numbers: range) -> ParsedAlertFile:
    cards = [ParsedCard(card_ref(n), last4(n), "453201", f"20{24 + n % 4}-{1 + n % 12:02d}") for n in numbers]
    return ParsedAlertFile(digest * 64, len(cards), cards, [], 0, 0)


class _Stream:
    """The effects of one partition, put together and committed as a worker does it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.random = random.Random(2022)  # noqa: S311
        self.offset = 0
        self.detections: list[DetectionRecord] = []
        self.matches: list[ExposureMatchRecord] = []
        self.seeded = Seeded()

    def run(self) -> Seeded:
        for number in range(1, 75):
            ordinary = self._ordinary(number)
            if number in _STOLEN:
                self._theft(number, ordinary)
        for number in range(200, 212):
            self._anomaly(number)
        self.seeded.caught = card_ref(min(_STOLEN))
        self.seeded.innocent = card_ref(2)
        self.seeded.anomaly = card_ref(200)
        self._commit()
        return self.seeded

    def transaction(self, number: int, at: int, amount: int, **fields: Any) -> dict[str, Any]:
        self.offset += 1
        return {
            "event_id": f"evt-{self.offset:06d}",
            "event_type": "authorization",
            "occurred_at": at,
            "card_ref": card_ref(number),
            "pan_last4": last4(number),
            "amount_minor": amount,
            "currency": "JPY",
            "billing_amount_minor": amount,
            "billing_currency": "JPY",
            "approved": True,
            **fields,
        }

    def _purchase_at_home(self, number: int, at: int) -> dict[str, Any]:
        name, mcc, channel = self.random.choice(_HOME)
        amount = int(self.random.lognormvariate(7.9, 0.8))
        fields: dict[str, Any] = {"merchant_name": name, "mcc": mcc, "merchant_country": "JP", "channel": channel}
        if channel == "ecommerce":
            fields |= {"three_ds": self.random.choice(["frictionless", "challenge_passed"]), "cvv2_result": "match"}
        return self.transaction(number, at, amount, **fields)

    def _purchase_abroad(self, number: int, at: int, amount: int, **fields: Any) -> tuple[dict[str, Any], str]:
        name, mcc, country, group = _ABROAD[(number + self.offset) % len(_ABROAD)]
        defaults = {"channel": "ecommerce", "three_ds": "none", "cvv2_result": "match"}
        merchant = {"merchant_name": name, "mcc": mcc, "merchant_country": country}
        return self.transaction(number, at, amount, **(defaults | merchant | fields)), group

    def _ordinary(self, number: int) -> list[dict[str, Any]]:
        times = sorted(self.random.randint(TOLD, NOW - DAY) for _ in range(self.random.randint(2, 16)))
        bought = [self._purchase_at_home(number, at) for at in times]
        for transaction in bought:
            self._match(number, transaction, self.random.uniform(0.0, 0.05), None)
        return bought

    def _match(self, number: int, transaction: dict[str, Any], probability: float, detection_id: str | None) -> None:
        for event, cards, tier, closed in (
            (HANAMORI, range(1, 61), 3, datetime(2022, 7, 26, 15, tzinfo=UTC)),
            (RYOKAN, range(50, 75), 2, datetime(2022, 8, 20, 15, tzinfo=UTC)),
        ):
            days = (transaction["occurred_at"] - int(closed.timestamp() * 1000)) // DAY
            if number not in cards or days < 0:
                continue
            self.matches.append(
                ExposureMatchRecord(
                    event_id=transaction["event_id"],
                    compromise_event_id=event,
                    card_ref=card_ref(number),
                    kind="AFTER_WINDOW",
                    tier=tier,
                    days_since_window=days,
                    occurred_at=transaction["occurred_at"],
                    transaction=transaction,
                    probability=round(probability, 4),
                    anomaly=round(self.random.uniform(0.1, 0.6), 4),
                    detection_id=detection_id,
                    offset=self.offset,
                )
            )

    def _theft(self, number: int, ordinary: list[dict[str, Any]]) -> None:
        start = NOW - int(_STOLEN[number] * HOUR)
        recent = list(ordinary)
        for step, amount in enumerate((110, 1)):
            at = start + step * 3 * MINUTE
            tried, _ = self._purchase_abroad(
                number, at, amount, approved=step == 0, cvv2_result=("match", "mismatch")[step]
            )
            self._detect(number, tried, recent, "CARD_TESTING", 0.55 + step / 10, group=None)
            recent.append(tried)
        spent, group = self._purchase_abroad(number, start + 41 * MINUTE, 20_000 + number * 2_750)
        self._detect(number, spent, recent, "TEST_THEN_SPEND", 0.93, group=group)

    def _anomaly(self, number: int) -> None:
        at = NOW - (number - 199) * 2 * HOUR - 7 * MINUTE
        recent = [self._purchase_at_home(number, at - days * DAY // 2) for days in range(14, 0, -1)]
        strange, group = self._purchase_abroad(number, at, 8_000 + (number % 7) * 9_400, three_ds="frictionless")
        self._detect(number, strange, recent, "ANOMALY_HIGH", None, group=group)

    def _detect(
        self,
        number: int,
        transaction: dict[str, Any],
        recent: list[dict[str, Any]],
        code: str,
        probability: float | None,
        *,
        group: str | None,
    ) -> None:
        events = tuple(event for event, cards in ((HANAMORI, range(1, 61)), (RYOKAN, range(50, 75))) if number in cards)
        tier = {(HANAMORI,): 3, (RYOKAN,): 2, (HANAMORI, RYOKAN): 3}.get(events, 0)
        at, amount = transaction["occurred_at"], transaction["amount_minor"]
        loss = round((probability or 0.18) * (amount + 50_000))
        reasons: list[dict[str, Any]] = [{"code": code, "facts": _FACTS.get(code, {})}]
        if tier:
            days = (at - int(datetime(2022, 7, 26, 15, tzinfo=UTC).timestamp() * 1000)) // DAY
            reasons.append({"code": "EXPOSED_CARD", "facts": {"tier": tier, "days_since_window": days}})
        if amount > 1_000:
            reasons.append({"code": "AMOUNT_UNUSUAL", "facts": {"amount_to_mean": round(amount / 3_200, 2)}})
        reasons += [
            {"code": "FOREIGN_ECOMMERCE", "facts": {"country": transaction["merchant_country"]}},
            {"code": "NO_CHALLENGE", "facts": {"three_ds": transaction["three_ds"]}},
            {"code": "NEW_MERCHANT", "facts": {}},
        ]
        if group:
            reasons.append({"code": "HIGH_RISK_GOODS", "facts": {"mcc_group": group}})
        usual = {"code": "USUAL_AMOUNT", "facts": {"amount_to_mean": 1.1}}
        detection_id = f"{self.offset:032x}"
        self._match(number, transaction, probability or 0.1, detection_id)
        self.detections.append(
            DetectionRecord(
                detection_id=detection_id,
                event_id=transaction["event_id"],
                origin="LIVE",
                card_ref=card_ref(number),
                card_lineage=card_ref(number),
                kind="EXPOSED" if tier else "ANOMALY",
                tier=tier,
                compromise_event_ids=events,
                occurred_at=at,
                detected_at=at,
                probability=probability,
                anomaly=0.97,
                expected_loss_minor=loss,
                priority_reason=f"{probability or 0.18:.0%} of ¥{amount + 50_000:,} at risk (¥{amount:,} now, "
                "¥50,000 a stolen number usually costs after)",
                reasons=reasons,
                counter_evidence=[usual] if number % 3 == 0 and amount < 1_000 else [],
                transaction=transaction,
                recent_events=[_remembered(event) for event in recent[-20:]],
                features=b"\x00\x00\x80\x3f" * 4,
                features_digest=f"{self.offset:016x}",
                model_digest="a" * 64,
                offset=self.offset,
                due_at=at + 24 * HOUR,
            )
        )

    def _commit(self) -> None:
        with write(self.engine) as connection:
            reference_set_id = ensure_reference_set(connection, 2, "a" * 64, "b" * 64, 1, {}, NOW)
            position = claim_position(connection, KEY, "worker-1", NOW)
            letters = tuple(_dead_letter(self.offset + 1 + n) for n in range(7))
            fenced = commit_effects(
                connection,
                [
                    PartitionEffects(
                        key=KEY,
                        expected_offset=position.next_offset,
                        next_offset=self.offset + 8,
                        owner_epoch=position.owner_epoch,
                        reference_set_id=reference_set_id,
                        counters=Counters(
                            processed=self.offset + 1,
                            quarantined=1,
                            dead_lettered=6,
                            matched=len(self.matches),
                            detected=len(self.detections),
                        ),
                        reached_at=NOW,
                        dead_letters=letters,
                        matches=tuple(self.matches),
                        detections=tuple(self.detections),
                        committed_at=NOW,
                    )
                ],
            )
        assert fenced == []


# Card number to the hours ago at which the theft began.
_STOLEN = {
    7: 30.0,
    11: 22.5,
    13: 3.1,
    18: 47.0,
    23: 9.4,
    29: 1.6,
    31: 0.9,
    38: 26.0,
    44: 13.8,
    52: 5.2,
    57: 20.7,
    66: 8.3,
}
_FACTS: dict[str, dict[str, Any]] = {
    "CARD_TESTING": {"small_24h": 2.0, "declines_24h": 1.0},
    "TEST_THEN_SPEND": {"small_24h": 2.0, "amount_to_mean": 14.6},
    "ANOMALY_HIGH": {"anomaly": 0.9731},
}


def _remembered(event: dict[str, Any]) -> dict[str, Any]:
    """An event as the worker's state remembers it: without names and ids."""
    return {
        "occurred_at": event["occurred_at"],
        "amount_minor": event["amount_minor"],
        "mcc_group": "grocery" if event["channel"] == "card_present" else "other",
        "country": event["merchant_country"],
        "channel": event["channel"],
        "approved": event["approved"],
    }


def _dead_letter(offset: int) -> DeadLetterRecord:
    error, path = [("MISSING_FIELD", "card_ref"), ("KEY_MISMATCH", None), ("NOT_JSON", None)][offset % 3]
    quarantined = offset % 7 == 0
    return DeadLetterRecord(
        offset=offset,
        error_class="EVENT_ID_REUSED" if quarantined else error,
        field_path="event_id" if quarantined else path,
        payload_digest=f"{offset * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4,
        payload_bytes=400 + offset,
        card_ref=None,
        on_exposed_card=offset % 5 == 0,
        kind="QUARANTINED" if quarantined else "DEAD_LETTER",
    )


def _decide(engine: Engine, seeded: Seeded) -> None:
    """Some cases are claimed, noted, resolved."""
    with read(engine) as connection:
        page = list_cases(connection, CaseFilter(), "priority", True, None, 200)
    by_card = {case.card_ref: case for case in page.items}
    seeded.cases = {reference: case.case_id for reference, case in by_card.items()}
    fraud = Resolution(Outcome.CONFIRMED_FRAUD, ReasonCode.HOLDER_DENIED, FraudType.CARD_NOT_PRESENT)
    genuine = Resolution(Outcome.GENUINE, ReasonCode.HOLDER_CONFIRMED)
    plan: list[tuple[int, str, Resolution | None]] = [
        (18, REVIEWER, fraud),
        (38, OTHER_REVIEWER, fraud),
        (210, REVIEWER, genuine),
        (211, OTHER_REVIEWER, Resolution(Outcome.UNDETERMINED, ReasonCode.HOLDER_NOT_REACHED)),
        (23, OTHER_REVIEWER, None),
        (44, REVIEWER, None),
        (205, OTHER_REVIEWER, None),
    ]
    with write(engine) as connection:
        for number, who, resolution in plan:
            case = by_card[card_ref(number)]
            held = claim(connection, case.case_id, who, case.version, NOW - HOUR)
            add_note(connection, case.case_id, who, "Holder called back: does not know this merchant.", NOW - HOUR // 2)
            if resolution:
                resolve(connection, case.case_id, who, held.version, resolution, NOW - HOUR // 4, 30)


def seed_story(engine: Engine, seeded: Seeded, *, ended: bool = False) -> None:
    """The demonstration's story, on the seeded cards."""
    dates = [
        ("2022-07-28", "The script's supplier tells the shop. Monitoring starts, on suspicion.", "told"),
        ("2022-08-01", "The shop reports to the Personal Information Protection Commission.", "regulator"),
        ("2022-08-03", "The shop stops taking cards.", "contained"),
        ("2022-10-17", "The supplier's forensic report arrives.", "report"),
        ("2022-12-08", "The shop's own forensic report is done.", "report"),
        ("2022-12-09", "The police are told.", "police"),
        ("2023-01-10", "Publication: cardholders are told.", "published"),
    ]
    cards = [
        (
            "caught",
            seeded.caught,
            seeded.cases[seeded.caught],
            "An exposed card that a thief used, and that was caught.",
        ),
        ("innocent", seeded.innocent, None, "An exposed card whose holder went on spending: watched, and left alone."),
        (
            "anomaly",
            seeded.anomaly,
            seeded.cases[seeded.anomaly],
            "A card in no compromise event, noticed by its spending.",
        ),
    ]
    values: dict[str, Any] = {
        "title": "A shop's payment page is skimmed. 166 days pass before anyone is told. "
        "Here is what an issuer can do meanwhile.",
        "dates": [{"on": on, "label": label, "kind": kind} for on, label, kind in dates],
        "window": {"starts_on": "2022-07-19", "ends_on": "2022-07-26"},
        "today": "2022-09-06",
        "compromise_event_id": HANAMORI,
        "progress": {"day": 41, "days": 60, "transactions": 184_213, "detections": 48, "cases": 24},
        "cards": [
            {"role": role, "card_ref": reference, "case_id": case_id, "sentence": sentence}
            for role, reference, case_id, sentence in cards
        ],
    }
    if ended:
        values["scorecard"] = {"caught": 41, "defrauded": 46}
        values["scorecard_sentences"] = [
            "41 of the 46 exposed cards that thieves used were caught, half of them before the second purchase.",
            "2,131 exposed cards whose holders went on spending were left alone.",
        ]
    with write(engine) as connection:
        for key, value in values.items():
            set_story(connection, key, value)
