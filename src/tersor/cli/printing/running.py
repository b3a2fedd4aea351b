"""How far a run has come, for people."""

from typing import TYPE_CHECKING

from tersor.cli.printing.layout import say
from tersor.cli.printing.show import print_json
from tersor.report import duration, figure, size

if TYPE_CHECKING:
    from tersor.pipeline.journal.status import RunStatus


def status(found: "RunStatus", as_json: bool) -> None:
    """Print it, plainly or as JSON."""
    if as_json:
        print_json(found.to_dict())
        return
    say(f"{found.out}: {_state(found)}")
    if found.planned:
        last = f", the last {found.last}" if found.last else ""
        say(f"units:     {found.done} of {found.planned}{last}")
    if found.steps is not None:
        say(f"training:  step {found.step} of {found.steps}")
    left = "" if found.seconds_left is None else f", {duration(found.seconds_left)} left"
    say(f"time:      {duration(found.seconds)} for what is done{left}")
    if found.memory is not None:
        say(f"memory:    {size(found.memory)} (process {found.pid})")
    losses = []
    if found.sqnr_db is not None:
        losses.append(f"SQNR {figure(found.sqnr_db)} dB")
    if found.output_error is not None:
        losses.append(f"{found.output_error:.2%} of outputs' power is error")
    if losses:
        say(f"loss:      {', '.join(losses)} (means so far)")


def _state(found: "RunStatus") -> str:
    if found.state != "ended":
        return found.state
    why = f" ({found.why})" if found.why else ""
    return f"ended before it was finished{why}; go on with --resume"
