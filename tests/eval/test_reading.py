from bowstring.eval.reading import Case, cases, heard, reading_accuracy
from bowstring.eval.results import Measured


def test_everyday_sentences_are_read_as_people_read_them():
    every = heard()
    wrong = [(case, said) for case, said in every if not case.is_right(said)]
    for case, said in wrong:
        print(f"{case.name}: {case.text!r}\n  is read {said!r}\n  not {case.readings[0]!r}")
    assert len(every) == 300 and len(wrong) <= 9  # 97 %


def test_a_wrong_reading_is_not_taken_for_right():
    case = Case("x", "number", "105", ("one hundred (and|) five",))
    assert case.is_right("one hundred five") and case.is_right("one hundred and five")
    assert not case.is_right("one hundred") and not case.is_right("one hundred or five")


def test_accuracy_is_the_share_of_what_is_read_right(tmp_path):
    rows = ['{"id": "a", "category": "c", "text": "2 cats", "readings": ["two cats"]}']
    rows.append('{"id": "b", "category": "c", "text": "2 cats", "readings": ["too cats"]}')
    (tmp_path / "some.jsonl").write_text("\n".join(rows))
    assert reading_accuracy(tmp_path) == Measured(0.5, 0.5, 2)
    assert len(cases(tmp_path)) == 2
