"""The benchmark: the product against the single transaction it replaces, measured in one run on one database."""
