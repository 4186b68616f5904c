"""Lets the tests of this folder import its helper modules; the helpers' names are unique in the whole test tree."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
