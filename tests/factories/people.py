"""People of the desk: whoever asks, and whoever may approve."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User

from sagas import services
from sagas.models import Approval


def colleague(name: str = "ada", *permissions: str, password: str | None = None) -> User:
    """Make a person of the desk with these permissions of sagas, all of them if none is named."""
    user = User.objects.create(username=name, is_staff=True, is_superuser=not permissions)
    if password is not None:
        user.set_password(password)
        user.save()
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="sagas", codename__in=permissions))
    return user


def approved_by(name: str = "ada") -> str:
    """Let a colleague approve what was asked for last; return what came of it."""
    if not User.objects.filter(username=name).exists():
        colleague(name)
    return services.approve(approval_id=Approval.objects.latest("pk").pk, operator=name)
