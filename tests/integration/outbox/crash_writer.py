"""A process that writes a few numbers, each in a commit of its own, and may be made to die at one. Run by a test."""

from __future__ import annotations

import sys

import django


def main(table: str, numbers: int) -> None:
    """Write the numbers; print how many commits were answered."""
    django.setup()
    from django.db import OperationalError, connection, transaction

    answered = 0
    for number in range(numbers):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} VALUES (%s)", [number])
        except OperationalError:
            continue
        answered += 1
    print(answered)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
