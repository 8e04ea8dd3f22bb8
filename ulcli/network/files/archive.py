"""Reading files of tensors that may come from strangers."""

from __future__ import annotations

import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from ulcli.errors import UserError
from ulcli.network.files import shards
from ulcli.network.files.kinds import Pickle, inspect_pickle, refusal, refusal_of_pickle, refusal_of_zip
from ulcli.network.files.standins import stand_ins

# Enough of a file to tell what it is: a tar archive says so at byte 257.
_START = 512
_CHUNK = 2**20
# torch.save does not compress. Who compressed its archive does not come near this; a bomb goes beyond.
_MOST_EXPANSION = 20
_DIRECTORY = 0x10  # the attribute of MS-DOS


def read_archive(path: Path) -> Any:
    """Read what `torch.save` or safetensors wrote to `path`, to the CPU; nothing in it can run code.

    `path` is a file, the index of a file in shards, or a folder that holds one of them. Every kind of file that is
    something else gets its own `UserError`.
    """
    path = shards.locate(path)
    start = _first_bytes(path)
    if not start:
        raise UserError(f"'{path}' is empty")
    if path.suffix == ".json" and (index := shards.read_index(path)) is not None:
        return shards.merged(path, index, _read_file)
    return _read_file(path)


def _read_file(path: Path) -> Any:
    start = _first_bytes(path)
    if _is_safetensors(path, start):
        return _read_safetensors(path)
    if said := refusal(path, start):
        raise UserError(f"'{path}' {said}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        check_zip(path, refusal_of_zip)
    return _read_torch(path)


def _first_bytes(path: Path) -> bytes:
    """The first bytes of a regular file. Opening a pipe would wait for a writer, reading a device maybe for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"'{path}' is a pipe or a device; copy what it gives into a file, and give that")
        with path.open("rb") as stream:
            return stream.read(_START)
    except FileNotFoundError:
        raise UserError(f"no such file: '{path}'") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from None


def check_zip(path: Path, refuses: Callable[[list[str]], str | None] = lambda names: None) -> None:
    """Raise `UserError` for a damaged archive, or one of something else; torch checks no checksums.

    Args:
        refuses: Says of the names in an archive what it is, where that is not to be read.
    """
    truncated = f"'{path}' is truncated: the end of the archive is missing; copy or download it again"
    damaged = f"'{path}' is damaged; copy or download it again"
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(truncated)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if said := refuses([member.filename for member in members]):
                raise UserError(f"'{path}' {said}")
            if any(member.flag_bits & 1 for member in members):
                raise UserError(f"'{path}' is an encrypted zip archive; unpack it and give the checkpoint in it")
            if sum(member.file_size for member in members) > _MOST_EXPANSION * path.stat().st_size:
                raise UserError(f"'{path}' would unpack to more than {_MOST_EXPANSION} times its size; refused")
            for member in members:
                # Where a directory is said to be, torch reads nothing and takes what the memory holds.
                if member.external_attr & _DIRECTORY and member.file_size:
                    raise UserError(damaged)
                _check_member(archive, member)
    except (UserError, MemoryError):
        raise
    except zipfile.BadZipFile as error:
        named = re.search(r"Bad CRC-32 for file '([\w./-]{1,100})'", str(error))
        where = f": the checksum of '{named[1]}' does not match" if named else ""
        raise UserError(damaged.replace(";", f"{where};", 1)) from None
    except Exception:  # struct.error, NotImplementedError, OverflowError, zlib.error ... on damaged archives
        raise UserError(damaged) from None


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member to its end, where its checksum is compared; 0 where `set_crc32_options(False)` left it out."""
    if member.CRC:
        with archive.open(member) as stream:
            while stream.read(_CHUNK):
                pass


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), stand_ins():
            warnings.simplefilter("ignore")  # that an unusual pickle protocol may fail; it says so below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        said = refusal_of_pickle(_pickle_in(path), named[1] if named else None)
        raise UserError(f"'{path}' {said}") from None
    except MemoryError:
        raise UserError(f"'{path}' asks for more memory than there is; it is too large for here, or damaged") from None
    except Exception:  # torch raises RuntimeError, EOFError, KeyError, ValueError ... on damaged files
        raise UserError(f"'{path}' is not a file that torch.save wrote, or it is damaged") from None


def _pickle_in(path: Path) -> Pickle:
    """Give what the pickle of a file names: the one in a zip archive, or the file itself."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with closing(archive.open(name)) as stream:
                return inspect_pickle(stream)
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            return inspect_pickle(file)


def _is_safetensors(path: Path, start: bytes) -> bool:
    """Tell whether a file begins as safetensors do: the length of the header, then the header, which is JSON."""
    return start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise UserError(f"reading '{path}' needs safetensors: pip install 'uncertainty-loss[safetensors]'") from None
    try:
        return load_file(path)
    except Exception as error:  # SafetensorError is no subclass of anything narrower
        raise UserError(f"'{path}' is not a safetensors file, or it is damaged: {error}") from None
