"""Label files: read back by other libraries and by us, with the same times; foreign and hostile files."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from emovox.errors import ConfigError, TranscriptError
from emovox.results import TranscriptSegment
from emovox.transcripts import LABEL_FORMATS, MEDIA_TYPES, reading
from emovox.transcripts.entries import clean_text
from emovox.transcripts.reading import read_transcript
from emovox.transcripts.tiers import Tier
from emovox.transcripts.writing import format_rows
from pages import chromium

Row = dict[str, Any]


def make_row(start_s: float, end_s: float, **more: Any) -> Row:
    return {
        "file": "calls/call 1.wav",
        "channel": None,
        "start_s": start_s,
        "end_s": end_s,
        "label": "happy",
        "reason": None,
        "confidence": 0.71,
        "scores": {},
    } | more


ROWS = [
    make_row(12.34, 14.0, speaker="Anna", text='I <b> & "x" fine'),
    make_row(13.34, 14.5, speaker="Bo B", text=None, label=None, reason="uncertain", confidence=0.31),
    make_row(13.5, 15.001, speaker="Anna", text="over the first"),
    make_row(3600 * 30 + 0.999, 3600 * 30 + 2.0, speaker="Anna", text="late"),
]
SPANS = [(row["start_s"], row["end_s"]) for row in ROWS]


def write(name: str, rows: Sequence[Row] = ROWS, **more: Any) -> str:
    return "".join(format_rows(name, rows, **more))


def read(text: str | bytes, **more: Any) -> list[TranscriptSegment]:
    found = read_transcript(text.encode() if isinstance(text, str) else text, **more)
    assert found.problems == ()
    return sorted(found.segments, key=lambda one: (one.start_s, one.end_s))


# --- by other readers -------------------------------------------------------------------------------


def test_srt_by_srt() -> None:
    srt = pytest.importorskip("srt")
    found = list(srt.parse(write("srt")))
    assert [(one.start.total_seconds(), one.end.total_seconds()) for one in found] == SPANS
    assert found[0].content == '[Anna]: I <b> & "x" fine\n[happy 0.71]'
    assert found[1].content == "[Bo B]:\n[no label: uncertain 0.31]"


def test_vtt_by_webvtt() -> None:
    webvtt = pytest.importorskip("webvtt")
    found = list(webvtt.from_string(write("vtt")))
    assert [(one.start_in_seconds, one.end_in_seconds) for one in found] == [
        (int(start), int(end)) for start, end in SPANS
    ]
    assert [one.start for one in found] == ["00:00:12.340", "00:00:13.340", "00:00:13.500", "30:00:00.999"]
    assert found[0].voice == "Anna"
    assert found[0].text.splitlines()[0] == 'I &lt;b&gt; &amp; "x" fine'


CUES = """
<video><track id="t" src="/a.vtt" default></video>
<script>
  const { track } = Object.assign(document.getElementById("t"), { onload: () => {
    document.title = JSON.stringify([...track.cues].map((cue) => {
      const shown = cue.getCueAsHTML();
      return [cue.startTime, cue.endTime, shown.querySelector("[title]")?.title, shown.textContent];
    }));
  }});
  track.mode = "hidden";
</script>"""


@pytest.mark.browser
def test_vtt_by_chromium() -> None:
    """By the browser's own reader, for its video player."""
    executable = chromium()
    from playwright.sync_api import sync_playwright

    rows = [*ROWS[:3], make_row(20.0, 21.0, speaker="A & <B>", text="<script>x</script> a --> b")]
    files = {"/": ("text/html", CUES), "/a.vtt": ("text/vtt", write("vtt", rows))}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        page = browser.new_page()
        for path, (kind, body) in files.items():
            page.route(f"http://localhost{path}", partial(fulfil, kind, body))
        page.goto("http://localhost/")
        page.wait_for_function("document.title.startsWith('[')", timeout=60_000)
        found = json.loads(page.title())
        browser.close()
    assert [tuple(cue[:2]) for cue in found] == [(row["start_s"], row["end_s"]) for row in rows]
    assert [cue[2] for cue in found] == ["Anna", "Bo B", "Anna", "A & <B>"]
    assert found[-1][3] == "<script>x</script> a --> b\n[happy 0.71]"


def fulfil(kind: str, body: str, route: Any) -> None:
    route.fulfill(status=200, content_type=f"{kind}; charset=utf-8", body=body)


def test_textgrid_by_praatio(tmp_path: Path) -> None:
    praatio = pytest.importorskip("praatio.textgrid")
    file = tmp_path / "call.TextGrid"
    file.write_text(write("textgrid", duration_s=120_000), encoding="utf-8")
    grid = praatio.openTextgrid(str(file), includeEmptyIntervals=False)
    names = ("Anna", "Anna emotion", "Bo B", "Bo B emotion", "Anna (2)", "Anna emotion (2)")
    assert grid.tierNames == names
    assert grid.maxTimestamp == 120_000
    assert [tuple(one) for one in grid.getTier("Anna").entries] == [
        (12.34, 14.0, 'I <b> & "x" fine'),
        (108000.999, 108002.0, "late"),
    ]
    assert [tuple(one) for one in grid.getTier("Bo B emotion").entries] == [
        (13.34, 14.5, "no label: uncertain 0.31")
    ]


def test_eaf_by_pympi(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    file = tmp_path / "call.eaf"
    file.write_text(write("eaf"), encoding="utf-8")
    eaf = pympi.Eaf(str(file))
    assert eaf.get_annotation_data_for_tier("Anna")[0] == (12_340, 14_000, 'I <b> & "x" fine')
    assert eaf.get_annotation_data_for_tier("Anna (2)") == [(13_500, 15_001, "over the first")]
    assert eaf.get_ref_annotation_data_for_tier("Bo B emotion")[0][:3] == (
        13_340,
        14_500,
        "no label: uncertain 0.31",
    )
    assert eaf.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./call%201.wav"
    assert eaf.get_parameters_for_tier("Anna (2)")["PARTICIPANT"] == "Anna"


def test_audacity_and_rttm_by_hand() -> None:
    first = write("audacity").splitlines()[0].split("\t")
    assert first == ["12.340000", "14.000000", '[Anna]: I <b> & "x" fine [happy 0.71]']
    rows = [*ROWS, make_row(1, 2.5, file="b.wav", channel=1, label="sad")]
    lines = [line.split(" ") for line in write("rttm", rows).splitlines()]
    assert lines[0] == ["SPEAKER", "b", "2", "1.000", "1.500", "<NA>", "<NA>", "sad", "0.7100", "<NA>"]
    assert lines[1] == [
        "SPEAKER",
        "call_1",
        "1",
        "12.340",
        "1.660",
        "<NA>",
        "happy",
        "Anna",
        "0.7100",
        "<NA>",
    ]
    assert {len(line) for line in lines} == {10}


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # the library with a newer pandas
def test_audformat_by_audformat(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    from emovox.transcripts.audformat_database import write_database

    rows = [{**row, "scores": {"happy": 0.71, "sad": 0.29}} for row in ROWS]
    write_database(tmp_path / "db", [*rows, {"file": "x.wav", "error": "no sound"}], ["happy", "sad"])
    table = audformat.Database.load(str(tmp_path / "db"))["emotion"].get()
    assert [(start.total_seconds(), end.total_seconds()) for _, start, end in table.index] == SPANS
    assert list(table["label"].astype(object).fillna("")) == ["happy", "", "happy", "happy"]
    assert list(table["speaker"]) == ["Anna", "Bo B", "Anna", "Anna"]
    assert list(table["sad"]) == [0.29] * 4


def test_a_time_is_the_same_in_all_formats() -> None:
    for name in LABEL_FORMATS:
        (one,) = read(write(name, [make_row(12.34, 3723.456)]))
        assert (one.start_s, one.end_s) == (12.34, 3723.456), name


def test_every_format_has_a_media_type() -> None:
    assert list(MEDIA_TYPES) == list(LABEL_FORMATS)


def test_rows_that_no_file_can_hold() -> None:
    rows = [make_row(2.0, 2.0001), {"file": "a.wav", "error": "no sound"}]
    for name in LABEL_FORMATS:
        (one,) = read(write(name, rows))
        assert (one.start_s, one.end_s) == (2.0, 2.001), name
    for name in ("srt", "vtt", "textgrid", "eaf", "audacity"):
        with pytest.raises(ConfigError, match="2 recordings"):
            format_rows(name, [make_row(0, 1), make_row(0, 1, file="b.wav")])
    with pytest.raises(ConfigError, match="expected one of srt"):
        format_rows("docx", ROWS)


# --- round trips ------------------------------------------------------------------------------------

TEXTS = (
    st.none() | st.text(max_size=12) | st.sampled_from(["a --> b", "[x]: y", "1", "<i>a</i>", "&amp;", '""'])
)
TIMES = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)
ROW_LISTS = st.lists(
    st.builds(
        lambda start, length, text, speaker, label: make_row(
            start, round(start + length, 3), text=text, speaker=speaker, label=label
        ),
        TIMES,
        st.integers(1, 30_000).map(lambda ms: ms / 1000),
        TEXTS,
        st.none() | st.text(max_size=8),
        st.sampled_from(["happy", "sad", None, "work's stress"]),
    ),
    min_size=1,
    max_size=8,
)


def spans_of(rows: Sequence[Row]) -> list[tuple[float, float]]:
    return sorted((row["start_s"], row["end_s"]) for row in rows)


@settings(max_examples=100)
@given(st.sampled_from(list(LABEL_FORMATS)), ROW_LISTS)
def test_written_times_are_read(name: str, rows: list[Row]) -> None:
    """Whatever the texts and speakers are."""
    found = read_transcript(write(name, rows).encode())
    assert found.problems == ()
    assert sorted((one.start_s, one.end_s) for one in found.segments) == spans_of(rows)


@given(ROW_LISTS)
def test_vtt_and_eaf_keep_texts_and_speakers(rows: list[Row]) -> None:
    def said(speaker: str | None, text: str | None) -> tuple[str, str]:
        return clean_text(speaker) or "", clean_text(text) or ""

    expected = sorted((row["start_s"], *said(row["speaker"], row["text"])) for row in rows)
    assume(len({row["start_s"] for row in rows}) == len(rows))
    assume(not any((row["text"] or "").strip().startswith("[") for row in rows))
    assert sorted((one.start_s, *said(one.speaker, one.text)) for one in read(write("vtt", rows))) == expected
    assume(all(Tier(row["speaker"] or "").kind == "speech" for row in rows))
    assume(
        all(Tier(row["speaker"] or "x").find_speaker() == row["speaker"] for row in rows if row["speaker"])
    )
    assert sorted((one.start_s, *said(one.speaker, one.text)) for one in read(write("eaf", rows))) == expected


def test_speakers_whose_names_are_those_of_tiers() -> None:
    names = [None, "speech", "emotion", "words", "Anna", "Anna (2)", "Anna emotion", "channel 0", "(2)"]
    rows = [make_row(n, n + 20.5, speaker=name, text="x") for n, name in enumerate(names * 2)]
    for form in ("textgrid", "eaf"):
        found = read(write(form, rows))
        assert [(one.start_s, one.end_s, one.text) for one in found] == [
            (n, n + 20.5, "x") for n in range(18)
        ]
        assert form == "textgrid" or [one.speaker for one in found][3:9] == names[3:9]


# --- files of others --------------------------------------------------------------------------------

WHISPER = {
    "text": " Hello there. Bye.",
    "language": "en",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " Hello there.", "avg_logprob": -0.2},
        {
            "id": 1,
            "start": 1.5,
            "end": 2.25,
            "text": " Bye.",
            "speaker": "SPEAKER_01",
            "words": [
                {"word": " Bye.", "start": 1.6, "end": 2.0, "probability": 0.9},
                {"word": "2026"},
                {"word": "x", "start": 2.0, "end": 2.2, "score": 0.5},
            ],
        },
    ],
}


def test_whisper_json() -> None:
    for document in (WHISPER, WHISPER["segments"]):
        first, second = read(json.dumps(document))
        assert first == TranscriptSegment(0.0, 1.5, "Hello there.")
        assert second.speaker == "SPEAKER_01"
        words = [(word.text, word.start_s, word.probability) for word in second.words]
        assert words == [("Bye.", 1.6, 0.9), ("x", 2.0, 0.5)]
    assert read_transcript(json.dumps(WHISPER).encode()).format == "json"


def test_own_json_lines_are_read() -> None:
    text = "\n".join(json.dumps(row) for row in ROWS)
    found = read(text)
    assert [(one.start_s, one.end_s) for one in found] == SPANS
    assert [one.speaker for one in found] == ["Anna", "Bo B", "Anna", "Anna"]


def test_csv_dialects() -> None:
    for text in (
        "start,end,speaker,text\n1.5,2.25,Anna,Hi\n",
        "sep=;\nspeaker;Start;duration;transcript\nAnna;1,5;0,75;Hi\n",
        "start_ms\tend_ms\tspeaker\ttext\n1500\t2250\tAnna\tHi\n",
        "begin,stop,spk,sentence\n00:01.5,0 days 00:00:02.25,Anna,Hi\n",
    ):
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            assert read(text.encode(encoding)) == [TranscriptSegment(1.5, 2.25, "Hi", "Anna")]


def test_encodings() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nGrüße – schön\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"):
        (one,) = read(text.encode(encoding))
        assert one.text == "Grüße – schön", encoding
    eaf = "\n" + write("eaf", [make_row(1.0, 2.0, text="Grüße")])
    for declared, encoding in (("UTF-8", "utf-8-sig"), ("UTF-16", "utf-16"), ("windows-1252", "cp1252")):
        (one,) = read(eaf.replace('"UTF-8"', f'"{declared}"').encode(encoding))
        assert one.text == "Grüße", encoding


def test_rttm_of_several_recordings() -> None:
    text = (
        ";; a comment\nSPKR-INFO b 1 <NA> <NA> <NA> unknown x <NA>\n"
        "SPEAKER a 1 1.50 0.75 <NA> <NA> anna <NA> <NA>\nSPEAKER b.c 1 3 1 <NA> <NA> bo <NA> <NA>\n"
    )
    assert read(text, recording="calls/a.wav") == [TranscriptSegment(1.5, 2.25, None, "anna")]
    assert read(text, recording="b.c.wav") == [TranscriptSegment(3.0, 4.0, None, "bo")]
    for recording in (None, "x.wav"):
        with pytest.raises(TranscriptError, match="2 recordings"):
            read_transcript(text.encode(), recording=recording)
    assert len(read(text.splitlines()[2], recording="whatever.wav")) == 1


def test_ctm_words_become_segments() -> None:
    text = (
        ";; words\ncall A 0.10 0.20 hello 0.9\ncall A 0.30 0.20 there. 0.8\ncall A 0.55 0.2 good nan\n"
        "call A 0.80 0.2 bye\ncall A 2.0 0.3 now\ncall B 0.4 0.2 yes 0.7 lex anna\n"
    )
    found = read(text)
    assert [(one.start_s, one.end_s, one.text, one.speaker) for one in found] == [
        (0.1, 0.5, "hello there.", "A"),
        (0.4, 0.6, "yes", "anna"),
        (0.55, 1.0, "good bye", "A"),
        (2.0, 2.3, "now", "A"),
    ]
    (one,) = read("call 1 0.10 0.20 hello 0.9\ncall 1 0.30 0.20 there 0.8\n")
    assert one.speaker is None
    assert [word.probability for word in one.words] == [0.9, 0.8]


SHORT_GRID = (
    'File type = "ooTextFile"\n"TextGrid"\n\n0\n3\n<exists>\n4\n'
    '"IntervalTier"\n"words"\n0\n3\n2\n0\n1\n"hi"\n1\n1.2\n"you"\n'
    '"IntervalTier"\n"Anna"\n0\n3\n3\n0\n1.25\n"hi ""you"""\n1.25\n2\n""\n2\n3\n"bye\n1 2"\n'
    '"TextTier"\n"marks"\n0\n3\n1\n0.5\n"IntervalTier"\n"IntervalTier"\n"Bo"\n0\n3\n1\n0\n3\n"yes"\n'
)


def test_textgrid_of_others() -> None:
    assert read(SHORT_GRID) == [
        TranscriptSegment(0.0, 1.25, 'hi "you"', "Anna"),
        TranscriptSegment(0.0, 3.0, "yes", "Bo"),
        TranscriptSegment(2.0, 3.0, "bye 1 2", "Anna"),
    ]
    assert read(SHORT_GRID.encode("utf-16"), tier="Bo") == [TranscriptSegment(0.0, 3.0, "yes", "Bo")]
    (words,) = read(SHORT_GRID, tier="words")
    assert [word.text for word in words.words] == ["hi", "you"]
    with pytest.raises(TranscriptError, match="'words', 'Anna', 'Bo'"):
        read_transcript(SHORT_GRID.encode(), tier="none")
    with pytest.raises(TranscriptError, match="no tiers"):
        read_transcript(b"1\n00:00:01,000 --> 00:00:02,000\nx\n", tier="none")


def test_eaf_by_pympi_is_read(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    eaf = pympi.Eaf(author="x")
    eaf.add_tier("Anna", part="A. B.")
    eaf.add_tier("transcription")
    eaf.add_annotation("Anna", 12_340, 14_000, "hi <b>")
    eaf.add_annotation("transcription", 0, 500, "noise")
    eaf.to_file(str(tmp_path / "x.eaf"))
    found = read_transcript(tmp_path / "x.eaf").segments
    assert set(found) == {
        TranscriptSegment(12.34, 14.0, "hi <b>", "A. B."),
        TranscriptSegment(0.0, 0.5, "noise"),
    }


def test_subtitles_of_others() -> None:
    vtt = (
        "WEBVTT - title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nintro\n"
        "00:01.000 --> 00:02.500 align:start position:0%\n"
        "<v.loud Anna>Hi <00:01.500><c.x>you</c> &amp; all\n\n"
        "NOTE x\n\n00:00:03.000 --> 00:00:04.000\n<v Anna>A</v>\n<v Bo>B</v>\n"
    )
    assert read(vtt) == [
        TranscriptSegment(1.0, 2.5, "Hi you & all", "Anna"),
        TranscriptSegment(3.0, 4.0, "A B", "Anna, Bo"),
    ]
    srt = (
        "00:00:01.0 --> 00:00:02.5 X1:0\n{\\an8}<font color=red>two</font>\n\nlines\n\n"
        "2\n-00:00:01,000 --> 1:00,5\n3 < 4\n"
    )
    assert read(srt) == [TranscriptSegment(-1.0, 60.5, "3 < 4"), TranscriptSegment(1.0, 2.5, "two lines")]


def test_names_before_a_colon_are_speakers_where_all_cues_have_one() -> None:
    def cues(*texts: str) -> str:
        return "\n".join(
            f"{n}\n00:00:0{n},000 --> 00:00:0{n},500\n{text}\n" for n, text in enumerate(texts, 1)
        )

    both = read(cues("Anna B.: Hi", "Bo: Remember: no"))
    assert [(one.speaker, one.text) for one in both] == [("Anna B.", "Hi"), ("Bo", "Remember: no")]
    for texts in (("Remember: no", "yes"), ("Remember: no",), ("at 10:30: go", "Bo: x")):
        assert [(one.speaker, one.text) for one in read(cues(*texts))] == [(None, text) for text in texts]


def test_audacity_of_others() -> None:
    text = "1.500000\t2.250000\tHi [there]\n\\\t100\t200\n3\t3\t\n"
    assert read(text) == [TranscriptSegment(1.5, 2.25, "Hi [there]"), TranscriptSegment(3.0, 3.0)]


# --- hostile files ----------------------------------------------------------------------------------

BROKEN = {
    "srt": (
        "1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:xx --> 00:00:02,000\nb\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nc\n"
    ),
    "vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\na\n\nxx --> 00:02.000\nb\n\n00:03.000 --> 00:04.000\nc\n",
    "textgrid": SHORT_GRID.replace("\n1.25\n2\n", "\nx\n2\n").replace('""\n2', '"b"\n2'),
    "eaf": write("eaf").replace('TIME_VALUE="14000"', 'TIME_VALUE="x"'),
    "rttm": (
        "SPEAKER a 1 1 1 <NA> <NA> a\nSPEAKER a 1 nan 1 <NA> <NA> b\nSPEAKER a 1\n"
        "SPEAKER a 1 3 1 <NA> <NA> c\n"
    ),
    "ctm": "a 1 1 1 a\na 1 1e999 1 b\na 1 1\na 1 3 1 c\n",
    "audacity": "1\t2\ta\n2\tinf\tb\nx\n3\t4\tc\n",
    "json": json.dumps(
        [
            {"start": 1, "end": 2},
            {"start": True, "end": "x"},
            3,
            {"start": 10**400, "end": 4},
            {"start": 3, "end": 4},
        ]
    ),
    "csv": "start,end,text\n1,2,a\n,4,b\nnan,x,b\n3,4,c\n",
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_damaged_part_costs_no_other(name: str) -> None:
    found = read_transcript(BROKEN[name].encode())
    assert found.format == name
    assert found.problems
    assert all(any(word in problem for word in ("line", "segment", "tier")) for problem in found.problems)
    assert len(found.segments) >= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b"WEBVTT\n\n", "no segment"),
        (b"PK\x03\x04abc", "archive"),
        (b"RIFF\x00abcWAVE" + bytes(range(256)), "NUL|no label file"),
        (b"hello\nworld\n", "expected SRT"),
        (b'{"text": "hi"}', "list of segments"),
        (b'{"segments": [', "no JSON"),
        (b"[" * 100_000, "JSON|expected SRT"),
        (b'{"a":' * 100_000, "nested|JSON"),
        (b"<html><body/></html>", "ANNOTATION_DOCUMENT"),
        (b"<a><b></a>", "XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "DOCTYPE"),
        (b"<a>" * 100_000 + b"</a>" * 100_000, "ANNOTATION_DOCUMENT"),
        (b'File type = "ooTextFile"\n"TextGrid"\n"unclosed', "no tier"),
    ],
)
def test_what_is_no_label_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(TranscriptError, match=message):
        read_transcript(content)


def test_paths_are_named_in_errors(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "folder"), (tmp_path / "none.srt", "no such file")):
        with pytest.raises(TranscriptError, match=message) as caught:
            read_transcript(path)
        assert str(path) in str(caught.value)


def test_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = write("srt").encode()
    monkeypatch.setattr(reading, "MAX_SEGMENTS", 3)
    with pytest.raises(TranscriptError, match="more than 3 segments"):
        read_transcript(text)
    monkeypatch.setattr(reading, "MAX_TRANSCRIPT_BYTES", 100)
    with pytest.raises(TranscriptError, match="too large"):
        read_transcript(text)


@pytest.mark.parametrize("name", list(LABEL_FORMATS))
def test_many_segments(name: str) -> None:
    """In one tier or in as many as overlap; nothing is quadratic, which would take hours."""
    n = 100_000 if name == "srt" else 20_000
    rows = [make_row(i * 0.5, i * 0.5 + 1.2, text=f"no. {i}") for i in range(n)]
    assert len(read_transcript(write(name, rows).encode()).segments) == n
    rows = [make_row(0.001 * n, 1000.0) for n in range(3000)]
    assert len(read_transcript(write(name, rows).encode()).segments) == 3000


SEEDS = [write(name) for name in LABEL_FORMATS] + list(BROKEN.values()) + [SHORT_GRID, json.dumps(WHISPER)]


@settings(max_examples=200)
@given(
    st.sampled_from(SEEDS), st.randoms(use_true_random=False), st.sampled_from(["utf-8", "utf-16", "cp1252"])
)
def test_mutated_files_give_segments_or_an_error(text: str, random: random.Random, encoding: str) -> None:
    content = bytearray(text.encode(encoding, "replace"))
    for _ in range(random.randint(1, 8)):
        at = random.randrange(len(content))
        how = random.randrange(4)
        if how == 0:
            content[at] = random.randrange(256)
        elif how == 1:
            del content[at : at + random.randint(1, 30)]
        elif how == 2:
            content[at:at] = content[random.randrange(len(content)) :][: random.randint(1, 60)]
        else:
            content[at:at] = random.choice(
                [b"-->", b'"', b"<", b"\n\n", b"999999999999999999", b"\x00", b"nan"]
            )
        if not content:
            return
    check(bytes(content))


@settings(max_examples=100)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(b"WEBVTT\n-->")
@example(b"1\n99:99:99,9 --> 999999:00:00\n")
def test_any_bytes_give_segments_or_an_error(content: bytes) -> None:
    check(content)


def check(content: bytes) -> None:
    try:
        found = read_transcript(content)
    except TranscriptError:
        return
    assert found.segments
    for one in found.segments:
        assert abs(one.start_s) <= 1e7
        assert abs(one.end_s) <= 1e7
        for text in (one.text, one.speaker, *(word.text for word in one.words)):
            assert text is None or (text == clean_text(text) and text.encode())
    json.dumps([one.to_dict() for one in found.segments], allow_nan=False)
