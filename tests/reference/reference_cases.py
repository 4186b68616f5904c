"""Detections fold into cases: one open case a card lineage, in the order of the log.

Nobody reviews while the reference runs, so a card has one case for ever. A card's records are on one partition (the
contract's key says so), and therefore the log alone gives their order. Where the number of partitions has grown in
between, a card may have some on two: their order is the run's to choose, and its case is not compared.
"""

from __future__ import annotations

PRODUCT = "mimamori"


def cases_of(detections):
    """Detections in log order to (lineage to case, lineage to history, lineages on several partitions)."""
    cases, histories, partitions = {}, {}, {}
    for detection in detections:
        lineage = detection["card_ref"]
        partitions.setdefault(lineage, set()).add(detection["partition"])
        opens = lineage not in cases
        cases[lineage] = opened(detection) if opens else folded(cases[lineage], detection)
        kind = "OPENED" if opens else "DETECTION_ADDED"
        histories.setdefault(lineage, []).append((kind, detection["detected_at"], PRODUCT, detection["detection_id"]))
    return cases, histories, {lineage for lineage, found in partitions.items() if len(found) > 1}


def opened(detection):
    return {
        "card_lineage": detection["card_ref"],
        "status": "NEW",
        "kind": detection["kind"],
        "tier": detection["tier"],
        "compromise_event_ids": sorted(detection["compromise_event_ids"]),
        "priority": detection["expected_loss_minor"],
        "priority_reason": detection["priority_reason"],
        "headline": detection["reasons"][0],
        "detections": 1,
        "opened_at": detection["detected_at"],
        "due_at": detection["due_at"],
        **shown(detection),
    }


def folded(case, detection):
    """The case after one more detection."""
    case = dict(case)
    case["detections"] += 1
    case["tier"] = max(case["tier"], detection["tier"])
    case["due_at"] = min(case["due_at"], detection["due_at"])
    case["compromise_event_ids"] = sorted({*case["compromise_event_ids"], *detection["compromise_event_ids"]})
    if detection["kind"] == "EXPOSED":
        case["kind"] = "EXPOSED"
    if detection["expected_loss_minor"] > case["priority"]:
        case["priority"], case["priority_reason"] = detection["expected_loss_minor"], detection["priority_reason"]
        case["headline"] = detection["reasons"][0]
    if detection["detected_at"] >= case["last_detection_at"]:
        case |= shown(detection)
    return case


def shown(detection):
    """What a case shows of its latest transaction."""
    known = detection["transaction"]
    billed = "billing_" if "billing_amount_minor" in known else ""
    return {
        "card_ref": detection["card_ref"],
        "last_detection_at": detection["detected_at"],
        "last_amount_minor": known.get(f"{billed}amount_minor"),
        "currency": known.get(f"{billed}currency"),
        "merchant_name": known.get("merchant_name"),
        "merchant_country": known.get("merchant_country"),
        "pan_last4": known.get("pan_last4"),
    }
