"""The README shows what the results files say, and says it of the machine they were measured on."""

import json
from pathlib import Path

import pytest

from bowstring.eval.tables import block, results_of, rows_of_table, with_tables, write_tables

ROOT = Path(__file__).parents[2]
ABOUT = {"topic": "toy", "cpu": "Toy CPU", "date": "2026-01-02 03:04", "load_before": 0.5,
         "load_after": 2.5, "quick": False, "commit": "abcdef0123456",
         "changed": False, "missing": {}}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    (tmp_path / "toy.md").write_text(
        "| what | measured | gate |\n|---|---|---|\n"
        "| gap | {gap/real&tale:+.1%} | 20 % |\n"
        "| curve | {curve/4&50/fd:~.1f} | |\n"
        "| nobody knows | {nothing:.1f} s | |\n"
    )
    return tmp_path


def result(value, **about):
    return {
        "about": ABOUT | about,
        "gap": {"real": value, "tale": None},
        "curve": {"4": {"fd": 2.04}, "50": {"fd": 1.0}},
        "se": {"gap": {"real": 0.015}, "curve": {"4": {"fd": 0.3}}},
        "n": {"gap": {"real": 80}},
    }


def test_a_row_has_value_error_count_and_a_column_for_each_machine(place):
    lines = block("toy", [result(0.1), result(0.25, cpu="Other", quick=True)], place).splitlines()
    assert lines[0] == (
        "| toy | n | Toy CPU, 2026-01-02, load 0.5 to 2.5 "
        "| Other, 2026-01-02, load 0.5 to 2.5, quick | gate or rival |"
    )
    cells = ("real +10.0 % ± 1.5 %; tale not measured", "real +25.0 % ± 1.5 %; tale not measured")
    assert lines[2] == f"| gap | 80 | {cells[0]} | {cells[1]} | 20 % |"
    assert lines[3] == "| curve |  | 2.0 / 1.0 | 2.0 / 1.0 |  |"
    assert lines[4:5] == [""] and "Commit abcdef0123" in lines[5]  # what no file knows has no row


def test_what_is_missing_is_named(place):
    text = block("toy", [result(0.1, missing={"tale": "no tales here"}, changed=True)], place)
    assert "abcdef0123 with changes" in text and "tale: no tales here" in text


def test_old_results_are_called_so_and_give_way_to_new_ones(place):
    (place / "toy-old.json").write_text(json.dumps({"gap": {"real": 0.1}}))
    assert "measured before version 0.2" in block("toy", results_of(place, "toy"), place)
    (place / "toy-new.json").write_text(json.dumps(result(0.2)))
    assert [one["about"]["cpu"] for one in results_of(place, "toy")] == ["Toy CPU"]


def test_a_readme_that_was_typed_by_hand_is_noticed(place, monkeypatch, capsys):
    (place / "bench" / "results").mkdir(parents=True)
    (place / "toy.md").rename(place / "bench" / "toy.md")
    (place / "bench" / "results" / "toy.json").write_text(json.dumps(result(0.1)))
    (place / "bench").joinpath("tables").mkdir()
    (place / "bench" / "toy.md").rename(place / "bench" / "tables" / "toy.md")
    monkeypatch.chdir(place)
    readme = place / "README.md"
    readme.write_text("before\n<!-- table: toy -->\n| 99 % |\n<!-- end of table -->\nafter\n")
    assert write_tables(["--check"]) == 1 and "differs" in capsys.readouterr().err
    assert write_tables([]) == 0 and write_tables(["--check"]) == 0
    assert "+10.0 %" in readme.read_text() and "99" not in readme.read_text()
    assert readme.read_text().startswith("before\n") and readme.read_text().endswith("\nafter\n")


def test_a_template_with_a_broken_row_is_refused(place):
    (place / "toy.md").write_text("| a |\n|---|\n| one | two |\n")
    with pytest.raises(ValueError, match="line 3: expected three cells"):
        rows_of_table(place / "toy.md")


def test_the_readme_is_what_the_results_make_of_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = Path("README.md").read_text("utf-8")
    assert text == with_tables(text), "run `make tables`"
    assert text.count("<!-- table: ") == len([*Path("bench/tables").glob("*.md")])
