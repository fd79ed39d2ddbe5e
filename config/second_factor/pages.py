"""The pages of one-time codes: give one, and set them up."""

from __future__ import annotations

from typing import Any

import django_otp
from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.widgets import UnfoldAdminTextInputWidget

from config.second_factor import devices
from config.second_factor.gate import owed

# One-time codes have six digits, recovery codes eight letters and digits; both are copied with spaces at times.
_LONGEST = 20


class CodeForm(forms.Form):
    """A code, as it was typed."""

    code = forms.CharField(
        max_length=_LONGEST,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false", "autocapitalize": "off"}
        ),
    )

    def clean_code(self) -> str:
        """Return it without the spaces."""
        return "".join(self.cleaned_data["code"].split())


def ask(request: HttpRequest) -> HttpResponse:
    """Ask for a code and let in whoever has it."""
    onward = _onward(request)
    if owed(request) != "second-factor":
        return HttpResponseRedirect(onward)
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            device = devices.verify(user=_person(request), code=form.cleaned_data["code"])
        except devices.WrongCode as refusal:
            form.add_error("code", str(refusal))
        else:
            _let_in(request, device)
            return HttpResponseRedirect(onward)
    return _page(request, "ask", title="One more thing: your code", form=form, onward=onward)


def set_up(request: HttpRequest) -> HttpResponse:
    """Show the secret to a phone, and take it into use with the first code that comes back."""
    onward = _onward(request)
    if owed(request) == "second-factor" or settings.DESK_OTP == "off":
        return HttpResponseRedirect(onward)
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            device, codes = devices.finish_setup(user=_person(request), code=form.cleaned_data["code"])
        except devices.WrongCode as refusal:
            form.add_error("code", str(refusal))
        else:
            _let_in(request, device)
            return _page(request, "recovery", title="Your recovery codes", codes=codes, onward=onward)
    device = devices.begin_setup(_person(request))
    return _page(
        request,
        "set_up",
        title="Set up one-time codes",
        form=form,
        onward=onward,
        picture=devices.picture_of(device),
        secret=devices.secret_of(device),
        had=devices.has_codes(_person(request)),
        left=devices.recovery_codes_left(_person(request)),
        is_required=settings.DESK_OTP == "required",
    )


def account_links(_request: HttpRequest) -> list[dict[str, Any]]:
    """Return what a person can do with the own account."""
    links = [{"title": "Change password", "link": reverse("admin:password_change")}]
    if settings.DESK_OTP != "off":
        links.append({"title": "One-time codes", "link": reverse("second-factor-setup")})
    return links


def _person(request: HttpRequest) -> Any:
    """Return whoever has given the password: these pages are open to nobody else."""
    return request.user


def _let_in(request: HttpRequest, device: Any) -> None:
    django_otp.login(request, device)
    # Whoever knew the session while it opened nothing does not know it now.
    request.session.cycle_key()


def _onward(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours else reverse("admin:index")


def _page(request: HttpRequest, name: str, **context: Any) -> HttpResponse:
    everything = {**admin.site.each_context(request), **context}
    return TemplateResponse(request, f"desk/second_factor/{name}.html", everything)
