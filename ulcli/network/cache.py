"""Features on disk, so that a second training on the same images needs no pass through the network."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch

from ulcli.errors import UserError
from ulcli.files import atomic_write

_DEFAULT_LIMIT = 4 * 2**30


@dataclass(frozen=True)
class FeatureCache:
    """A bounded folder of tensors by key.

    Several processes may share it: entries appear whole (written aside, then moved) and are never changed, so the
    worst that a race can do is work done twice. Nothing that goes wrong here stops the work; `warnings` tells.
    """

    folder: Path
    limit: int = _DEFAULT_LIMIT  # bytes; the entries longest unused are removed beyond it

    @classmethod
    def default(cls) -> FeatureCache:
        """The user's cache folder, or where `UL_CACHE_DIR` says; `UL_CACHE_BYTES` is its limit."""
        folder = os.environ.get("UL_CACHE_DIR") or platformdirs.user_cache_path("uncertainty-loss") / "features"
        limit = os.environ.get("UL_CACHE_BYTES", str(_DEFAULT_LIMIT))
        if not limit.isdecimal():
            raise UserError(f"UL_CACHE_BYTES is '{limit}', expected a number of bytes")
        return cls(Path(folder), int(limit))

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry, or None where there is none that can be read."""
        path = self._path(key)
        try:
            entry = torch.load(path, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:  # damaged by a full disk or another tool: as good as absent
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of last use decides what goes first
        return entry if isinstance(entry, dict) else None

    def put(self, key: str, entry: dict[str, Any]) -> str | None:
        """Keep an entry; returns why it could not be kept, or None."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._path(key), "wb") as stream:
                torch.save(entry, stream)
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
            return f"features are not cached: cannot write to '{self.folder}': {error}"
        self._shrink()
        return None

    def _shrink(self) -> None:
        entries = []
        for path in self.folder.glob("*.pt"):
            with contextlib.suppress(OSError):  # another process may have removed it
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        for path in self.folder.glob("*.tmp"):
            with contextlib.suppress(OSError):  # what a killed process left; a living one is done within the hour
                if path.stat().st_mtime < time.time() - 3600:
                    path.unlink()
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"
