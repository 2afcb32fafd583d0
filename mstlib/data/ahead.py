"""Making items ahead of their use, in a thread: frames are decoded while the model computes."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 5.0  # seconds that a source is given to end; a camera may hang


def ahead(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """The items in order, of which a thread makes up to `depth` (and one more) in advance.

    An exception of `items` is raised here after all items before it. The thread starts with the
    first item asked for and ends with the last one, or when this generator is closed: close it, or
    leave it to go out of scope. `items` is closed by its own thread.
    """
    ready: Queue = Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(items, ready, stop), name="mst-ahead",
                              daemon=True)
    thread.start()
    try:
        while True:
            item, error, end = ready.get()
            if error is not None:
                raise error
            if end:
                return
            yield item
    finally:
        stop.set()
        _empty(ready)  # it may be waiting for room
        thread.join(PATIENCE)


def _work(items: Iterable[T], ready: Queue, stop: threading.Event) -> None:
    """Put (item, error, is it the end) until told to stop; after `stop` at most one fits in."""
    last: tuple = (None, None, True)
    iterator = None
    try:
        iterator = iter(items)
        for item in iterator:
            if stop.is_set():
                break
            ready.put((item, None, False))
            del item  # the thread must not keep a frame that the consumer is done with
    except BaseException as error:  # whatever it is, the consumer is who must know
        last = (None, error, True)
    finally:
        if hasattr(iterator, "close"):
            iterator.close()
    if not stop.is_set():
        ready.put(last)


def _empty(queue: Queue) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
