"""Models that other servers hold, behind the same queue and the same events as those of here."""
