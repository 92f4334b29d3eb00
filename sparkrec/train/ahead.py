"""Work ahead: an iterator that runs in a thread of its own, a bounded number of items in front of its reader."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()


class Ahead(Generic[T]):
    """Iterate over `items` from another thread; a context manager. What goes wrong there is raised here."""

    def __init__(self, items: Iterator[T], limit: int) -> None:
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(limit)
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.waited_s = 0.0
        """Seconds that the reader stood waiting."""

    def __enter__(self) -> "Ahead[T]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.01)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        began = time.monotonic()
        item = self._queue.get()
        self.waited_s += time.monotonic() - began
        if item is _END:
            self._queue.put(_END)
            if self._failed is not None:
                raise self._failed
            raise StopIteration
        return item  # type: ignore[return-value]

    def _work(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._stopping.is_set():
                    break
        except BaseException as error:
            self._failed = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._put(_END)

    def _put(self, item: object) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
