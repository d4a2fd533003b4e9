import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowstring.speech.normalisation import MARKS, TOKEN, normalise
from bowstring.speech.normalisation.numbers import ONES, SCALES, TENS, cardinal, ordinal, year
from bowstring.train.data.sentences import HARVARD


def said(text):
    return " ".join(normalise(text).tokens)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Dr. Smith has 3 cats.", "Doctor Smith has three cats ."),
        ("He lives on James St. near St. Paul.", "He lives on James Street near Saint Paul ."),
        (
            "It costs $250.75 or £3 million.",
            "It costs two hundred fifty dollars and seventy five cents or three million pounds .",
        ),
        ("At -4°C in the 1990s", "At minus four degrees Celsius in the nineteen nineties"),
        ("12.5% of 7/8, and 1/2", "twelve point five percent of seven eighths , and one half"),
        ("at 10:30 a.m., or 12:00", "at ten thirty A.M. , or twelve o'clock"),
        ("5 km, 1 km, 3-5 cats & dogs", "five kilometers , one kilometer , three to five cats and dogs"),
        ("2024-03-05", "March fifth , twenty twenty four"),
        ("R2D2 naïve café", "R. two D two naive cafe"),
        ("Wait... what?! Yes—no", "Wait … what ? ! Yes — no"),
        ("the 21st, the 3rd", "the twenty first , the third"),
        ("agent 007", "agent zero zero seven"),
        ("1 dollar: $1", "one dollar : one dollar"),
    ],
)
def test_what_is_written_is_said_in_words(written, words):
    assert said(written) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Add 2½ cups, 3¼ or 1⅞", "Add two and a half cups , three and a quarter or one and seven eighths"),
        ("x ≠ 0", "x is not equal to zero"),
        ("25˚C, 5², 2³", "twenty five degrees Celsius , five squared , two cubed"),
        ("pre\u00adreq\u00adui\u00adsites, un\u200bbreak\u2060able", "prerequisites , unbreakable"),
        ("cafe\u0301 &amp; bar", "cafe and bar"),
        ("København, Straße, Łódź, Þórr", "Kobenhavn , Strasse , Lodz , Thorr"),
        ("٣ cats", "three cats"),
    ],
)
def test_unicode_is_folded_without_damage(written, words):
    assert said(written) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("3 × 4 = 12", "three times four equals twelve"),
        (
            "12 ÷ 3, x ≥ 2, y ≤ 5",
            "twelve divided by three , x greater than or equal to two , y less than or equal to five",
        ),
        (
            "5 €, ¥1000, ₹500, 99¢, $-5",
            "five euros , one thousand yen , five hundred rupees , ninety nine cents , minus five dollars",
        ),
        ("It was $1.5M", "It was one point five million dollars"),
        ("US$20", "Twenty U.S. dollars"),
        ("a $2 million house", "a two million dollar house"),
        ("6 €/h, 120 km/h", "six euros per hour , one hundred twenty kilometers per hour"),
        ("10.000.000 and 1 000 000", "ten million and one million"),
        ("1e-5", "one times ten to the power of minus five"),
        ("10^8", "ten to the power of eight"),
    ],
)
def test_signs_money_and_large_numbers_are_said(written, words):
    assert said(written) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("version 1.1.2", "version one point one point two"),
        ("192.168.0.1", "one nine two dot one six eight dot zero dot one"),
        (
            "See https://t.example/page?id=3 now",
            "See t dot example slash page question mark I.D. equals three now",
        ),
        ("jo.doe@mail.example.org", "jo dot doe at mail dot example dot org"),
        ("What is 10 - 4 = 6?", "What is ten minus four equals six ?"),
        ("What is 5-3?", "What is five minus three ?"),
        ("pages 5-3", "pages five to three"),
        ("Call 555-010-4477.", "Call five five five , zero one zero , four four seven seven ."),
        ("10%-20%", "ten to twenty percent"),
        ("9am-5pm", "nine A.M. to five P.M."),
        ("24/7, tea and/or coffee", "twenty four seven , tea and or coffee"),
        ("J. K. Rowling has a Ph.D. in the U.S.", "J. K. Rowling has a P.H.D. in the U.S. ."),
        ("On 24.12.2024", "On December twenty fourth , twenty twenty four"),
        ("5. Nov 2020", "the fifth of November , twenty twenty"),
        ("'90s and the 80s", "nineties and the eighties"),
        ("wait 90s", "wait ninety seconds"),
        ("2020-11-05T14:30:00Z", "November fifth , twenty twenty , at fourteen thirty U.T.C."),
        ("10 x 12 ft, 2x4, 10x faster", "ten by twelve feet , two by four , ten times faster"),
        (
            '2 1/2 lbs, 1/2 km, a 3/8" bolt',
            "two and a half pounds , one half kilometer , a three eighths inch bolt",
        ),
        (
            "12 Oak Ave NW, Austin, TX 78701",
            "twelve Oak Avenue Northwest , Austin , Texas seven eight seven zero one",
        ),
        ("a 5 ft wall, 5'4\" tall", "a five foot wall , five feet four tall"),
    ],
)
def test_points_and_dashes_inside_a_token_end_no_sentence(written, words):
    assert said(written) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("World War II, Henry VIII", "World War Two , Henry The eighth"),
        ("Chapter IV, Super Bowl LVIII", "Chapter Four , Super Bowl Fifty eight"),
        ("I think so, and Part I", "I think so , and Part One"),
        ("the XIX century", "the Nineteenth century"),
        ("the WHO and US troops", "the W.H.O. and U.S. troops"),
        ("WHO DID IT? TELL US", "WHO DID IT ? TELL US"),
        ("Plan A is a plan", "Plan A. is a plan"),
        ("Give it to US, said HE; US troops", "Give it to US , said HE ; U.S. troops"),
        ("Louis XIV's wig, M&M's", "Louis The fourteenth's wig , M. and M.'s"),
        ("IV. The End", "Four . The End"),
        ("WWII and the IT desk", "World War two and the I.T. desk"),
    ],
)
def test_roman_numerals_and_acronyms_are_told_from_words(written, words):
    assert said(written) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("**Hi** there, *very* good", "Hi there , very good"),
        ("* one\n* two", "one , two"),
        ("# Title\nText", "Title . Text"),
        ("Red\nBlue\nGreen", "Red , Blue , Green"),
        ("1. Mix\n2. Bake", "one , Mix , two , Bake"),
        ("[a guide](https://example.com) and `code`", "a guide and code"),
        ("| a b | c |\n|---|---|\n| d | e |", "a b , c . d , e"),
        ("3 * 4 and 2*3", "three times four and two times three"),
        ("<b>Hi</b><br>you", "Hi , you"),
        ("a line that is so long that somebody has wrapped it at the end of\nthe page", None),
    ],
)
def test_layout_is_heard_as_pauses_only(written, words):
    assert said(written) == (words or written.replace("\n", " "))


@pytest.mark.parametrize(
    ("written", "words", "unspoken"),
    [
        ("Привет мир, hello", ", hello", ("Привет", "мир")),
        ("α-rays, 你好!", "alpha rays , !", ("你好",)),
        ("nice 😀", "nice", ("😀",)),
        ("नमस्ते you", "you", ("नमस्ते",)),
    ],
)
def test_what_cannot_be_said_is_reported(written, words, unspoken):
    assert (said(written), normalise(written).unspoken) == (words, unspoken)


def test_a_word_that_never_ends_is_cut_and_reported():
    assert normalise("x" * 400 + " done.") == (("xx", "done", "."), ("x" * 400,))
    tokens, unspoken = normalise("ab" * 200)
    assert len(tokens[0]) + len(unspoken[0]) == 400 and len(tokens[0]) < 50


def test_plain_sentences_stay_as_they_are():
    """What the durations were learned on: words and marks, nothing else."""
    plain = [*HARVARD, "I'm sure he's here; they can't, won't, didn't.", "“Well,” she said — ‘no’…"]
    for sentence in plain:
        bare = sentence.translate(str.maketrans("’", "'", "“”‘"))
        assert list(normalise(sentence).tokens) == TOKEN.findall(bare.replace("-", " ").rstrip("'"))


@given(st.integers(0, 10**17))
def test_every_number_is_said_in_words_and_comes_back(n):
    assert parsed(cardinal(n)) == n
    words = said(f"x {n:,} y").split()
    assert words[0] == "x" and words[-1] == "y" and all(w.isalpha() for w in words)


def parsed(text):
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
    for token in normalise(text).tokens:
        assert token in [*MARKS] or TOKEN.fullmatch(token)


@given(st.text(alphabet="0123456789.,:/-–$€%°'\"()kmMBIVXaAptsS \n*_#@+=^x", max_size=60))
def test_any_numbers_and_signs_give_words_and_marks_only(text):
    for token in normalise(text).tokens:
        assert token in [*MARKS] or TOKEN.fullmatch(token)


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_no_letter_and_no_digit_is_lost_in_silence(text):
    tokens, unspoken = normalise(text)
    assert tokens or unspoken


HOSTILE = [
    "1",
    "1,",
    "1.",
    "1 000 ",
    "a",
    "a.",
    "A.",
    "a@",
    "*a ",
    "[",
    "[a](",
    "<b ",
    "<",
    "-",
    "1-",
    "$",
    "/a",
]
HOSTILE += [
    "|",
    "#",
    "&#1",
    "\n",
    "\n* ",
    "1/",
    "1:",
    "IV ",
    "'",
    '"',
    "½",
    "e\u0301",
    "я",
    "😀",
    "http://",
    "_a",
    "(",
    "x^",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_time_that_grows_with_its_length_only(unit):
    text = unit * (100_000 // len(unit.encode()))
    begin = time.process_time()
    normalise(text)
    assert time.process_time() - begin < 2


def test_the_normaliser_knows_nothing_of_torch():
    code = "import sys, bowstring.speech.normalisation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ordinals_and_years():
    assert [ordinal(n) for n in (1, 12, 20, 101)] == ["first", "twelfth", "twentieth", "one hundred first"]
    assert [year(n) for n in (1066, 1700, 2005, 2011)] == [
        "one thousand sixty-six",
        "seventeen hundred",
        "two thousand five",
        "twenty eleven",
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (
            "Python 3.12.4rc1 and 1.2.0b2",
            "Python three point twelve point four R.C. one and one point two point zero B. two",
        ),
        ("Item 1 — 50% off", "Item one — fifty percent off"),
        ("Room 7 – 20 people", "Room seven — twenty people"),
        ("pages 10 – 20, 2010—2012", "pages ten to twenty , twenty ten to twenty twelve"),
        (
            "3 µF, 22 pF, 5 mH, 2 µL",
            "three microfarads , twenty two picofarads , five millihenrys , two microliters",
        ),
    ],
)
def test_stages_labels_and_rare_units(text, tokens):
    assert " ".join(normalise(text).tokens) == tokens


def test_formulas_are_said_element_by_element():
    assert "SO" not in normalise("H₂SO₄").tokens and "four" in normalise("H₂SO₄").tokens
    assert normalise("NaHCO₃").tokens[-1] == "three" and "NaHC" not in normalise("NaHCO₃").tokens
