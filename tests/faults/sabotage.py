"""Errors that the server raises by itself when it is in trouble, raised at a chosen place: a trigger says them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.messaging import execute

DEADLOCK, SERIALIZATION = "40P01", "40001"
# Disk full, out of memory, write error.
TROUBLE = {"disk full": "53100", "out of memory": "53200", "input/output error": "58030"}
FOREVER = 1_000_000


@contextmanager
def failing_writes(table: str, *, state: str, times: int = FOREVER) -> Iterator[None]:
    """Let that many statements that write to the table fail with this SQLSTATE, those that roll back included."""
    execute("CREATE SEQUENCE sabotage")
    execute(
        f"""
        CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('sabotage') <= {times} THEN
                RAISE EXCEPTION 'could not extend file: trouble' USING ERRCODE = '{state}';
            END IF;
            RETURN NULL;
        END $$
        """
    )
    execute(f"CREATE TRIGGER sabotage AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION sabotage()")
    try:
        yield
    finally:
        execute(f"DROP TRIGGER sabotage ON {table}")
        execute("DROP FUNCTION sabotage")
        execute("DROP SEQUENCE sabotage")


def writes_tried() -> int:
    """Return how many statements have come to the sabotaged table."""
    [(tried,)] = execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM sabotage")
    return int(tried)
