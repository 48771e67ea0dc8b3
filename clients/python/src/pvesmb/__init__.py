"""Client of PVE SMB Gateway."""
