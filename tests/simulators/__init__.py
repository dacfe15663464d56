"""Servers on loopback with a provider's wire format, which respond correctly or not, as a test scripts them."""
