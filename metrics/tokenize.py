"""Split captions into words as coco-caption does with Stanford's PTBTokenizer 3.4.1, without Java.

The rules below were written from what the Java program prints for given lines; `tests/metrics/test_tokenize.py` holds such
lines. Sentence ends are not looked for: they only decide over further periods, which are removed anyway.
"""

from __future__ import annotations

import html
import re

_LETTER = r"(?:[^\W\d_²³¹¼½¾]|[\u0300-\u036f\u0900-\u109f])"
_ALNUM = r"(?:[^\W_²³¹¼½¾]|[\u0300-\u036f\u0900-\u109f])"
_CLITIC = r"(?i:s|re|ve|ll|d|m)"
_UNIT = rf"(?:[dolDOL]'(?={_LETTER})(?!{_CLITIC}(?!{_ALNUM})))?{_ALNUM}+"  # d'oeuvre, o'clock

# the period belongs to these words wherever they stand ...
_ABBREVIATIONS = """mr mrs ms dr drs st jr sr etc vs jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
    ala ariz calif colo conn fla ga ind kan kans ky md mich minn mo mont neb nev okla penn tenn va vt wis wyo
    capt cmdr col comdr cpl gen gov hon lt maj msgr pres prof rep rev sen sgt supt pvt adm brig messrs
    rt inc ltd corp co cos plc bhd pty bros dept univ assn cie tel est ext alex wm jos cf ft ct al mt sq ste atty
    natl intl bldg ave rd blvd mfg esq ph\\.d""".split()
# ... to these where they are written with a capital ...
_CAPITAL_ABBREVIATIONS = "Ark La Pa Mass Ore Wash Ill Miss Tex Del".split()
# ... and to these before a number
_NUMBER_ABBREVIATIONS = "no nos pp fig figs art".split()

# a single letter keeps its period unless one of these follows
_SENTENCE_STARTS = "A An The In He It His There This On That We And But At No With".split()

_RULES = [
    r"\(\d{3}\)[ -]?\d{3}-\d{4}",  # a telephone number
    r"</?[A-Za-z][^<>]*>",  # a tag of HTML
    r"(?i:https?)://[^\s\"<>|()]+[^\s\"<>|.!?(){},-]",
    r"[A-Za-z0-9][^\s\"<>|()@,;:!?'`]*@[\w-]+(?:\.[\w-]+)*",
    r"@[A-Za-z_]\w*",
    r"\#[A-Za-z_]+",
    r"[<>]?[:;=]['*o-]?(?:[()DPdpO@|\]\[](?![A-Za-z])|\{)",  # faces
    r"\^_\^|-_-",
    rf"(?i:can(?=not(?!{_ALNUM}))|(?:gon|wan)(?=na(?!{_ALNUM}))|got(?=ta(?!{_ALNUM}))|(?:lem|gim)(?=me(?!{_ALNUM})))",
    rf"(?i:'t(?=(?:is|was)(?!{_ALNUM})))",
    rf"(?i:n['`]t(?!{_ALNUM}))",
    rf"{_ALNUM}+?(?=(?i:n['`]t)(?!{_ALNUM}))",
    rf"(?i:'(?:em|til|cause)(?!{_ALNUM})|'n'|'n(?!{_ALNUM}))",
    rf"'{_CLITIC}(?!{_ALNUM})",
    r"'\d\ds?(?=\s|$)|'[2-9]0s",
    rf"(?i:c'mon|c'est|dunkin'|somethin'|ol'(?!{_ALNUM})|[dlj]'(?!{_ALNUM})|j'(?=ai)|y'(?={_LETTER}))",
    rf"{_LETTER}*[aeiouyAEIOUY]'(?!{_CLITIC}(?!{_ALNUM}))[aeiouA-Z]{_LETTER}*(?:-{_UNIT})*",  # ma'am, hawai'i
    rf"[A-HJ-XZn]'(?!{_CLITIC}(?!{_ALNUM})){_LETTER}{{2,}}",
    r"\d+-\d+/\d+|\d{1,4}/\d{1,4}/\d{1,4}(?!\d)",
    r"[-+]?\d*(?:[.,:]\d+)+",
    r"[-+]\d+(?!-)",
    rf"(?:(?i:{'|'.join(_ABBREVIATIONS)})|{'|'.join(_CAPITAL_ABBREVIATIONS)})\.(?!{_LETTER})",
    rf"(?i:{'|'.join(_NUMBER_ABBREVIATIONS)})\.(?=\s?\d)",
    rf"{_LETTER}\.(?!{_LETTER}|\s+(?:{'|'.join(_SENTENCE_STARTS)})(?!{_ALNUM}))",
    rf"{_LETTER}(?:\.{_LETTER})+\.(?!{_LETTER})(?:-{_UNIT})*",  # u.s.-based
    rf"{_LETTER}{_ALNUM}*(?:\.{_LETTER}{_ALNUM}*)+\.(?={_LETTER}){_UNIT}|{_LETTER}{_ALNUM}*(?:\.{_LETTER}{_ALNUM}*)+(?:-{_ALNUM}+)*",
    rf"{_LETTER}+[!?]{_LETTER}+",
    rf"{_ALNUM}+(?:-{_LETTER}+){{0,2}}(?:/{_ALNUM}+(?:-{_LETTER}+){{0,2}}){{1,2}}",  # and/or
    r"[A-Z]+(?:&[A-Z]+)+",
    rf"[Cc](?:\+\+|\#)(?!{_ALNUM})|[A-Z]{{1,2}}\$",
    rf"{_UNIT}(?:[-_]{_UNIT})*",
    r"[!?]+|\*+|\#+|_+|-+|\.+|\S",
]
_TOKEN = re.compile("|".join(f"(?:{rule})" for rule in _RULES))

_REMOVED = frozenset(["'", "`", '"', ".", "?", "!", ",", ":", ";", "«", "»", "‹", "›", "“", "”", "–", "—", "―", "…"])
_RUNS = frozenset("-.")
_WRITTEN = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "¢": "cents",
    "¼": "1/4",
    "½": "1/2",
    "¾": "3/4",
}
_NORMALISED = str.maketrans(
    {
        "\u2019": "'",
        "\u2018": "`",
        "\u00a0": " ",
        "\u00ad": "",
        "\u200b": " ",
        "\ufeff": " ",
        "\u2010": " ",
        "\u2011": " ",
        "\u2012": " ",
        "\ufe0f": " ",
    }
)
_UNTOKENISABLE = re.compile("[\U00010000-\U0010ffff]")
_ROUND = re.compile(r"[(){}]")

# most captions hold plain words only; they are split without the rules, ten times as fast
_PLAIN = re.compile(r"\s*([A-Za-z]+(?:,? +[A-Za-z]+)*)(?: *\.)?\s*")
_NOT_PLAIN = frozenset(["cannot", "gonna", "wanna", "gotta", "lemme", "gimme"])
_WITH_PERIOD = frozenset([*_ABBREVIATIONS, *(word.lower() for word in _CAPITAL_ABBREVIATIONS)])


def ptb_tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words without punctuation, as coco-caption does before it scores.

    Contractions and possessives come apart ("can't" -> "ca", "n't"; "dog's" -> "dog", "'s"), hyphenated words and
    abbreviations stay whole, brackets are written out ("-lrb-"), and the 18 punctuation marks of coco-caption are removed.

    Args:
        caption: one caption as written by a person; line breaks count as spaces.

    Returns:
        The words; empty where there are none.

    Source: PTBTokenizer of Stanford CoreNLP 3.4.1 with -lowerCase, and the list in coco-caption's `ptbtokenizer.py`.
    """
    plain = _PLAIN.fullmatch(caption)
    if plain:
        words = plain[1].lower().replace(",", "").split()
        if _NOT_PLAIN.isdisjoint(words) and len(words[-1]) > 1 and words[-1] not in _WITH_PERIOD:
            return words
    text = html.unescape(caption) if "&" in caption else caption
    text = _UNTOKENISABLE.sub(" ", text.translate(_NORMALISED))
    words = []
    for token in _TOKEN.findall(text):
        if token in _REMOVED or (token[0] in _RUNS and token[-1] in _RUNS and not token.strip("-.")):
            continue
        if token in _WRITTEN:
            words.append(_WRITTEN[token])
        elif token.isalpha():
            words.append(token.lower())
        elif token[0] in "(<>:;=" and len(token) > 1 and token[-1] != ">":
            words.extend(_ROUND.sub(lambda bracket: _WRITTEN[bracket[0]], token.lower()).split())
        else:
            words.extend(token.lower().split())  # a tag or a telephone number may hold spaces
    return words
