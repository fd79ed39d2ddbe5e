"""Make the people of the desk in a shop's database, each with a role.

Usage: PEOPLE='{"ada": "operator"}' PASSWORD=… python -m tests.browser.people
A role is the name of a group that the migrations have made; an empty one is a person who may only log in.
"""

from __future__ import annotations

import json
import os

import django


def main() -> None:
    """Make everybody who is missing, with this password and this role alone."""
    django.setup()
    # Models can be imported only once Django is set up.
    from django.contrib.auth.models import Group, User

    for name, role in json.loads(os.environ["PEOPLE"]).items():
        person, _ = User.objects.get_or_create(username=name)
        person.is_staff = True
        person.set_password(os.environ["PASSWORD"])
        person.save()
        person.groups.set([Group.objects.get(name=role)] if role else [])


if __name__ == "__main__":
    main()
