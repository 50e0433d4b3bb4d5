"""The store in memory, saved in a file, so that it survives a restart of the development server."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from adapter.engine.records import Head, InboxEntry, JournalSegment, Meta, Notification, Part, StateEntry, Waiter
from adapter.local.memory import MemoryStore
from adapter.local.options import UnservableError

INTERVAL: Final = 1.0
"""The least seconds between saves. A large store is saved less often, so that saving takes a twentieth of the time."""

RECORDS: Final = (Head, InboxEntry, JournalSegment, Meta, Notification, Part, StateEntry, Waiter)


class SavedStore(MemoryStore):
    """A store in memory that is read from a file, and saved in it.

    What is saved is the store at one moment. A process that is killed loses what it stored in the last second.

    Args:
        file: The file. It need not exist. Reading it runs what is in it, as it is a pickle: use your own files only.

    Raises:
        UnservableError: If the file cannot be read.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self._saved = 0
        try:
            layout, state = pickle.loads(file.read_bytes())
        except FileNotFoundError:
            return
        except Exception as error:
            raise UnservableError(f"{file} cannot be read ({error}): delete it, or give another file") from None
        if layout != _layout():
            raise UnservableError(
                f"{file} was written by another version of this library: delete it, or give another file"
            )
        vars(self).update(state)
        self._saved = self.usage.requests

    def save(self) -> None:
        """Write the file, if a request was made since it was written.

        Raises:
            OSError: If it cannot be written. The file is then as it was.
        """
        if self.usage.requests == self._saved:
            return
        state = {name: getattr(self, name) for name in vars(MemoryStore())}
        beside = self._file.with_name(f"{self._file.name}.new")
        beside.write_bytes(pickle.dumps((_layout(), state), pickle.HIGHEST_PROTOCOL))
        os.replace(beside, self._file)
        self._saved = self.usage.requests

    async def keep_saved(self) -> None:
        """Save again and again, until cancelled."""
        pause = INTERVAL
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            self.save()
            pause = max(INTERVAL, 20 * (time.monotonic() - began))


def _layout() -> Any:
    """Return what tells files of other versions apart."""
    return version("serverless-adapter"), [[field.name for field in fields(record)] for record in RECORDS]
