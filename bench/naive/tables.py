"""The naive shop's tables, and a connection for each thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

SCHEMA = """
CREATE TABLE stock (sku text PRIMARY KEY, price bigint NOT NULL, loaded bigint NOT NULL,
    on_hand bigint NOT NULL CHECK (on_hand >= 0));
CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), key text NOT NULL UNIQUE, amount bigint NOT NULL,
    status text NOT NULL DEFAULT 'PENDING', reason text NOT NULL DEFAULT '',
    placed_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE lines (order_id uuid REFERENCES orders, sku text REFERENCES stock, quantity int NOT NULL,
    reserved boolean NOT NULL DEFAULT false, PRIMARY KEY (order_id, sku));
CREATE TABLE payments (key text PRIMARY KEY, order_id uuid REFERENCES orders, amount bigint NOT NULL,
    status text NOT NULL DEFAULT 'charged');
CREATE TABLE shipments (order_id uuid PRIMARY KEY REFERENCES orders, status text NOT NULL DEFAULT 'created');
"""
_local = threading.local()


@contextmanager
def transaction() -> Iterator[psycopg.Connection[Any]]:
    """Run the block in a transaction, on this thread's connection or a new one if that has broken."""
    connection: psycopg.Connection[Any] | None = getattr(_local, "connection", None)
    if connection is None or connection.closed or connection.broken:
        connection = psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3)
        _local.connection = connection
    with connection.transaction():
        yield connection


def prepare(*, database_url: str, stock: Mapping[str, int], prices: Mapping[str, int]) -> None:
    """Make the tables and fill the shelves."""
    with psycopg.connect(database_url) as connection:
        connection.execute(SCHEMA)
        for sku, pieces in stock.items():
            connection.execute("INSERT INTO stock VALUES (%s, %s, %s, %s)", [sku, prices[sku], pieces, pieces])
