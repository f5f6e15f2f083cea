"""Comparison of goals with results: the peer of a goal, whether it is met, and how certain that is."""

from dataclasses import dataclass

from harness.cell import CPU, Cell, Goal, RATE
from harness.growth_cells import point_metric
from harness.rounds import CellResult
from harness.servers import BY_KEY
from harness.stats import Ratio, ratio_of

# If a ratio would require less than the control costs in the same run, the goal is this many times the control.
CONTROL_ALLOWANCE = 1.2
# Limit of flat growth: this many times the CPU per operation of the cheapest smaller point.
FLAT = 1.25
MORE_IS_BETTER = (RATE, "megabytes_per_second", "smaller_share", "slowest_share")
MISSED = "missed"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Verdict:
    """One goal: its description, the measured values, and whether it is met."""

    goal: str
    measured: str
    outcome: str


def best_key(result: CellResult, family: str, metric: str) -> str | None:
    """The configuration of `family` with the best median."""
    ranked = [(result.median(key, metric), key) for key in result.servers() if BY_KEY[key].family == family]
    ranked = [(value, key) for value, key in ranked if value is not None]
    if not ranked:
        return None
    return (max if metric in MORE_IS_BETTER else min)(ranked)[1]


def our_key(result: CellResult) -> str | None:
    """Our configuration that the goals apply to: the first, which is the default."""
    return next((key for key in result.servers() if BY_KEY[key].family == "ours"), None)


def subject_of(result: CellResult, goal: Goal) -> str | None:
    if goal.subject:
        return goal.subject if goal.subject in result.servers() else None
    return our_key(result)


def peer_keys(result: CellResult, goal: Goal) -> list[str]:
    if goal.peer == "qsd*":
        best = best_key(result, "qsd", goal.metric)
        return [best] if best else []
    if goal.peer == "peers":
        return [key for key in result.servers() if BY_KEY[key].family not in ("ours", "control")]
    return [goal.peer] if goal.peer in result.servers() else []


def met(goal: Goal, ratio: Ratio) -> str:
    reached = ratio.median >= goal.limit if goal.at_least else ratio.median <= goal.limit
    claims_a_win = goal.limit > 1 if goal.at_least else goal.limit < 1
    if reached and claims_a_win and not ratio.certain:
        return "not sure"
    return "met" if reached else MISSED


def ratio_words(ratio: Ratio, key: str) -> str:
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of {BY_KEY[key].label}"


def against_control(result: CellResult, goal: Goal, ours: str, peer: str) -> tuple[str, str] | None:
    """The verdict by the control, if the goal requires more than the control itself reaches; else None.

    Also None if the peer beats the control, which then is no lower bound.
    """
    control = result.median("control", goal.metric) if "control" in result.servers() else None
    theirs = result.median(peer, goal.metric)
    if peer == "control" or BY_KEY[peer].family == "ours" or not control or theirs is None:
        return None
    asked = theirs * goal.limit
    applies = theirs <= control < asked if goal.at_least else asked < control <= theirs
    if not applies:
        return None
    ratio = ratio_of(result.values(ours, goal.metric), result.values("control", goal.metric))
    limit = 1 / CONTROL_ALLOWANCE if goal.at_least else CONTROL_ALLOWANCE
    reached = ratio.median >= limit if goal.at_least else ratio.median <= limit
    bound = "at least" if goal.at_least else "at most"
    text = f"{ratio.median:.2f} of the control, which does not reach that goal itself: then it is {bound} {limit:.2f}"
    return text, "met" if reached else MISSED


def ceiling(cell: Cell, result: CellResult, goal: Goal, ours: str, peer: str) -> str:
    """The highest possible rate if the client shares the server's processors; "" if it has its own."""
    costs = [result.median(ours, CPU), result.median(ours, "client_cpu_us")]
    if cell.pin or goal.metric != RATE or None in costs or not result.processors or not sum(costs):
        return ""
    most = result.processors * 1e6 / sum(costs) / result.median(peer, RATE)
    return f"; with the client on the same {result.processors} processors at most {most:.2f} is possible"


def judge_pair(cell: Cell, result: CellResult, goal: Goal, ours: str, peer: str) -> tuple[float, str, str]:
    """The factor by which the goal was missed (above 1) or exceeded, the measured values, and the outcome."""
    ratio = ratio_of(result.values(ours, goal.metric), result.values(peer, goal.metric))
    if ratio is None or ratio.median == 0:
        return 0, "nothing to compare", "not measured"
    outcome = met(goal, ratio)
    text = ratio_words(ratio, peer)
    shortfall = goal.limit / ratio.median if goal.at_least else ratio.median / goal.limit
    if outcome == MISSED:
        text += ceiling(cell, result, goal, ours, peer)
        by_control = against_control(result, goal, ours, peer)
        if by_control:
            text, outcome = f"{text}; {by_control[0]}", by_control[1]
    return shortfall, text, outcome


def goal_text(goal: Goal) -> str:
    bound = "at least" if goal.at_least else "at most"
    against = "" if goal.peer == "none" else f" x {goal.peer}"
    who = f" of {goal.subject}" if goal.subject else ""
    return f"{goal.metric}{who} {bound} {goal.limit:.3g}{against}"


def judge_goal(cell: Cell, result: CellResult, goal: Goal) -> Verdict:
    ours = subject_of(result, goal)
    if ours is None:
        missing = goal.subject or next((key for key in cell.servers if BY_KEY[key].family == "ours"), "ours")
        return Verdict(goal_text(goal), result.skipped.get(missing, "ours was not measured"), NOT_RUN)
    if goal.peer == "none":
        value = result.median(ours, goal.metric)
        reached = value is not None and (value >= goal.limit if goal.at_least else value <= goal.limit)
        return Verdict(goal_text(goal), "nothing" if value is None else f"{value:.3g}", "met" if reached else MISSED)
    pairs = [judge_pair(cell, result, goal, ours, peer) for peer in peer_keys(result, goal)]
    if not pairs:
        why = result.skipped.get(goal.peer, "the peer was not measured")
        return Verdict(goal_text(goal), why, NOT_RUN)
    order = [MISSED, "not sure", "not measured", "met"]
    worst = min(pairs, key=lambda pair: (order.index(pair[2]), -pair[0]))
    return Verdict(goal_text(goal), worst[1], worst[2])


def growth_of(cell: Cell, result: CellResult, key: str, at: int | None = None) -> tuple[Ratio, int] | None:
    """The largest growth relative to the cheapest smaller point, and its index; or the growth at index `at`."""
    medians = [result.median(key, point_metric(point)) for point in cell.points]
    if None in medians:
        return None
    grown = []
    for place in range(1, len(cell.points)) if at is None else [at]:
        base = min(range(place), key=lambda smaller: medians[smaller])
        ratio = ratio_of(result.values(key, point_metric(cell.points[place])),
                         result.values(key, point_metric(cell.points[base])))
        grown += [(ratio, place)] if ratio else []
    return max(grown, key=lambda one: one[0].median) if grown else None


def judge_growth(cell: Cell, result: CellResult) -> Verdict:
    goal = f"flat: CPU per operation at most {FLAT} x that of the cheapest smaller point"
    ours = our_key(result)
    grown = growth_of(cell, result, ours) if ours else None
    if grown is None:
        return Verdict(goal, "ours was not measured", NOT_RUN)
    ratio, place = grown
    text = f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] at {cell.points[place].label}"
    control = growth_of(cell, result, "control", place) if "control" in result.servers() else None
    if control:
        text += f"; the control, which does nothing but the reads and the sends: {control[0].median:.2f}"
    return Verdict(goal, text, "met" if ratio.median <= FLAT else MISSED)


def judge(cell: Cell, result: CellResult) -> list[Verdict]:
    """A verdict for every goal of the cell."""
    verdicts = [judge_goal(cell, result, goal) for goal in cell.goals]
    return [*verdicts, judge_growth(cell, result)] if cell.kind == "growth" else verdicts
