"""Looks at everything that a worker needs and says what is wrong and what to do. It changes nothing that lasts."""
