"""Goals against results: which peer a goal means, whether it is met, and how sure that is."""

from dataclasses import dataclass

from harness.cells import Cell, Goal
from harness.rounds import CellResult
from harness.servers import BY_KEY
from harness.stats import Ratio, ratio_of

# Where a ratio would ask for less than the control costs in the same run, the goal is this many times the control.
CONTROL_ALLOWANCE = 1.2
MORE_IS_BETTER = ("per_second", "megabytes_per_second", "smaller_share", "slowest_share")


@dataclass(frozen=True)
class Verdict:
    """One goal: in words, what was measured, and whether it is met."""

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
    """The configuration of ours that the goals are about: the first, which is the default one."""
    return next((key for key in result.servers() if BY_KEY[key].family == "ours"), None)


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
    return "met" if reached else "missed"


def judge_pair(result: CellResult, goal: Goal, ours: str, peer: str) -> tuple[str, str]:
    """What was measured against one peer, and the outcome."""
    ratio = ratio_of(result.values(ours, goal.metric), result.values(peer, goal.metric))
    if ratio is None:
        return "nothing to compare", "not measured"
    outcome = met(goal, ratio)
    text = f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of {BY_KEY[peer].label}"
    control = result.median("control", goal.metric) if "control" in result.servers() else None
    theirs = result.median(peer, goal.metric)
    if outcome == "missed" and goal.metric == "server_cpu_us" and control and theirs * goal.limit < control:
        allowed = result.median(ours, goal.metric) / control
        text += f"; {allowed:.2f} of the control, where {CONTROL_ALLOWANCE} is the goal"
        outcome = "met" if allowed <= CONTROL_ALLOWANCE else "missed"
    return text, outcome


def goal_text(goal: Goal) -> str:
    bound = "at least" if goal.at_least else "at most"
    against = "" if goal.peer == "none" else f" x {goal.peer}"
    return f"{goal.metric} {bound} {goal.limit:.3g}{against}"


def judge(cell: Cell, result: CellResult) -> list[Verdict]:
    """A verdict for every goal of the cell; none if ours was not measured."""
    ours = our_key(result)
    if ours is None:
        return []
    verdicts = []
    for goal in cell.goals:
        if goal.peer == "none":
            value = result.median(ours, goal.metric)
            reached = value is not None and (value >= goal.limit if goal.at_least else value <= goal.limit)
            measured = "nothing" if value is None else f"{value:.3g}"
            verdicts.append(Verdict(goal_text(goal), measured, "met" if reached else "missed"))
            continue
        pairs = [judge_pair(result, goal, ours, peer) for peer in peer_keys(result, goal)]
        if not pairs:
            verdicts.append(Verdict(goal_text(goal), "the peer was not measured", "not measured"))
            continue
        worst = next((pair for pair in pairs if pair[1] == "missed"), pairs[0])
        verdicts.append(Verdict(goal_text(goal), worst[0], worst[1]))
    return verdicts
