"""`load_catalogue` loads a file as a whole, tells of what changed, and writes nothing when it refuses."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

from inventory.contracts import ProductListed
from inventory.handlers import reserve_inventory
from inventory.models import Product, Stock
from outbox.contracts import decode
from outbox.models import Delivery, Message
from tests.factories.envelopes import envelope
from tests.factories.inventory import levels, reserve

pytestmark = pytest.mark.django_db

Load = Callable[..., str]

HEADER = "sku,name,price,currency,stock"
MUG = "MUG,Mug,12.50,EUR,10"
PEN = "PEN,Pen,120,JPY,5"


@pytest.fixture
def load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Load:
    """Load these rows without waiting and return what the command printed."""

    def load(*rows: str, **options: Any) -> str:
        path = tmp_path / "catalogue.csv"
        path.write_text("\n".join((HEADER, *rows)), encoding="utf-8")
        call_command("load_catalogue", str(path), **{"no_wait": True, **options})
        return capsys.readouterr().out

    return load


def told() -> list[ProductListed]:
    messages = Message.objects.filter(type="product.listed").order_by("sequence")
    return [decode(ProductListed, json.dumps(message.payload)) for message in messages]


def rows() -> list[object]:
    return [*Product.objects.values_list(), *Stock.objects.order_by("pk").values_list()]


def test_products_stock_and_messages_are_written(load: Load) -> None:
    printed = load(MUG, PEN)

    assert printed == "products: 2, new or changed: 2, restocked: 2\n"
    assert list(Product.objects.values_list("sku", "name", "price", "currency")) == [
        ("MUG", "Mug", 1250, "EUR"),
        ("PEN", "Pen", 120, "JPY"),
    ]
    assert (levels("MUG"), levels("PEN")) == ((10, 0), (5, 0))
    assert told() == [
        ProductListed(sku="MUG", name="Mug", price=1250, currency="EUR"),
        ProductListed(sku="PEN", name="Pen", price=120, currency="JPY"),
    ]


def test_the_result_can_be_had_as_json(load: Load) -> None:
    printed = load(MUG, PEN, json=True)

    assert json.loads(printed) == {"products": 2, "listed": 2, "restocked": 2}


def test_a_second_load_changes_and_tells_what_differs_only(load: Load) -> None:
    load(MUG, PEN)

    printed = load("MUG,Mug,13.00,EUR,10", PEN)

    assert printed == "products: 2, new or changed: 1, restocked: 0\n"
    assert told()[2:] == [ProductListed(sku="MUG", name="Mug", price=1300, currency="EUR")]


def test_messages_of_one_product_keep_their_order_and_of_two_do_not_wait_for_each_other(load: Load) -> None:
    load(MUG, PEN)

    load("MUG,Mug,13.00,EUR,10")

    keys = list(Message.objects.filter(type="product.listed").order_by("sequence").values_list("ordering_key"))
    assert keys[0] == keys[2] != keys[1]


def test_a_product_that_the_file_does_not_name_stays(load: Load) -> None:
    load(MUG, PEN)

    load(PEN)

    assert levels("MUG") == (10, 0)


@pytest.mark.parametrize(("stock", "on_hand"), [(12, 8), (10, 6), (4, 0)])
def test_reserved_pieces_stay_reserved_when_stock_is_set(load: Load, stock: int, on_hand: int) -> None:
    load(MUG)
    reserve_inventory([envelope(reserve(MUG=4))])

    load(f"MUG,Mug,12.50,EUR,{stock}")

    assert levels("MUG") == (on_hand, 4)
    assert Stock.objects.get().loaded == stock


def test_stock_below_what_is_reserved_is_refused_and_nothing_changes(load: Load) -> None:
    load(MUG)
    reserve_inventory([envelope(reserve(MUG=4))])
    before = rows()

    with pytest.raises(CommandError) as refused:
        load("PEN,Pen,99,JPY,1", "MUG,Cup,1.00,EUR,3")

    assert str(refused.value).endswith(
        "catalogue.csv: line 3, column stock: 3 is less than the 4 pieces of MUG that are reserved"
    )
    assert refused.value.returncode == 2
    assert rows() == before
    assert len(told()) == 1


def test_a_bad_file_is_refused_with_its_place_and_nothing_changes(load: Load) -> None:
    load(MUG)
    before = rows()

    with pytest.raises(CommandError) as refused:
        load("PEN,Pen,99,JPY,1", "MUG,Cup,cheap,EUR,3")

    assert "line 3, column price: 'cheap' is not a decimal number" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.returncode == 2
    assert rows() == before


@pytest.mark.parametrize("path", ["/nowhere/catalogue.csv", "/"])
def test_a_file_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(CommandError, match="cannot be read") as refused:
        call_command("load_catalogue", path)

    assert refused.value.returncode == 2


def test_it_says_so_when_nobody_delivers_the_prices(load: Load) -> None:
    with pytest.raises(CommandError, match=r"after 0.2 s \(2 of 2 not delivered\): is a relay") as late:
        load(MUG, PEN, no_wait=False, timeout=0.2)

    assert late.value.returncode == 1
    assert Product.objects.count() == 2


def test_it_returns_once_the_prices_are_delivered(load: Load) -> None:
    load(MUG)
    Delivery.objects.all().delete()

    printed = load(MUG, no_wait=False, timeout=0.2)

    assert printed == "products: 1, new or changed: 0, restocked: 0\n"


def test_it_waits_for_prices_that_an_earlier_load_could_not_deliver(load: Load) -> None:
    load(MUG)

    with pytest.raises(CommandError, match="1 of 1 not delivered"):
        load(MUG, no_wait=False, timeout=0.2)


def test_five_thousand_products_load_in_seconds(load: Load) -> None:
    started = time.monotonic()

    load(*(f"SKU-{number},Product {number},{number + 1}.99,EUR,{number}" for number in range(5_000)))

    assert time.monotonic() - started < 5
    assert Stock.objects.count() == Product.objects.count() == 5_000
    assert Product.objects.values("listing_id").distinct().count() == 5_000


@override_settings(ROOT_URLCONF="inventory.api.urls")
def test_the_catalogue_lists_price_and_available_stock(load: Load, client: Client) -> None:
    load(MUG, PEN, "TEA,Tea,3.00,EUR,0")
    reserve_inventory([envelope(reserve(MUG=4))])

    first = client.get("/products", {"page_size": 2}).json()
    second = client.get(first["next"]).json()

    assert first["results"] == [
        {"sku": "MUG", "name": "Mug", "price": {"amount": "12.50", "currency": "EUR"}, "available": 6},
        {"sku": "PEN", "name": "Pen", "price": {"amount": "120", "currency": "JPY"}, "available": 5},
    ]
    assert [product["sku"] for product in second["results"]] == ["TEA"]
    assert second["next"] is None


def test_every_listing_has_its_own_message(load: Load) -> None:
    load(MUG, PEN)

    listings: set[UUID] = set(Product.objects.values_list("listing_id", flat=True))
    assert listings == set(Message.objects.filter(type="product.listed").values_list("id", flat=True))
