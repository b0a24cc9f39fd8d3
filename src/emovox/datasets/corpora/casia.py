"""CASIA (Mandarin): ``liuchanhg/angry/201.wav``: speaker / emotion / sentence.

Mirrors reverse the order (``sad/201-sad-zhaoquanyin.wav``), join the parts, or name the folders in Chinese or
pinyin, so the three facts are looked for among all words of the path. The stems repeat from folder to folder:
a key is speaker/emotion/sentence. The public part holds the sentences 201 to 250.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["CASIA"]

_NAMES = {
    "angry": ("angry", "anger", "生气", "愤怒", "shengqi", "fennu"),
    "fear": ("fear", "害怕", "恐惧", "haipa", "kongju"),
    "happy": ("happy", "高兴", "快乐", "开心", "gaoxing", "kuaile", "kaixin"),
    "neutral": ("neutral", "中性", "平静", "zhongxing", "pingjing"),
    "sad": ("sad", "悲伤", "伤心", "难过", "beishang", "shangxin", "nanguo"),
    "surprise": ("surprise", "surprised", "惊讶", "惊奇", "吃惊", "jingya", "jingqi", "chijing"),
}
_CODES = {word: emotion for emotion, words in _NAMES.items() for word in words}
_SPEAKERS = {
    "liuchanhg": "liuchanhg",
    "liuchang": "liuchanhg",
    "chang.liu": "liuchanhg",
    "wangzhe": "wangzhe",
    "zhe.wang": "wangzhe",
    "zhaoquanyin": "zhaoquanyin",
    "quanyin.zhao": "zhaoquanyin",
    "zhaozuoxiang": "zhaozuoxiang",
    "zuoxiang.zhao": "zhaozuoxiang",
}
_SEX = {"liuchanhg": "female", "wangzhe": "male", "zhaoquanyin": "female", "zhaozuoxiang": "male"}
# Sentences that every speaker says in every emotion; below 201 each emotion has words of its own.
_SAME_TEXT = range(201, 501)


def _keys() -> frozenset[str]:
    return frozenset(f"{s}/{e}/{n}" for s, e, n in product(_SEX, _NAMES, range(201, 251)))


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str] | None:
    words = [word for part in (*path.parent.parts, path.stem) for word in re.split(r"[-_\s]+", part.lower())]
    speakers = {_SPEAKERS[word] for word in words if word in _SPEAKERS}
    originals = [word for word in words if word in _CODES]
    numbers = re.findall(r"(?<!\d)\d{3}(?!\d)", path.stem, re.ASCII)
    if len(speakers) != 1 or len({_CODES[word] for word in originals}) != 1 or len(numbers) != 1:
        return None
    speaker, emotion, number = speakers.pop(), _CODES[originals[0]], numbers[0]
    return {
        "key": f"{speaker}/{emotion}/{number}",
        "speaker": speaker,
        "emotion": originals[0],
        "text": number if int(number) in _SAME_TEXT else f"{emotion}-{number}",
    }


CASIA = Corpus(
    name="casia",
    title="CASIA Chinese emotional corpus, public part",
    licence="research; the whole corpus is sold by its makers",
    commercial=False,
    citation=(
        "Institute of Automation, Chinese Academy of Sciences: CASIA Mandarin emotional speech corpus, 2008"
    ),
    url="http://www.chineseldc.org/resource_info.php?rid=76",
    access="gated: order from Chinese LDC",
    language="zh",
    n_clips=1200,
    n_speakers=4,
    pattern=r"(?s:.*)",
    codes=_CODES,
    speakers={name: (sex, None) for name, sex in _SEX.items()},
    resolve=_resolve,
    inner="|".join(re.escape(word) for word in (*_SPEAKERS, "ZhaoZuoxiang", *_CODES)),
    known_defects=("no disgust", "file stems repeat across folders"),
    keys=_keys,
)
