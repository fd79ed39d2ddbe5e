"""The database engine that the settings name: Django's for PostgreSQL, with an end to every wait."""
