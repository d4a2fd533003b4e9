from bowstring.eval.rivals.turns import ratio_of_turns, seconds_in_turns


def test_contenders_take_turns_and_each_begins_a_round():
    ran = []
    runs = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds_in_turns(runs, 3)
    counted = "".join(ran[1::2])  # the first run of a turn warms up
    assert counted == "abc" + "bca" + "cab"


def test_a_machine_that_slows_down_changes_no_ratio():
    """Every run takes a tenth longer than the one before it; one after the other, the second would lose."""
    now, pace = 0.0, 1.0

    def run(cost):
        nonlocal now, pace
        pace *= 1.1
        now += cost * pace

    runs = {"one": lambda: run(1.0), "other": lambda: run(2.0)}
    taken = seconds_in_turns(runs, 8, clock=lambda: now)
    ratio = ratio_of_turns(taken["other"], taken["one"])
    assert abs(ratio.value - 2.0) < 0.05 and ratio.n == 8
