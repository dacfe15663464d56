"""Servers on loopback that speak a provider's wire format, well or badly, as a test tells them to."""
