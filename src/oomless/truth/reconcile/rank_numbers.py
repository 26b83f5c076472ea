"""The name that a log gives a process -> its rank among all of the run."""

from .logged_run import Label, LoggedRun


def rank_number(run: LoggedRun, label: str) -> int | None:
    """Return the rank of a process; None if its name says none (a device of llama.cpp is its number).

    Tensor ranks lie closest together, pipeline stages around them, data-parallel engines outermost.
    """
    axes = Label(label).axes()
    if "rank" in axes:
        return axes["rank"]
    if not axes:
        digits = label.rstrip("0123456789")
        return int(label[len(digits) :]) if digits and digits != label and len(label) < 16 else None
    if run.rules.tp_counts_dp:
        return axes.get("TP", axes.get("DP", 0))
    from .log_facts import facts_of

    found = facts_of(run)
    tp, pp = int(found.get("tp", 1)), int(found.get("pp", 1))
    return (axes.get("DP", 0) * pp + axes.get("PP", 0)) * tp + axes.get("TP", 0)
