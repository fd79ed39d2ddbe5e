"""Products with stock, and orders for them."""

from uuid_utils.compat import uuid7

from inventory.contracts import Line, ReleaseInventory, ReserveInventory
from inventory.models import Product, Stock


def stocked(sku: str, *, on_hand: int, price: int = 1250, currency: str = "EUR") -> Stock:
    """Offer a product and put pieces of it on hand."""
    product = Product.objects.create(sku=sku, name=f"The {sku}", price=price, currency=currency, listing_id=uuid7())
    return Stock.objects.create(product=product, on_hand=on_hand, reserved=0, loaded=on_hand)


def reserve(**quantities: int) -> ReserveInventory:
    """Ask for so many pieces of each SKU."""
    lines = tuple(Line(sku=sku, quantity=quantity) for sku, quantity in quantities.items())
    return ReserveInventory(order_id=uuid7(), lines=lines)


def release(command: ReserveInventory) -> ReleaseInventory:
    """Undo a reservation."""
    return ReleaseInventory(order_id=command.order_id)


def levels(sku: str) -> tuple[int, int]:
    """Return what is on hand and what is reserved."""
    stock = Stock.objects.get(product_id=sku)
    return stock.on_hand, stock.reserved
