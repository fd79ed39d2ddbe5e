"""One order's whole story on one page: what every room knows of it, in one order of time, and as evidence."""
