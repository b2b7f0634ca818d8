"""What a person at the terminal sees of a run."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from ignite.engine import Engine, Events
from tqdm import tqdm

from medgen.engines.distributed import is_first_rank
from medgen.handlers.periodic import Window

__all__ = ["ProgressBar", "duration"]


def duration(seconds: float) -> str:
    """Write a time span as ``h:mm:ss``.

    Example:
        >>> duration(3725)
        '1:02:05'
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class ProgressBar:
    """A bar on a terminal, one line every few seconds elsewhere: iterations, loss, images/s, time left.

    Only the first process shows it. Loss and rate are of the time since the last update.

    Args:
        interval: iterations between updates of a terminal's bar.
        seconds: seconds between lines where there is no terminal.
        stream: where to write; by default the standard error.

    Raises:
        ValueError: when ``interval`` or ``seconds`` is not positive.
    """

    def __init__(self, interval: int = 10, seconds: float = 30.0, stream: TextIO | None = None) -> None:
        if interval < 1 or not seconds > 0:
            raise ValueError(f"expected interval >= 1 and seconds > 0, found {interval!r} and {seconds!r}")
        self.interval = interval
        self.seconds = seconds
        self.stream = stream
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if is_first_rank():
            engine.add_event_handler(Events.STARTED, self._started)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
            engine.add_event_handler(Events.COMPLETED, self._completed)

    def _started(self, engine: Any) -> None:
        self._out = sys.stderr if self.stream is None else self.stream
        state = engine.state
        self._total = state.max_epochs * state.epoch_length if state.epoch_length else None
        self._first = self._shown = state.iteration
        self._whole, self._recent = Window(), Window()
        if self._out.isatty():
            self._bar = tqdm(
                total=self._total, initial=self._first, unit="it", desc="train", file=self._out, dynamic_ncols=True
            )

    def _iteration(self, engine: Any) -> None:
        self._recent.add(engine)
        if self._bar is None:
            if self._recent.seconds >= self.seconds:
                self._line(engine.state)
        elif (engine.state.iteration - self._first) % self.interval == 0:
            self._bar.set_postfix_str(self._status(engine.state), refresh=False)
            self._advance(engine.state)

    def _status(self, state: Any) -> str:
        skipped = f", {state.skipped} skipped" if state.skipped else ""
        return f"loss {self._recent.loss:.4f}, {self._recent.rate:.1f} images/s{skipped}"

    def _advance(self, state: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.iteration - self._shown)
        self._shown = state.iteration
        self._recent.clear()

    def _line(self, state: Any) -> None:
        done = state.iteration - self._first
        of = left = ""
        if self._total is not None:
            of = f"/{self._total}"
            left = f", {duration((self._total - state.iteration) * self._whole.seconds / done)} left"
        print(f"train {state.iteration}{of}: {self._status(state)}{left}", file=self._out, flush=True)
        self._advance(state)

    def _completed(self, engine: Any) -> None:
        if self._bar is not None:
            self._advance(engine.state)
            self._bar.close()
            self._bar = None
        elif engine.state.iteration > self._first:
            if engine.state.iteration > self._shown:
                self._line(engine.state)
            print(f"train: done in {duration(self._whole.seconds)}", file=self._out, flush=True)
