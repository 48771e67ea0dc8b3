"""smbtorture against our shares."""
