"""Draws a saga definition."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from outbox.commands import OperatorCommand
from sagas.graph import UnknownDefinitionName, mermaid, newest


class Command(OperatorCommand):
    """`saga_graph NAME`."""

    help = "Print a saga definition as a Mermaid flowchart."
    refusals = (UnknownDefinitionName,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", help="of the saga, such as order-fulfilment")

    def handle(self, *_args: Any, name: str, **_options: Any) -> None:
        """Print the drawing of the newest version."""
        definition = newest(name)
        drawing = mermaid(definition)
        self.show({"saga": name, "version": definition.version, "mermaid": drawing}, drawing)
