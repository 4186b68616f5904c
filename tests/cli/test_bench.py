"""The benches: that they count right, throw everything away, and leave other people's databases alone."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from services_kafka import KafkaServer  # type: ignore[import-not-found]
from sqlalchemy import create_engine, inspect
from typer.testing import CliRunner

from fraud.cards import CardTokenizer
from fraud.cli import app
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.store.database import current_revision, downgrade, open_engine
from streams.bench import traffic as traffic_module
