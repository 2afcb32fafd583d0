"""Progress with the time left: tqdm where it is installed, a plain line now and then where it is
not."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
EVERY = 10.0  # seconds between plain lines


def progress(items: Iterable[T], text: str, total: int | None = None, start: int = 0,
             unit: str = "it") -> Iterator[T]:
    """Iterate over `items` and show on stderr how far it is and how long it will take.

    total: how many there are, where it is known at all. A terminal gets tqdm's bar; a log file,
    where a bar would be noise, gets a line every ten seconds.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items) + start
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
            return iter(tqdm(items, desc=text, total=total, initial=start, unit=f" {unit}",
                             dynamic_ncols=True))
        except ImportError:
            pass
    return _lines(items, text, total, start, unit)


def _lines(items: Iterable[T], text: str, total: int | None, start: int, unit: str) -> Iterator[T]:
    begun = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= EVERY:
            said, rate = now, done / (now - begun)
            rest = "" if total is None else f", {max(0, total - start - done) / rate:.0f} s left"
            of = "" if total is None else f"/{total}"
            print(f"{text}: {start + done}{of}, {rate:.2g} {unit}/s{rest}", file=sys.stderr,
                  flush=True)
