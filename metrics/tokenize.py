"""Split captions into words as coco-caption does with Stanford's PTBTokenizer 3.4.1, without Java.

The rules below were written from what the Java program prints for given lines; `tests/metrics/ptb_golden.json` holds such lines.

How closely they agree, on each line by itself, with the Java program's words split at all white space (as coco-caption's BLEU and
CIDEr split them): all but 3 of 3,400 lines made to be hard (contractions, money, dates, addresses, escapes, quotes, dashes, 30
scripts); all of Flickr8k's 35,000 captions, of Multi30k's 60,028 English and German sentences and of RNNLG's 21,130; 3 of 25,014 of
COCO; 96% of random strings of such pieces. What differs:

- Sentence ends are not looked for. A caption that ends in a single letter and a period ("plan K.") keeps the period; Java drops
  it when the next caption in the file begins with "A".
- "3 1/2" and "(555) 555-5555" are one word with a no-break space in Java, which BLEU and CIDEr split; its ROUGE-L does not.
- Letters that Unicode has added since 2012 count as letters; Java drops them.
- "’tis", escaped "&apos;n&apos;", several telephone numbers in a row, and words run together that nobody writes ("can'tx").
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from seqrl.metrics.ptb_characters import MARKS, SYMBOLS, known_characters

# An escaped < or > begins no tag, and an escaped letter is part of a word; these stand for them until the words are found.
_LESS, _MORE = "\ue000", "\ue001"
_ESCAPED = {chr(0xE002 + n): f"&{v}{mark};" for n, (v, mark) in enumerate(product("aeiouAEIOU", ("acute", "grave", "uml")))}
_LETTER = rf"(?:[^\W\d_{SYMBOLS}]|[{MARKS}\ue002-\ue01f])"
_ALNUM = rf"(?:[^\W_{SYMBOLS}]|[{MARKS}\ue002-\ue01f])"
_HYPHEN = "[-\u058a\u2010\u2011]"
_CLITIC = r"(?i:s|re|ve|ll|d|m)"
_UNIT = rf"(?:[dolDOL]'(?={_LETTER}{{2}}|\d)(?!{_CLITIC}(?!{_ALNUM})))?{_ALNUM}+"  # d'oeuvre, o'clock

# the period belongs to these words wherever they stand ...
_ABBREVIATIONS = """mr mrs ms dr drs st jr sr etc vs jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
    ala ariz calif colo conn fla ga ind kan kans ky md mich minn mo mont neb nev okla penn tenn va vt wis wyo
    capt cmdr col comdr cpl gen gov hon lt maj msgr pres prof rep rev sen sgt supt pvt adm brig messrs
    rt inc ltd corp co cos plc bhd pty bros dept univ assn cie tel est ext alex wm jos cf ft ct al mt sq ste atty
    natl intl bldg ave rd blvd mfg esq ph\\.d""".split()
# ... to these where they are written with a capital ...
_CAPITAL_ABBREVIATIONS = "Ark La Pa Mass Ore Wash Ill Miss Tex Del".split()
# ... and to these before a number
_NUMBER_ABBREVIATIONS = "no nos pp fig figs art ca op".split()

_FILE_ENDINGS = """bat bmp c cgi class cpp dll docx? exe gif gz h html? jar java jpe?g mov mp3 wav pdf php pl png ppt ps py sql tar txt x
    xml zip""".split()

# a single letter keeps its period unless one of these follows
_SENTENCE_STARTS = "A An The In He It His There This On That We And But At No With".split()

_EMAIL = r"[A-Za-z0-9][^\s\"<>|(){}]*@[^\s\"<>|(){}.]+(?:\.[^\s\"<>|(){}.]+)*"

_RULES = [
    r"\(\d{3}\)[ -]?\d{3}-\d{4}",  # a telephone number
    r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*|/)?>|<[!?][A-Za-z-][^<>]*>",  # a tag of HTML
    r"-(?i:[lr][rsc]b)-",
    r"(?i:https?)://[^\s\"<>|()]+[^\s\"<>|.!?(){},-]",
    r"(?<!/)(?:www\.)?[A-Za-z0-9]+(?:\.[A-Za-z0-9-]+)*\.(?:com|net|org|edu)/[^\s\"<>|()]*[^\s\"<>|.!?(){},-]",
    r"&\#\d+;",
    rf"(?:mailto:)?{_EMAIL}|<{_EMAIL}>",
    r"@[A-Za-z_]\w*",
    rf"\#{_LETTER}+",
    r"[<>]?[:;=]['*o-]?(?:[()DPdpO@|\]\[](?![A-Za-z])|\{)|[:=]\\(?!\w)|\\\*",  # faces
    r"\^_\^|-_-",
    rf"(?i:can(?=not(?!{_ALNUM}))|(?:gon|wan)(?=na(?!{_ALNUM}))|got(?=ta(?!{_ALNUM}))|(?:lem|gim)(?=me(?!{_ALNUM})))",
    rf"(?i:'t(?=(?:is|was)(?!{_ALNUM})))",
    rf"(?i:n['`]t(?!{_LETTER}))",
    rf"[A-Za-z]+?(?=(?i:n['`]t)(?!{_LETTER}))",
    rf"(?i:'(?:em|til|cause)(?!{_ALNUM})|'n'|'n(?!{_ALNUM}))",
    rf"'{_CLITIC}(?![A-Za-z])",
    r"(?<!')'(?:\d\ds?(?=\s|$)|[2-9]0s)",
    rf"(?i:c'mon|c'est|dunkin'|somethin'|ol'(?!{_ALNUM})|li'l|nat'l|s'mores|[dlj]'(?!{_ALNUM}{{2}})|j'(?=ai)|y'(?={_LETTER}))",
    rf"(?!e'en){_LETTER}*[aeiouyAEIOUY]'(?!{_CLITIC}(?!{_ALNUM}))[aeiouA-Z]{_LETTER}*(?:-{_UNIT})*",  # ma'am, hawai'i
    rf"[A-HJ-XZn]'(?!{_CLITIC}(?!{_ALNUM})){_LETTER}{{2,}}",
    r"\d+⁄\d+|\d+ \d+/\d+",
    rf"\d+(?:[.,]\d+)+(?:-{_LETTER}{_ALNUM}*)+",  # 2.5-inch
    rf"\d[A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*\.(?i:{'|'.join(_FILE_ENDINGS)})(?![A-Za-z0-9])",
    r"\d+-\d+/\d+|\d{1,4}/\d{1,4}/\d{1,4}(?![A-Za-z0-9])",
    r"[-+]?\d*(?:[.,:٫٬]\d+)+",
    r"[-+]\d+(?!-)",
    rf"(?!(?i:etc))(?i:{'|'.join(_ABBREVIATIONS)}|no)\.(?:-{_UNIT})+",  # dr.-seuss-book
    rf"(?:(?i:{'|'.join(_ABBREVIATIONS)})|{'|'.join(_CAPITAL_ABBREVIATIONS)})\.(?!{_LETTER})",
    rf"(?i:{'|'.join(_NUMBER_ABBREVIATIONS)})\.(?=\s?\d)",
    rf"[A-Za-z]\.(?!{_LETTER}|\s+(?:{'|'.join(_SENTENCE_STARTS)})(?!{_ALNUM}|\.))|(?i:ph\.d\.)|Ph\.(?=\s+D)",
    rf"(?:{_UNIT}-)?[A-Za-z](?:\.[A-Za-z])+\.(?!{_LETTER})(?:-{_UNIT})*",  # u.s.-based
    rf"{_LETTER}{_ALNUM}*(?:\.{_LETTER}{_ALNUM}*)+\.(?={_LETTER}){_UNIT}|{_LETTER}{_ALNUM}*(?:\.{_LETTER}{_ALNUM}*)+(?:-{_ALNUM}+)*",
    rf"{_LETTER}+[!?]{_LETTER}+",
    r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",  # and/or
    r"[A-Z]+(?:&[A-Z]+)+",
    rf"[Cc]\+\+(?!{_ALNUM})|[CFcf]\#(?!{_ALNUM})|[A-Z]{{1,2}}\$",
    rf"{_UNIT}(?:(?:{_HYPHEN}|_){_UNIT})*",
    r"<<|>>|@{2,}|[!?]+|\*+|\#+|_+|-+|\.+|[^\s\x00-\x1f\x7f]",
]


@cache
def _token() -> re.Pattern[str]:
    # Compiled when it is first needed, which takes a fifth of a second.
    return re.compile("|".join(f"(?:{rule})" for rule in _RULES))


_REMOVED = frozenset(["'", "`", '"', ".", "?", "!", ",", ":", ";", "«", "»", "‹", "›", "“", "”", "–", "—", "―", "…", *"\u058a\u2010\u2011"])
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
    "⅓": "1/3",
    "⅔": "2/3",
    "¤": "$",
    "\x80": "$",
    "\u20a0": "$",
    _LESS: "<",
    _MORE: ">",
}
_ENTITIES = {name[1:-1]: character for character, name in _ESCAPED.items()} | {
    "lt": _LESS,
    "gt": _MORE,
    "amp": "&",
    "quot": '"',
    "apos": "'",
    "nbsp": " ",
    "mdash": " -- ",
    "ndash": " -- ",
}
_ENTITIES |= {name: _ENTITIES[name.lower()] for name in ("LT", "Lt", "GT", "Gt", "AMP", "Amp", "NBSP")}
_ENTITY = re.compile("&([A-Za-z]+);")
_HELD = str.maketrans({_LESS: "&lt;", _MORE: "&gt;"} | _ESCAPED)

_CLITIC_WORD = re.compile(rf"(?i:n?'(?:t|{_CLITIC}))|'")
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
    shown = known_characters(caption)
    escaped = "&" in shown
    if escaped:
        shown = _ENTITY.sub(lambda entity: _ENTITIES.get(entity[1], entity[0]), shown)
    text = shown.replace("\u2019", "'")
    words = []
    for match in _token().finditer(text):
        token = match[0]
        if "'" in token and not _CLITIC_WORD.fullmatch(token):
            token = shown[match.start() : match.end()]
        if escaped and token not in _WRITTEN:
            token = token.translate(_HELD)
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
