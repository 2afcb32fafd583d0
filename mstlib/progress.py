"""Progress with the time left: tqdm where it is installed, a plain line now and then where it is
not."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
EVERY = 10.0  # seconds between plain lines


def progress(items: Iterable[T], text: str, total: int | None = None, start: int = 0
             ) -> Iterator[T]:
    """Iterate over `items` and show on stderr how far it is and how long it will take.

    A terminal gets tqdm's bar; a log file, where a bar would be noise, gets a line every ten
    seconds.
    """
    total = len(items) + start if total is None else total
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
            return iter(tqdm(items, desc=text, total=total, initial=start, dynamic_ncols=True))
        except ImportError:
            pass
    return _lines(items, text, total, start)


def _lines(items: Iterable[T], text: str, total: int, start: int) -> Iterator[T]:
    begun = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= EVERY:
            said, left = now, (now - begun) / done * (total - start - done)
            print(f"{text}: {start + done}/{total}, {left:.0f} s left", file=sys.stderr, flush=True)
