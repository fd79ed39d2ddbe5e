"""Definitions that a later release brings, for tests of deploys."""
