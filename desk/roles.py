"""Who may do what at the desk: four roles, as groups, from one table.

A migration creates the groups that do not exist yet. After that they are an administrator's: what was given to a role
or taken from it by hand stays, and a release that brings a permission gives exactly that one (`grant`, in a migration).
`desk_roles` tells how the groups differ from the table, and makes them like it when it is told to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Concat

from sagas import operator_log

# Of these the desk has pages, and whoever may see one may see all: half a story misleads.
SEEN = (
    "analytics",
    "desk",
    "django_celery_beat",
    "inventory",
    "notifications",
    "orders",
    "outbox",
    "payments",
    "sagas",
    "shipping",
)
ACT = (
    "desk.run_bulk",
    "outbox.export_evidence",
    "sagas.abandon_case",
    "sagas.cancel_order",
    "sagas.claim_case",
    "sagas.compensate_saga",
    "sagas.edit_message",
    "sagas.note_case",
    "sagas.redeliver_message",
    "sagas.resolve_case",
    "sagas.retry_case",
    "sagas.skip_case",
)
APPROVE = ("sagas.approve_case",)
TAKE_ALONG = ("outbox.export_evidence", "sagas.export_log")
# Nobody deletes an account: the log's names must never come to mean somebody else.
ADMINISTER = (
    "auth.add_group",
    "auth.add_user",
    "auth.change_group",
    "auth.change_user",
    "auth.view_group",
    "auth.view_user",
    "composition.unlock_signin",
    "composition.view_failedsignin",
    "sagas.switch",
)

_FULL_NAME = Concat("content_type__app_label", Value("."), "codename")


@dataclass(frozen=True, slots=True)
class Role:
    """What a role is for, and what it may do besides seeing everything."""

    name: str
    purpose: str
    extra: tuple[str, ...] = ()


ROLES = (
    Role("viewer", "sees everything, changes nothing"),
    Role("operator", "works on cases, alone and in bulk", ACT),
    Role("approver", "decides on what others ask for, and takes the log along", (*APPROVE, *TAKE_ALONG)),
    Role("administrator", "all of it, accounts and switches", (*ACT, *APPROVE, *TAKE_ALONG, *ADMINISTER)),
)


@dataclass(frozen=True, slots=True)
class Drift:
    """How a group differs from its role in the table."""

    role: str
    is_absent: bool
    lacks: tuple[str, ...]
    has_too_many: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.is_absent or bool(self.lacks or self.has_too_many)


def expected(role: Role, *, using: str = "default") -> frozenset[str]:
    """Return the permissions of a role, as `app.codename`."""
    seen = Permission.objects.using(using).filter(content_type__app_label__in=SEEN, codename__startswith="view_")
    return frozenset({*_names(seen), *role.extra})


def unknown(*, using: str = "default") -> list[str]:
    """Return what the table names and nobody declares: a permission that was renamed, or a slip of the pen."""
    named = {name for role in ROLES for name in role.extra}
    return sorted(named - set(_names(_permissions(named, using))))


def drift(*, using: str = "default") -> list[Drift]:
    """Return, for each role in the order of the table, how its group differs."""
    return [_drift(role, using) for role in ROLES]


def install(*, using: str) -> list[str]:
    """Create the groups that do not exist yet, with all that the table gives them; return their names.

    For migrations. Groups that exist stay as they are.
    """
    _declare_permissions(using)
    created = []
    for role in ROLES:
        group, is_new = Group.objects.using(using).get_or_create(name=role.name)
        if is_new:
            group.permissions.set(_permissions(expected(role, using=using), using))
            created.append(role.name)
    return created


def grant(names: Iterable[str], *, using: str) -> None:
    """Give permissions that a release brings to the roles that have them in the table. For migrations."""
    _declare_permissions(using)
    wanted = frozenset(names)
    for role in ROLES:
        for group in Group.objects.using(using).filter(name=role.name):
            group.permissions.add(*_permissions(wanted & expected(role, using=using), using))


def apply(*, operator: str, origin: str, reason: str) -> list[Drift]:
    """Make the groups like the table; return how they differed. What was changed by hand is lost.

    The operator log keeps what was given and what was taken.
    """
    _declare_permissions("default")
    with transaction.atomic():
        differing = [each for each in drift() if each]
        for each in differing:
            group, _ = Group.objects.get_or_create(name=each.role)
            group.permissions.add(*_permissions(each.lacks, "default"))
            group.permissions.remove(*_permissions(each.has_too_many, "default"))
            operator_log.write(
                operator=operator,
                origin=origin,
                action="apply role",
                reason=reason,
                seen={"about": f"role {each.role}", "lacks": list(each.lacks), "has_too_many": list(each.has_too_many)},
                result="done",
            )
    return differing


def _drift(role: Role, using: str) -> Drift:
    group = Group.objects.using(using).filter(name=role.name).first()
    has = frozenset(_names(group.permissions.all())) if group else frozenset()
    wants = expected(role, using=using)
    return Drift(role.name, group is None, tuple(sorted(wants - has)), tuple(sorted(has - wants)))


def _declare_permissions(using: str) -> None:
    """Write the rows of all permissions now.

    Django writes them after the last migration of a run, which is too late for one that gives them to somebody.
    """
    for app in apps.get_app_configs():
        create_permissions(app, verbosity=0, interactive=False, using=using)


def _permissions(names: Iterable[str], using: str) -> QuerySet[Permission]:
    return Permission.objects.using(using).alias(full_name=_FULL_NAME).filter(full_name__in=list(names))


def _names(permissions: QuerySet[Permission]) -> Iterator[str]:
    yield from permissions.values_list(_FULL_NAME, flat=True).order_by()
