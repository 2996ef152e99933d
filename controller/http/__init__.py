"""The HTTP surface: metrics, probes, API. Loopback by default."""
