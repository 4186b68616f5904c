"""What stands in a cell: expiry months and dates, as people and machines write them."""

from __future__ import annotations

import re
from datetime import date

from fraud.alert_files.mapping import ExpiryForm

_EXPIRY = re.compile(
    r"(?P<month>[0-9]{1,2})/(?P<year>(?:20)?[0-9]{2})"  # MM/YY, MM/YYYY
    r"|(?P<month2>[0-9]{2})(?P<year2>[0-9]{2})"  # MMYY
    r"|(?P<month3>[0-9]{2})(?P<year3>20[0-9]{2})"  # MMYYYY; its month is never 20
    r"|(?P<year4>20[0-9]{2})[-/]?(?P<month4>[0-9]{1,2})"  # YYYY-MM, YYYY/MM, YYYYMM
)
_EXPIRY_YYMM = re.compile(r"(?P<year>[0-9]{2})[-/]?(?P<month>[0-9]{2})")
_DATE = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})|([0-9]{4})([0-9]{2})([0-9]{2})")
_TIME = re.compile(r"[0-9]{10,14}")


def read_expiry(text: str, form: ExpiryForm = ExpiryForm.AUTO) -> str | None:
    """`YYYY-MM` for an expiry in this form; empty for nothing; None when it is no month."""
    if not text:
        return ""
    if form is ExpiryForm.YYMM:
        match = _EXPIRY_YYMM.fullmatch(text)
        year, month = (match["year"], match["month"]) if match else ("", "0")
    else:
        match = _EXPIRY.fullmatch(text)
        if match is None:
            return None
        month = match["month"] or match["month2"] or match["month3"] or match["month4"]
        year = match["year"] or match["year2"] or match["year3"] or match["year4"]
        if match["month3"] and int(month) > 12:  # YYYYMM of 2010 to 2019 begins like MMYYYY
            year, month = text[:4], text[4:]
    return f"20{year[-2:]}-{int(month):02d}" if 1 <= int(month) <= 12 else None


def read_date(text: str) -> date | None:
    """The date of YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD; `ValueError` without its value when it is none."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    try:
        if match is not None:
            return date(*(int(part) for part in match.groups() if part is not None))
    except ValueError:
        pass
    raise ValueError


def read_milliseconds(text: str) -> int | None:
    """Epoch milliseconds; None when it is no such number."""
    return int(text) if _TIME.fullmatch(text) else None
