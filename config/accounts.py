"""The desk's pages of accounts: who may come in, as what, and who could not.

Whatever changes an account or a role is in the operator log. Nobody deletes an account: a name in the log must never
come to mean somebody else.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextareaWidget

from config import lockout
from config.models import FailedSignIn
from config.second_factor import devices
from desk.operators import operator_of, origin_of
from outbox.desk import ReadOnlyAdmin, badge, clock
from sagas import operator_log

for model in (User, Group):
    admin.site.unregister(model)


class LoggedAdmin(ModelAdmin):  # type: ignore[misc]
    """A page whose changes the operator log keeps."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Nobody deletes what the log names."""
        return False

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Keep that it was made."""
        self._log("add", request, obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Keep that it was changed."""
        self._log("change", request, obj, message)
        return super().log_change(request, obj, message)

    def rights_of(self, obj: Any) -> dict[str, Any]:
        """Return what the account or role may do now."""
        raise NotImplementedError

    def _log(self, verb: str, request: HttpRequest, obj: Any, message: Any) -> None:
        name = self.opts.model_name
        changes = json.loads(message) if isinstance(message, str) else message
        operator_log.write(
            operator=operator_of(request),
            origin=origin_of(request),
            action=f"{verb} {name}",
            reason="",
            seen={"about": f"{name} {obj}", "changes": changes, "may_now": self.rights_of(obj)},
            result="done",
        )


class ReasonForm(forms.Form):
    """Why it is wanted."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="The operator log keeps it."
    )


@admin.register(User)
class UserAdmin(DjangoUserAdmin, LoggedAdmin):  # type: ignore[type-arg]
    """Operators and customers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    # Labels above the fields: the two-column choice of permissions does not fit beside one.
    compressed_fields = False
    list_display = ("username", "email", "is_staff", "is_active", "roles", "last_login")
    paginator = InfinitePaginator
    show_full_result_count = False
    actions_detail: ClassVar = ("reset_codes",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Read each account with its roles."""
        found: QuerySet[User] = super().get_queryset(request).prefetch_related("groups")
        return found

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        """What it may do."""
        return "everything" if user.is_superuser else ", ".join(group.name for group in user.groups.all()) or "-"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let only a superuser change one: whoever sets his password is him."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return bool(super().has_change_permission(request, obj))

    def has_reset_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Let whoever may change the account reset its codes."""
        return self.has_change_permission(request, self.get_object(request, str(object_id)))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        """Let only a superuser make one, or give what no role has."""
        fixed = ("last_login", "date_joined")
        return fixed if request.user.is_superuser else (*fixed, "is_superuser", "user_permissions")

    def rights_of(self, obj: Any) -> dict[str, Any]:
        """Return the doors that are open to the account, and its roles."""
        return {
            "is_active": obj.is_active,
            "is_staff": obj.is_staff,
            "is_superuser": obj.is_superuser,
            "roles": sorted(obj.groups.values_list("name", flat=True)),
            "permissions": sorted(obj.user_permissions.values_list("codename", flat=True)),
        }

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        """Offer to reset codes where there are any."""
        user = self.get_object(request, str(object_id))
        if user is None or not devices.has_codes(user):
            return []
        return super().get_actions_detail(request, object_id)  # type: ignore[no-any-return]

    @action(  # type: ignore[untyped-decorator]
        description="Reset one-time codes", permissions=["reset"], icon="phonelink_erase"
    )
    def reset_codes(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take away the codes of somebody who lost phone and recovery codes."""
        user = self.get_object(request, object_id)
        if user is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        form = ReasonForm(request.POST or None)
        page = reverse("admin:auth_user_change", args=[user.pk])
        if request.method == "POST" and form.is_valid():
            had = devices.reset(
                user=user, operator=operator_of(request), origin=origin_of(request), reason=form.cleaned_data["reason"]
            )
            say = messages.success if had else messages.info
            say(request, f"{user}: one-time codes are reset." if had else f"{user} has no one-time codes.")
            return HttpResponseRedirect(page)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Reset one-time codes: {user}",
            "opts": self.opts,
            "original": user,
            "form": form,
            "page": page,
            "is_required": settings.DESK_OTP == "required",
        }
        return TemplateResponse(request, "desk/second_factor/reset.html", context)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, LoggedAdmin):  # type: ignore[misc]
    """Roles of operators. `desk_roles` tells how they differ from those that the product brings."""

    compressed_fields = False

    def rights_of(self, obj: Any) -> dict[str, Any]:
        """Return the permissions of the role."""
        return {"permissions": sorted(obj.permissions.values_list("codename", flat=True))}


@admin.action(description="Unlock", permissions=["unlock"])
def unlock(_admin: Any, request: HttpRequest, queryset: QuerySet[FailedSignIn]) -> None:
    """Let the names that were chosen sign in again."""
    for name in queryset.order_by("username").values_list("username", flat=True).distinct():
        failures = lockout.unlock(
            username=name, operator=operator_of(request), origin=origin_of(request), reason="unlocked at the desk"
        )
        messages.success(request, f"{name}: {failures} failed sign-ins are forgotten.")


@admin.register(FailedSignIn)
class FailedSignInAdmin(ReadOnlyAdmin):
    """Names that were tried with wrong passwords, the last one on top; what is older than a lock-out does not count."""

    list_display = ("username", "state", "failures_since_start", "ip_address", "user_agent", "last_at")
    fields = (("username", "state"), ("failures_since_start", "last_at"), ("ip_address",), ("user_agent",))
    ordering = ("-attempt_time",)
    sortable_by = ()
    list_before_template = "desk/failed_sign_ins.html"
    actions: ClassVar = (unlock,)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Say above the list what it means."""
        limits = {"failures": settings.AXES_FAILURE_LIMIT, "minutes": lockout.minutes()}
        return super().changelist_view(request, {**(extra_context or {}), **limits})  # type: ignore[no-any-return]

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        """Tell whether this person may unlock."""
        return request.user.has_perm("composition.unlock_signin")

    @admin.display(description="state")
    def state(self, attempt: FailedSignIn) -> SafeString:
        """Whether the name waits at that address."""
        return badge("locked", "danger") if lockout.is_locked(attempt) else badge("counted")

    @admin.display(description="last try")
    def last_at(self, attempt: FailedSignIn) -> str:
        """When it was last tried."""
        return clock(attempt.attempt_time)
