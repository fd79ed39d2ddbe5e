"""What is kept of a person's one-time codes: the secret that a phone shares, and recovery codes for when it is lost.

django-otp holds the tables, accepts no code twice, and makes whoever guesses wait longer after each wrong one.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import qrcode
import qrcode.image.svg
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from sagas import operator_log

# On a sheet of paper; each counts once.
RECOVERY_CODES = 10


class WrongCode(ValueError):
    """The code is not the one; the text says what to do."""


def has_codes(user: Any) -> bool:
    """Tell whether this person has set up one-time codes."""
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


def begin_setup(user: User) -> TOTPDevice:
    """Return the secret that is to be confirmed; the same one until it is."""
    device, _ = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "phone"})
    return device


def picture_of(device: TOTPDevice) -> str:
    """Return the QR code of the secret as a data URI: it is drawn here, so the secret goes nowhere."""
    image = qrcode.make(device.config_url, image_factory=qrcode.image.svg.SvgPathFillImage, border=2)
    drawn = io.BytesIO()
    image.save(drawn)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"


def secret_of(device: TOTPDevice) -> str:
    """Return the secret in groups, for typing into a phone without a camera."""
    text = base64.b32encode(device.bin_key).decode().rstrip("=")
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def finish_setup(*, user: User, code: str) -> tuple[TOTPDevice, list[str]]:
    """Take the secret into use once a code proves that the phone has it; return it and fresh recovery codes.

    What the person had before counts no longer. Raises `WrongCode`.
    """
    device = _verified(TOTPDevice, user, code, confirmed=False)
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
        StaticDevice.objects.filter(user=user).delete()
        TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
        paper = StaticDevice.objects.create(user=user, name="recovery codes")
        StaticToken.objects.bulk_create(StaticToken(device=paper, token=each) for each in codes)
    device.confirmed = True
    return device, codes


def verify(*, user: User, code: str) -> TOTPDevice | StaticDevice:
    """Return the device that gave this code, or whose recovery code it is. Raises `WrongCode`."""
    kind = TOTPDevice if code.isdecimal() else StaticDevice
    return _verified(kind, user, code.lower(), confirmed=True)


def recovery_codes_left(user: Any) -> int:
    """Return how many recovery codes have not been used."""
    return int(StaticToken.objects.filter(device__user_id=user.pk).count())


def reset(*, user: User, operator: str, origin: str, reason: str) -> bool:
    """Take away a person's one-time codes, who lost the phone and the paper; tell whether there were any.

    Sessions that a code opened need a new one. The operator log keeps it.
    """
    with transaction.atomic():
        had = has_codes(user)
        TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
        if had:
            operator_log.write(
                operator=operator,
                origin=origin,
                action="reset one-time codes",
                reason=reason,
                seen={"about": f"user {user.get_username()}"},
                result="done",
            )
    return had


def _verified(kind: type[Any], user: User, code: str, *, confirmed: bool) -> Any:
    """Return the person's device of a kind that takes this code. Raises `WrongCode`."""
    refusal = "This is not the code of now. Look at the clock of the phone: it must be right to the minute."
    with transaction.atomic():
        # Locked, so that of two who give the same code one comes in.
        device = kind.objects.select_for_update().filter(user=user, confirmed=confirmed).first()
        if device is None:
            refusal = "There is no such code: set up one-time codes first."
        elif not (allowed := device.verify_is_allowed())[0]:
            wait = (allowed[1]["locked_until"] - timezone.now()).total_seconds()
            refusal = f"Too many wrong codes: wait {int(wait) + 1} seconds and try again."
        elif device.verify_token(code):
            return device
    # Outside, for the failure has to be counted.
    raise WrongCode(refusal)
