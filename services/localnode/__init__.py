"""A stand-in for one Proxmox VE node, for machines without Proxmox: the API calls that our services make, on loopback.

It is for development and tests, not for production: it says so at start. Its answers follow records of a real node.
"""
