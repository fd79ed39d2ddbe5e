"""A database engine whose commits are crash points. The settings choose it only when CRASH_POINTS is set."""
