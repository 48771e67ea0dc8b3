"""LXC mode: file servers in containers of a Proxmox VE node, made and kept through its API alone."""
