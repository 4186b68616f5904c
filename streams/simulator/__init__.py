"""A simulated portfolio of cards, and the story of one compromised shop: labelled transactions for everyone to try."""

from __future__ import annotations

from streams.simulator.events import FraudKind
from streams.simulator.parameters import SimulationParameters, StoryDates
from streams.simulator.simulation import Simulation, StoryCards, simulate

__all__ = ["FraudKind", "Simulation", "SimulationParameters", "StoryCards", "StoryDates", "simulate"]
