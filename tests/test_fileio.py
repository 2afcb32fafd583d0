"""Atomic writing: the old file or the new one, never half of one."""

import errno
import json
from pathlib import Path

import pytest

from mstlib.config import MSTError
from mstlib.fileio import write_json, write_text


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_text(tmp_path / "table.md", "old")

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MSTError, match="table.md: No space left on device"):
        write_text(path, "new text")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MSTError, match="cannot write .*record.json"):
        write_json(tmp_path / "file" / "record.json", {})


def test_json_holds_what_was_given(tmp_path):
    value = {"list": [1.5, -2e-05, None], "empty": [], "text": "[\n 1,\n 2\n]",
             "deep": [[1, 2], [3]], "mixed": [1, "a", {"b": [True, 2]}], "µ": "✓"}
    text = write_json(tmp_path / "x.json", value).read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "[1.5, -2e-05, null]" in text
    with pytest.raises(MSTError, match="x.json as JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value
