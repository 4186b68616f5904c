"""Mimamori: what an issuer knows and decides. No Kafka and no learnt model lives in this package's pure core."""

__version__ = "0.1.0"
