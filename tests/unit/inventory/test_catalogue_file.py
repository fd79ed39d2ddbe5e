"""A catalogue file is read as a whole, or refused with the place of the first mistake."""

from pathlib import Path

import pytest

from inventory.catalogue import BadCatalogue, CatalogueRow, read_catalogue

HEADER = "sku,name,price,currency,stock\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "catalogue.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_are_read_with_their_lines_and_prices_in_minor_units(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + 'MUG,"Mug, blue",12.5,EUR,3\nPEN,Pen,120,JPY,0\nOIL,Oil,1.234,KWD,7\n')

    rows = read_catalogue(path=path)

    assert rows == [
        CatalogueRow(line=2, sku="MUG", name="Mug, blue", price=1250, currency="EUR", stock=3),
        CatalogueRow(line=3, sku="PEN", name="Pen", price=120, currency="JPY", stock=0),
        CatalogueRow(line=4, sku="OIL", name="Oil", price=1234, currency="KWD", stock=7),
    ]


@pytest.mark.parametrize(
    "content",
    [
        (HEADER + "MUG,Mug,1.00,EUR,3\n").encode("utf-8-sig"),
        HEADER.replace("\n", "\r\n") + "MUG,Mug,1.00,EUR,3\r\n",
        HEADER + "\n" + " MUG , Mug ,1.00,EUR, 3\n\n",
        HEADER + "MUG,Mug,1.00,EUR,3",
    ],
    ids=["byte order mark", "Windows line ends", "blanks and blank lines", "no last line end"],
)
def test_harmless_differences_are_accepted(tmp_path: Path, content: str | bytes) -> None:
    path = written(tmp_path, content)

    [row] = read_catalogue(path=path)

    assert (row.sku, row.name, row.price, row.stock) == ("MUG", "Mug", 100, 3)


def test_a_line_break_in_a_quoted_name_counts_as_a_line_and_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + 'MUG,"Mug\nblue",1.00,EUR,3\n')

    with pytest.raises(BadCatalogue) as refused:
        read_catalogue(path=path)

    assert str(refused.value) == "line 2, column name: contains a control character"


@pytest.mark.parametrize(
    ("rows", "line", "column"),
    [
        ("", 2, "sku"),
        (",Mug,1.00,EUR,3", 2, "sku"),
        ("M" * 65 + ",Mug,1.00,EUR,3", 2, "sku"),
        ("MUG,Mug,1.00,EUR,3\n\nMUG,Mug,1.00,EUR,3", 4, "sku"),
        ("MUG,,1.00,EUR,3", 2, "name"),
        ("MUG," + "M" * 201 + ",1.00,EUR,3", 2, "name"),
        ("MUG,Mu\x00g,1.00,EUR,3", 2, "name"),
        ("MUG,Mug,,EUR,3", 2, "price"),
        ("MUG,Mug,abc,EUR,3", 2, "price"),
        ("MUG,Mug,-1.00,EUR,3", 2, "price"),
        ("MUG,Mug,1e3,EUR,3", 2, "price"),
        ("MUG,Mug,1.,EUR,3", 2, "price"),
        ("MUG,Mug,NaN,EUR,3", 2, "price"),
        ("MUG,Mug,١,EUR,3", 2, "price"),
        ("MUG,Mug,0.00,EUR,3", 2, "price"),
        ("MUG,Mug,1.001,EUR,3", 2, "price"),
        ("MUG,Mug,1.5,JPY,3", 2, "price"),
        ("MUG,Mug,10000000000.01,EUR,3", 2, "price"),
        ("MUG,Mug,1.0000000000001,EUR,3", 2, "price"),
        ("MUG,Mug,1.00,EURO,3", 2, "currency"),
        ("MUG,Mug,1.00,XXX,3", 2, "currency"),
        ("MUG,Mug,1.00,eur,3", 2, "currency"),
        ("MUG,Mug,1.00,EUR,-1", 2, "stock"),
        ("MUG,Mug,1.00,EUR,1.5", 2, "stock"),
        ("MUG,Mug,1.00,EUR,", 2, "stock"),
        ("MUG,Mug,1.00,EUR,1000000001", 2, "stock"),
        ("MUG,Mug,1.00,EUR," + "9" * 5000, 2, "stock"),
        ("PEN,Pen,1.00,EUR,3\nMUG,Mug,1.00,EUR", 3, "stock"),
        ("MUG,Mug,1,00,EUR,3", 2, "stock"),
        ('MUG,"Mug" blue,1.00,EUR,3', 2, "sku"),
        ('MUG,"Mug,1.00,EUR,3', 2, "sku"),
        ("MUG," + "M" * 200_000 + ",1.00,EUR,3", 2, "sku"),
    ],
)
def test_a_mistake_is_told_with_line_and_column(tmp_path: Path, rows: str, line: int, column: str) -> None:
    path = written(tmp_path, HEADER + rows)

    with pytest.raises(BadCatalogue) as refused:
        read_catalogue(path=path)

    assert (refused.value.line, refused.value.column) == (line, column)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("", "sku"),
        ("sku;name;price;currency;stock", "sku"),
        ("sku,name,cost,currency,stock", "price"),
        ("sku,name,price,currency", "stock"),
        ("sku,name,price,currency,stock,color", "color"),
    ],
)
def test_another_header_is_refused(tmp_path: Path, header: str, column: str) -> None:
    path = written(tmp_path, header + "\nMUG,Mug,1.00,EUR,3\n")

    with pytest.raises(BadCatalogue) as refused:
        read_catalogue(path=path)

    assert (refused.value.line, refused.value.column) == (1, column)


def test_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER.encode() + b"MUG,Mug,1.00,EUR,3\nTEA,Th\xe9,1.00,EUR,3\n")

    with pytest.raises(BadCatalogue, match="line 3, column sku: the file is not in UTF-8"):
        read_catalogue(path=path)
