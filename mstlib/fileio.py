"""Writing files so that a reader never meets half of one.

Everything goes to a temporary name in the same folder first and is renamed when complete: a rename
within a folder is atomic, so a run that is killed leaves the old file or the new one.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mstlib.config import MSTError

ROOT = Path(__file__).resolve().parents[1]  # the repository


class Unwritten(MSTError):
    """A file that could not be written to its end."""


@contextmanager
def write_via(path: str | Path) -> Iterator[Path]:
    """Give the body a temporary name to write to; renamed to `path` when the body ends well.

    MSTError if the disk is full or the folder not writable; nothing is left behind on any error.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes never share it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise MSTError(
            f"cannot write {path}: {error.strerror or error}; "
            "free some space or choose a writable folder"
        ) from error
    finally:  # after an interrupt too
        _remove(temporary)


@contextmanager
def keep_via(path: str | Path) -> Iterator[Path]:
    """As `write_via` for a file that is worth keeping in part: renamed to `path` also where the
    body ends by an error or an interrupt.

    Only where writing itself fails, and where the process is killed, it stays under its temporary
    name, NAME.PID.part, and an older `path` as it was. Unwritten where `write_via` has MSTError.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        except OSError:
            raise
        except BaseException:
            temporary.replace(path)
            raise
        temporary.replace(path)
    except OSError as error:
        raise Unwritten(
            f"cannot write {path}: {error.strerror or error}; free some space or choose a writable "
            f"folder (what was written before is in {temporary.name})"
        ) from error


def reserve(path: str | Path) -> None:
    """Make the disk really hold every byte of an existing, sparse file; OSError if it cannot.

    Writing to a memory map on a full disk kills the process; reserving first turns that into an
    error.
    """
    with Path(path).open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, os.fstat(file.fileno()).st_size))


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path`, making its folder; MSTError if the disk is full or not writable."""
    with write_via(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, line ends as given; raises as `write_bytes`."""
    return write_bytes(path, text.encode())


def write_json(path: str | Path, value: object) -> Path:
    """Write `value` as indented JSON, number lists on one line.

    MSTError if a number is NaN or infinite (JSON has none: store None) or as `write_bytes`.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MSTError(
            f"cannot write {path} as JSON: {error}; store None or plain numbers"
        ) from error
    return write_text(path, _one_line_numbers(text) + "\n")


def read_json(path: str | Path) -> object:
    """The content of a JSON file; MSTError if it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MSTError(f"{path}: not readable ({reason}); repeat what makes it") from None


def load_tensors(path: str | Path) -> object:
    """What `torch.save` wrote, on the CPU, read without executing code.

    Its checksums are verified first, which torch does not do: a flipped bit would be a weight.
    Raises what zipfile and torch raise on damaged files, and ValueError on a wrong checksum.
    """
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _one_line_numbers(text: str) -> str:
    """Put lists of numbers on one line: a thousand bootstrap values are not worth a thousand lines.

    Only line breaks between JSON tokens can match: inside a string they are written as \\n.
    """
    number_list = re.compile(r"\[\n[\s\d.,eE+\-nul]*?\]")
    return number_list.sub(lambda match: re.sub(r"\s+", " ", match[0]).replace("[ ", "[")
                           .replace(" ]", "]"), text)


def _remove(path: Path) -> None:
    """Remove a temporary file, if it can be; the first error is the one to report."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
