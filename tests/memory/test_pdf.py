"""PDF files as entries."""

import sys

import pytest

from bowstring.cli.memory import pieces
from bowstring.memory.files import entries

BOX = "[0 0 600 800]"


def pdf_of(*texts):
    """A file with a line of text on each page, written by hand."""
    kids = " ".join(f"{3 + 2 * i} 0 R" for i in range(len(texts)))
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>"]
    for i, text in enumerate(texts):
        content = f"BT /F 12 Tf 50 700 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /Resources {font} /MediaBox {BOX} /Contents {4 + 2 * i} 0 R >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return data + f"{end}startxref\n{len(data)}\n%%EOF\n".encode()


def test_every_page_is_remembered_with_its_number(tmp_path):
    path = tmp_path / "note.pdf"
    path.write_bytes(pdf_of("The fox lives in the wood.", "", "The owl sleeps by day."))
    made = [*entries(path)]
    assert [(one["text"], one["payload"]) for one in made] == [
        ("The fox lives in the wood.", {"page": 1}),
        ("The owl sleeps by day.", {"page": 3}),
    ]
    assert {one["source"] for one in made} == {str(path)}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pdf_of(""), "holds no text"),
        (b"", "no PDF that can be read"),
        (b"%PDF-1.7 nothing", "no PDF that can be read"),
        (pdf_of("a fox")[:200], "no PDF that can be read"),
    ],
)
def test_what_is_no_text_is_refused_and_left_out_of_a_folder(tmp_path, data, why, capsys):
    path = tmp_path / "note.pdf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=why):
        [*entries(path)]
    (tmp_path / "note.txt").write_text("a fox")
    assert [one["text"] for one in pieces(str(tmp_path))] == ["a fox"]
    assert "left out" in capsys.readouterr().err


def test_without_its_reader_a_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "note.pdf"
    path.write_bytes(pdf_of("a fox"))
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(ImportError, match="is read by pypdf"):
        [*entries(path)]
