"""Settings: unknown keys are errors, secrets are never shown, and an error names the key and not its value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fraud.errors import ConfigurationError
from fraud.settings import load_settings, masked

KEY = "00112233445566778899aabbccddeeff"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIMAMORI_CONFIG", raising=False)


def test_variables_win_over_the_file_and_the_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mimamori.toml").write_text('[kafka]\npartitions = 6\ngroup_id = "from-file"\n', encoding="utf-8")
    monkeypatch.setenv("MIMAMORI_KAFKA__PARTITIONS", "12")
    settings = load_settings()
    assert settings.kafka.partitions == 12
    assert settings.kafka.group_id == "from-file"
    assert settings.kafka.transactions_topic == "card.transactions"


@pytest.mark.parametrize("name", ["MIMAMORI_KAFKAA__PARTITIONS", "MIMAMORI_KAFKA__PARTITIONSS"])
def test_an_unknown_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "3")
    with pytest.raises(ConfigurationError, match=r"(?i)kafkaa|partitionss"):
        load_settings()


def test_an_unknown_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mimamori.toml").write_text("colour = 'green'\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="colour"):
        load_settings()


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMAMORI_CONFIG", "nowhere.toml")
    with pytest.raises(ConfigurationError, match="MIMAMORI_CONFIG"):
        load_settings()


def test_there_is_no_default_secret() -> None:
    assert load_settings().cards.keys == {}


def test_a_weak_key_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMAMORI_CARDS__KEYS", '{"1": "c0ffee"}')
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "128 bits" in str(refused.value)
    assert "c0ffee" not in str(refused.value)


def test_the_active_key_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMAMORI_CARDS__KEYS", json.dumps({"1": KEY}))
    monkeypatch.setenv("MIMAMORI_CARDS__ACTIVE_KEY", "2")
    with pytest.raises(ConfigurationError, match="active_key"):
        load_settings()


def test_secrets_are_masked_wherever_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMAMORI_CARDS__KEYS", json.dumps({"1": KEY}))
    monkeypatch.setenv("MIMAMORI_KAFKA__SASL_PASSWORD", "hunter2-kafka")
    monkeypatch.setenv("MIMAMORI_DATABASE_URL", "postgresql+psycopg://desk:hunter2-db@db.example/mimamori")
    settings = load_settings()
    for text in (json.dumps(masked(settings)), repr(settings), str(settings)):
        assert KEY not in text
        assert "hunter2" not in text
    assert masked(settings)["database_url"] == "postgresql+psycopg://desk:***@db.example/mimamori"


@pytest.mark.parametrize("item", ["12", "4111x1", "411111-4111", "411111-41111a"])
def test_a_number_range_must_be_a_prefix_or_two(monkeypatch: pytest.MonkeyPatch, item: str) -> None:
    monkeypatch.setenv("MIMAMORI_PORTFOLIO__BIN_RANGES", json.dumps([item]))
    with pytest.raises(ConfigurationError, match="bin_ranges"):
        load_settings()
