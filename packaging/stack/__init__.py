"""Runs the whole product on one machine; `make run` and `make stop` call it."""
