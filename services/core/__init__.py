"""Desired state and the loop that makes it true. Knows no wire format, no Samba and no Proxmox."""
