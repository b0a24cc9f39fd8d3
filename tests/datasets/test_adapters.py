"""Adapters read official names, mirrors' names and EmoBox's whole list, and nothing else."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.datasets import CORPORA, official_keys
from emovox.datasets.emobox import EMOBOX, EmoBoxRow, emobox_folds, emobox_rows, pack_rows
from emovox.errors import ProtocolError
from emovox.labels import canonical

NAMES: dict[str, list[tuple[str, str, str, str, str | None]]] = {
    # corpus: (path, key, speaker, emotion, sex)
    "ravdess": [
        ("Actor_12/03-01-06-01-02-01-12.wav", "03-01-06-01-02-01-12", "ravdess-12", "fear", "female"),
        ("audio/Actor_01/03-01-02-02-02-02-01.FLAC", "03-01-02-02-02-02-01", "ravdess-01", "calm", "male"),
    ],
    "ravdess_song": [
        ("Actor_23/03-02-05-02-01-01-23.opus", "03-02-05-02-01-01-23", "ravdess-23", "angry", "male"),
    ],
    "savee": [
        ("AudioData/DC/sa07.wav", "DC_sa07", "savee-DC", "sad", "male"),
        ("ALL/KL_su15.wav", "KL_su15", "savee-KL", "surprise", "male"),
        ("JK/n30.wav", "JK_n30", "savee-JK", "neutral", "male"),
    ],
    "emodb": [
        ("wav/03a01Fa.wav", "03a01Fa", "emodb-03", "happy", "male"),
        ("16b10Lb.mp3", "16b10Lb", "emodb-16", "boredom", "female"),
        ("wav/08a05Aa.wav", "08a05Aa", "emodb-08", "fear", "female"),
        ("wav/08a05Wa.wav", "08a05Wa", "emodb-08", "angry", "female"),
        ("wav/08a05Ta.wav", "08a05Ta", "emodb-08", "sad", "female"),
        ("wav/08a05Ea.wav", "08a05Ea", "emodb-08", "disgust", "female"),
    ],
    "casia": [
        ("liuchanhg/angry/201.wav", "liuchanhg/angry/201", "casia-liuchanhg", "angry", "female"),
        ("ZhaoZuoxiang/fear/250.wav", "zhaozuoxiang/fear/250", "casia-zhaozuoxiang", "fear", "male"),
        ("wangzhe/生气/222.wav", "wangzhe/angry/222", "casia-wangzhe", "angry", "male"),
        ("zhaoquanyin/beishang/222.wav", "zhaoquanyin/sad/222", "casia-zhaoquanyin", "sad", "female"),
        ("6/sad/201-sad-zhaoquanyin.wav", "zhaoquanyin/sad/201", "casia-zhaoquanyin", "sad", "female"),
        ("wangzhe _neutral_206.wav", "wangzhe/neutral/206", "casia-wangzhe", "neutral", "male"),
    ],
    "cremad": [
        ("AudioWAV/1001_DFA_ANG_XX.wav", "1001_DFA_ANG_XX", "cremad-1001", "angry", "male"),
        ("AudioWAV/1040_ITH_SAD_X.wav", "1040_ITH_SAD_XX", "cremad-1040", "sad", "male"),
        ("AudioMP3/1091_IEO_HAP_HI.mp3", "1091_IEO_HAP_HI", "cremad-1091", "happy", "female"),
    ],
    "jlcorpus": [
        (
            "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/female1_angry_10a_1.wav",
            "female1_angry_10a_1", "jlcorpus-female1", "angry", "female",
        ),
        ("male2_encouraging_7b_2.wav", "male2_encouraging_7b_2", "jlcorpus-male2", "encouraging", "male"),
    ],
    "tess": [
        ("OAF_neutral/OA_bite_neutral.wav", "OAF_bite_neutral", "tess-OAF", "neutral", "female"),
        ("YAF_pleasant_surprised/YAF_bite_ps.wav", "YAF_bite_ps", "tess-YAF", "surprise", "female"),
        ("OAF_back_angry.wav", "OAF_back_angry", "tess-OAF", "angry", "female"),
    ],
    "emovdb": [
        ("bea_Amused/amused_1-15_0001.wav", "bea/amused_1-15_0001", "emovdb-bea", "amused", "female"),
        ("sam_Disgusted/Disgust_1-28_0003.wav", "sam/Disgust_1-28_0003", "emovdb-sam", "disgust", "male"),
        ("josh/Sleepy/sleepiness_1-9_0032.wav", "josh/sleepiness_1-9_0032", "emovdb-josh", "sleepy", "male"),
        ("bea_Amused/amused_141_168_0141.wav", "bea/amused_141_168_0141", "emovdb-bea", "amused", "female"),
    ],
    "asvpesd": [
        (
            "Audio/actor_60/03-02-06-01-01-60-02-02-02-16.wav",
            "03-02-06-01-01-60-02-02-02-16", "asvpesd-60", "fear", "male",
        ),
        ("Audio/actor_9/03-01-01-01-01-09-02.wav", "03-01-01-01-01-09-02", "asvpesd-09", "boredom", "female"),
        (
            "Bonus/actor_150/03-02-04-01-52-150-04-01-00-14 -01.wav",
            "03-02-04-01-52-150-04-01-00-14 -01", "asvpesd-150", "sad", None,
        ),
    ],
    "esd": [
        ("0001/Angry/0001_000351.wav", "0001_000351", "esd-0001", "angry", "female"),
        ("0011/Neutral/evaluation/0011_000001.wav", "0011_000001", "esd-0011", "neutral", "male"),
        ("ESD/0020/Surprise/0020_001750.wav", "0020_001750", "esd-0020", "surprise", "male"),
    ],
    "nemo": [("samples/SM0_anger_77.wav", "SM0_anger_77", "nemo-SM0", "angry", None)],
    "banglaser": [
        ("Actor_15/01-01-04-02-03-01-15.wav", "03-01-04-02-03-01-15", "banglaser-15", "surprise", "male"),
        ("03-01-05-01-01-02-34.wav", "03-01-05-01-01-02-34", "banglaser-34", "neutral", "female"),
    ],
    "emovo": [
        ("f1/dis-f1-b1.wav", "dis-f1-b1", "emovo-f1", "disgust", "female"),
        ("EMOVO/m3/gio-m3-d1.wav", "gio-m3-d1", "emovo-m3", "happy", "male"),
    ],
    "urdu": [
        ("Angry/SM1_F10_A010.wav", "SM1_F10_A010", "urdu-SM1", "angry", "male"),
        ("Sad/SF6_F2_S026.wav", "SF6_F2_S026", "urdu-SF6", "sad", "female"),
    ],
}  # fmt: skip

STRANGERS = {
    "ravdess": ["03-02-01-01-01-01-01.wav", "03-01-09-01-01-01-01.wav", "03-01-01-01-01-01-25.wav"],
    "ravdess_song": ["03-01-01-01-01-01-01.wav"],
    "savee": ["a01.wav", "XX_a01.wav", "DC_z01.wav", "DC_a1.wav"],
    "emodb": ["03a01Xa.wav", "99a01Fa.wav", "03a01F.wav"],
    "casia": ["angry/201.wav", "wangzhe/201.wav", "wangzhe/angry/sad/201.wav", "liuchang/wangzhe/201.wav"],
    "cremad": ["1092_DFA_ANG_XX.wav", "1001_ABC_ANG_XX.wav", "1001_DFA_SUR_XX.wav", "1000_DFA_ANG_XX.wav"],
    "jlcorpus": ["female3_angry_1a_1.wav", "male1_pensive_1a_1.wav", "fmale1_angry_1a_1.wav"],
    "tess": ["OAF_back_boredom.wav", "MAF_back_angry.wav"],
    "emovdb": ["amused_1-15_0001.wav", "bob_Amused/amused_1-15_0001.wav"],
    "asvpesd": ["03-03-06-01-01-60-02-02.wav", "03-02-99-01-01-60-02-02.wav"],
    "esd": ["0021/Sad/0021_000001.wav", "0001_001751.wav", "0001_000000.wav"],
    "nemo": ["XX0_anger_77.wav", "SM0_boredom_1.wav"],
    "banglaser": ["03-01-06-01-01-01-01.wav", "03-01-01-01-01-01-35.wav", "02-01-01-01-01-01-01.wav"],
    "emovo": ["xyz-f1-b1.wav", "dis-f4-b1.wav", "dis-f1-z9.wav"],
    "urdu": ["XM1_F10_A010.wav", "SM1_F10_B010.wav"],
}  # fmt: skip


def test_all_corpora_are_covered_here() -> None:
    assert set(NAMES) == set(STRANGERS) == set(CORPORA)
    assert len(CORPORA) == 15


@pytest.mark.parametrize(("corpus", "case"), [(c, case) for c, cases in NAMES.items() for case in cases])
def test_official_and_mirrored_names(corpus: str, case: tuple[str, str, str, str, str | None]) -> None:
    path, key, speaker, emotion, sex = case
    fields = CORPORA[corpus].parse(path)
    assert fields is not None
    row = CORPORA[corpus].utterance(path, fields)
    assert (row.id, row.speaker, row.emotion, row.sex) == (f"{corpus}/{key}", speaker, emotion, sex)
    assert row.emotion in CORPORA[corpus].emotions


@pytest.mark.parametrize(("corpus", "path"), [(c, path) for c, paths in STRANGERS.items() for path in paths])
def test_strangers_are_refused(corpus: str, path: str) -> None:
    assert CORPORA[corpus].parse(path) is None


@pytest.mark.parametrize("corpus", CORPORA)
def test_key_rules_match_counts(corpus: str) -> None:
    entry, keys = CORPORA[corpus], official_keys(corpus)
    if keys is None:
        assert corpus == "nemo"
        return
    # BanglaSER itself lacks one clip of its grid.
    assert len(keys) == entry.n_clips + (corpus == "banglaser")
    assert entry.title
    assert entry.citation
    assert entry.url.startswith("http")


@pytest.mark.parametrize(
    ("corpus", "key", "fields"),
    [
        ("tess", "YAF_back_ps.wav", {"age": 26, "text": "back"}),
        ("cremad", "1034_TIE_NEU_XX.wav", {"age": 74, "intensity": None, "text": "TIE"}),
        ("cremad", "1091_TIE_ANG_LO.wav", {"age": 29, "intensity": "low"}),
        ("emodb", "03a01Fa.wav", {"age": 31, "text": "a01"}),
        ("esd", "0001_000351.wav", {"language": "zh", "text": "zh-001"}),
        ("esd", "0011_001750.wav", {"language": "en", "text": "en-350"}),
        ("esd", "0011/Angry/evaluation/0011_000351.wav", {"extra": {"part": "validation"}}),
        ("esd", "0011/Angry/test/0011_000351.wav", {"extra": {"part": "test"}}),
        ("casia", "wangzhe/sad/201.wav", {"text": "201"}),
        ("casia", "wangzhe/sad/100.wav", {"text": "sad-100"}),
        ("ravdess", "03-01-05-02-02-01-01.wav", {"intensity": "strong", "text": "02"}),
        ("asvpesd", "03-01-05-01-02-13-02-03-02-11.wav", {"language": "en", "intensity": "normal"}),
        ("asvpesd", "03-02-05-02-02-13-02-03-02-11.wav", {"language": None, "intensity": "high"}),
    ],
)
def test_other_facts(corpus: str, key: str, fields: dict[str, object]) -> None:
    found = CORPORA[corpus].parse(key)
    assert found is not None
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("corpus", "path"),
    [
        ("ravdess", "Actor_02/03-01-01-01-01-01-01.wav"),
        ("savee", "AudioData/DC/KL_a01.wav"),
        ("tess", "OA_bite_neutral.wav"),
        ("cremad", "1040_ITH_SAD_X.wav"),
        ("asvpesd", "Audio/actor_119/03-01-05-01-02-109-02-03-02-11.wav"),
        ("esd", "0001/Happy/0001_000351.wav"),
        ("banglaser", "01-01-04-02-03-01-15.wav"),
        ("emovo", "f1/dis-f2-b1.wav"),
        ("urdu", "Happy/SM1_F10_A010.wav"),
    ],
)
def test_irregular_names_are_noted(corpus: str, path: str) -> None:
    fields = CORPORA[corpus].parse(path)
    assert fields is not None
    assert fields.note


# -- EmoBox ----------------------------------------------------------------------------------------

LABELS = {
    "savee": {"a": "angry", "d": "disgust", "f": "fear", "h": "happy", "n": "neutral", "sa": "sad",
              "su": "surprise"},
    "urdu": {"A": "angry", "H": "happy", "N": "neutral", "S": "sad"},
    "emodb": {"boredem": "boredom"},
    "emovo": {"gio": "happy", "pau": "fear", "rab": "angry", "sor": "surprise", "tri": "sad"},
    "asvpesd": {
        "01": "boredom", "02": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "fear",
        "07": "disgust", "08": "surprise", "09": "excited", "10": "pleasure", "11": "pain",
        "12": "disappointed", "13": "breath", "17": "unknown",
    },
}  # fmt: skip
"""Labels of EmoBox that are no names."""


def _file_of(corpus: str, row: EmoBoxRow) -> str:
    """The official file name of a key."""
    if corpus == "casia":
        return f"{row.key}.wav"
    if corpus == "emovdb":
        speaker, stem = row.key.split("/")
        return f"{speaker}_{row.label}/{stem}.wav"
    return f"{row.key}.wav"


@pytest.mark.parametrize("corpus", EMOBOX)
def test_emobox_labels_agree(corpus: str) -> None:
    seen: set[str] = set()
    for row in emobox_rows(corpus):
        fields = CORPORA[corpus].parse(_file_of(corpus, row))
        assert fields is not None, row
        assert fields.key == row.key
        assert fields.key not in seen
        seen.add(fields.key)
        assert fields.emotion == (LABELS.get(corpus, {}).get(row.label) or canonical(row.label)), row
    assert len(seen) == CORPORA[corpus].n_clips
    if CORPORA[corpus].keys is not None:
        assert seen == CORPORA[corpus].keys()
    folds = Counter(row.fold for row in emobox_rows(corpus))
    assert tuple(sorted(f for f in folds if f is not None)) == emobox_folds(corpus)
    speakers = {CORPORA[corpus].parse(_file_of(corpus, row)).speaker for row in emobox_rows(corpus)}
    assert len(speakers) == CORPORA[corpus].n_speakers


def _protocols() -> Path:
    folder = Path(os.environ.get("EMOVOX_CORPORA", "")).parent / "protocols" / "emobox"
    if not os.environ.get("EMOVOX_CORPORA") or not folder.is_dir():
        pytest.skip("EMOVOX_CORPORA is unset, or there is no protocols/emobox beside it")
    return folder


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", EMOBOX)
def test_packed_folds_equal_published(corpus: str) -> None:
    with (_protocols() / f"{corpus}.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    published = {CORPORA[corpus].parse(row["file"]).key: (row["label"], row["test_fold"]) for row in table}
    assert len(published) == len(table)
    assert published == {r.key: (r.label, "" if r.fold is None else str(r.fold)) for r in emobox_rows(corpus)}


def test_unknown_corpora_have_no_folds() -> None:
    for ask in (emobox_rows, emobox_folds):
        with pytest.raises(ProtocolError, match="nemo"):
            ask("nemo")


def test_packing_is_reproducible() -> None:
    table = list(emobox_rows("emodb"))
    assert pack_rows(table) == pack_rows(table[::-1])


# -- names of any kind -----------------------------------------------------------------------------

_VALID = [path for cases in NAMES.values() for path, *_ in cases]


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """A valid path with a few characters replaced, dropped or doubled."""
    text = draw(st.sampled_from(_VALID))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(0, len(text) - 1)))
        piece = draw(
            st.sampled_from(
                ["", "0", "٣", "/", "-", "_", "..", "\n", " ", "é", "\udc80", text[place : place + 3] * 2]
            )
        )
        text = text[:place] + piece + text[place + 1 :]
    return text


@given(st.one_of(_mutated(), st.text(max_size=60)))
@settings(max_examples=300, deadline=None)
def test_any_name_is_parsed_or_none(path: str) -> None:
    for corpus in CORPORA.values():
        fields = corpus.parse(path)
        if fields is not None:
            row = corpus.utterance("somewhere/x.wav", fields)
            assert row.emotion in corpus.emotions
            assert row.id.isascii()
            assert row.speaker.isascii()
            assert not set(row.id) & set("\n\r\0\t")
