"""Drivers of guests: what makes, starts and stops them on this machine."""
