"""The backends and what they share. A newcomer starts at `docs/ARCHITECTURE.md`."""
