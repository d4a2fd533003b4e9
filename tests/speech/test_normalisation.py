import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowstring.speech.normalisation import cardinal, ordinal, read_out, year


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Dr. Smith has 3 cats.", "Doctor Smith has three cats ."),
        ("He lives on James St. near St. Paul.", "He lives on James Street . near Saint Paul ."),
        (
            "It costs $250.75 or £3 million.",
            "It costs two hundred fifty dollars and seventy five cents or three million pounds .",
        ),
        ("At -4°C in the 1990s", "At minus four degrees Celsius in the nineteen nineties"),
        ("12.5% of 7/8, and 1/2", "twelve point five percent of seven eighths , and one half"),
        ("at 10:30 a.m., or 12:00", "at ten thirty a m , or twelve o'clock"),
        ("5 km, 1 km, 3-5 cats & dogs", "five kilometers , one kilometer , three to five cats and dogs"),
        ("2024-03-05", "March fifth , twenty twenty four"),
        ("R2D2 naïve café", "R two D two naive cafe"),
        ("Wait... what?! Yes—no", "Wait … what ? ! Yes — no"),
        ("the 21st, the 3rd", "the twenty first , the third"),
        ("agent 007", "agent zero zero seven"),
        ("1 dollar: $1", "one dollar : one dollar"),
    ],
)
def test_what_is_written_is_read_out(written, said):
    assert " ".join(read_out(written)) == said


@given(st.integers(0, 10**17))
def test_every_number_is_said_in_words_and_comes_back(n):
    assert parsed(cardinal(n)) == n
    words = " ".join(read_out(f"x {n:,} y")).split()
    assert words[0] == "x" and words[-1] == "y" and all(w.isalpha() for w in words)


def parsed(text):
    from bowstring.speech.normalisation import ONES, SCALES, TENS

    total = group = 0
    for word in text.replace("-", " ").split():
        if word in ONES:
            group += ONES.index(word)
        elif word in TENS:
            group += 10 * TENS.index(word)
        elif word == "hundred":
            group *= 100
        else:
            total, group = total + group * 1000 ** SCALES.index(word), 0
    return total + group


@given(st.text(max_size=80))
def test_any_text_gives_words_and_marks_only(text):
    for token in read_out(text):
        assert token in ".,;:!?—…" or token.replace("'", "").isalpha() or len(token) == 1


def test_ordinals_and_years():
    assert [ordinal(n) for n in (1, 12, 20, 101)] == ["first", "twelfth", "twentieth", "one hundred first"]
    assert [year(n) for n in (1066, 1700, 2005, 2011)] == [
        "one thousand sixty-six",
        "seventeen hundred",
        "two thousand five",
        "twenty eleven",
    ]
