"""Requests that no honest client would send, made from the descriptors."""
