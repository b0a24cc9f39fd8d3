"""Files are found whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emovox._files import atomic_path, open_atomic_text, write_json, write_text


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    write_text(file, "first\r\n")

    def stopped() -> None:
        with atomic_path(file) as partial:
            partial.write_text("sec")
            assert file.read_bytes() == b"first\r\n", "nothing is seen before the end"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert file.read_bytes() == b"first\r\n"
    assert [path.name for path in file.parent.iterdir()] == ["b.txt"]


def test_what_json_has_no_word_for_is_refused_and_replaces_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": [1, None, "\udcff"]})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"ä": [1, None, "\udcff"]}


def test_an_odd_file_name_can_be_written_down(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "caf\udce9.wav")
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9.wav"


def test_a_table_keeps_odd_bytes_of_file_names_and_appears_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with open_atomic_text(file) as stream:
        stream.write("caf\udce9.wav\r\n")
        stream.flush()
        assert not file.exists()
    assert file.read_bytes() == b"caf\xe9.wav\r\n"


def test_who_writes_may_stand_in_the_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.csv", by="here-7") as partial:
        partial.touch()
        assert [path.name for path in tmp_path.iterdir()] == ["a.csv.here-7.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
