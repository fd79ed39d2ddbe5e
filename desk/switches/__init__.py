"""The switches of operation: what a person can stop, slow down, cut off or reschedule, and who has done so."""
