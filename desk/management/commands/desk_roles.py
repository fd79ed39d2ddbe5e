"""Tells how the roles of the desk differ from the table, and makes them like it when told to."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from desk import roles
from outbox.commands import OperatorCommand, Table, found, operator_name, origin_name
from sagas.commands import add_reason


class Command(OperatorCommand):
    """`desk_roles [--apply --reason R]`."""

    help = "Compare the roles of the desk with the table; exit 1 where they differ."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="make them like the table; changes by hand are lost")
        add_reason(parser, is_required=False)

    def handle(self, *_args: Any, apply: bool, reason: str, **_options: Any) -> None:
        """Compare, or apply and say what that changed."""
        if apply:
            roles.apply(operator=operator_name(), origin=origin_name(), reason=reason or "by the table")
        unknown = roles.unknown()
        drift = roles.drift()
        rows = [(role.name, role.purpose, _difference(each)) for role, each in zip(roles.ROLES, drift, strict=True)]
        value = {
            "roles": [
                {
                    "role": each.role,
                    "absent": each.is_absent,
                    "lacks": each.lacks,
                    "has_too_many": each.has_too_many,
                }
                for each in drift
            ],
            "unknown": unknown,
        }
        self.show(value, Table(("role", "for whoever", "differs from the table"), rows))
        if unknown:
            raise found(f"the table names permissions that nobody declares: {', '.join(unknown)}")
        if any(drift):
            raise found("roles differ from the table; desk_roles --apply makes them like it")


def _difference(drift: roles.Drift) -> str:
    if drift.is_absent:
        return "there is no such group"
    parts = [f"+{name}" for name in drift.has_too_many] + [f"-{name}" for name in drift.lacks]
    return " ".join(parts) or "no"
