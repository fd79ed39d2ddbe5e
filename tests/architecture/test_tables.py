"""No key crosses a wall: what a context knows of another one is a plain id."""

import pytest
from django.apps import apps
from django.db.models import Field, Model
from django.db.models.fields.related import RelatedField

from tests.architecture.rooms import ROOMS

MODELS = [model for model in apps.get_models(include_auto_created=True) if model.__module__.split(".")[0] in ROOMS]


def test_every_room_with_tables_is_looked_at() -> None:
    assert {model.__module__.split(".")[0] for model in MODELS} >= {
        "orders",
        "inventory",
        "payments",
        "outbox",
        "sagas",
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_key_crosses_a_wall(model: type[Model]) -> None:
    keys = [field for field in model._meta.get_fields() if isinstance(field, RelatedField)]

    assert [field.name for field in keys if field.related_model._meta.app_label != model._meta.app_label] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_times_are_named_as_such(model: type[Model]) -> None:
    fields = [field for field in model._meta.get_fields() if isinstance(field, Field)]
    times = [field.name for field in fields if field.get_internal_type() == "DateTimeField"]

    assert [name for name in times if not name.endswith(("_at", "time")) and name != "at"] == []
