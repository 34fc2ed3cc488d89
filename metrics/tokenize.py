"""Split captions into words as coco-caption does with Stanford's PTBTokenizer 3.4.1, without Java.

The rules below were written from what the Java program prints for given lines; `tests/metrics/ptb_golden.json` holds such lines, and
`benchmarks/tokeniser.py` counts how many words agree on COCO, Flickr8k, Multi30k, RNNLG and on random lines. What differs:

- Each caption is read by itself. The Java program also looks at the caption that follows in the file: of "plan K." it drops the period
  when the next line begins with "A" or another word that begins sentences.
- "3 1/2" and "(555) 555-5555" are one word with a no-break space in Java, which BLEU and CIDEr split; its ROUGE-L does not.
- Letters that Unicode has added since 2012 count as letters; Java drops them.
- Addresses, file names and words with periods inside are looked for up to a length of 254 characters, so that the time grows with
  the length of the text only. A plain word may have any length.
- Escaped "&apos;n&apos;", several telephone numbers in a row, quotes within quotes, and pieces run together that nobody writes ("Jan.-5").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import product

from seqrl.metrics.ptb_characters import LISTS, MARKS, SYMBOLS, known_characters

# An escaped < or > begins no tag, and an escaped letter is part of a word; these stand for them until the words are found.
_LESS, _MORE = "\ue000", "\ue001"
_ESCAPED = {chr(0xE002 + n): f"&{v}{mark};" for n, (v, mark) in enumerate(product("aeiouAEIOU", ("acute", "grave", "uml")))}
_LETTER = rf"(?:[^\W\d_{SYMBOLS}]|[{MARKS}\ue002-\ue01f])"
_ALNUM = rf"(?:[^\W_{SYMBOLS}]|[{MARKS}\ue002-\ue01f])"
_HYPHEN = "[-\u058a\u2010\u2011]"
_CLITIC = r"(?i:s|re|ve|ll|d|m)"
_APOSTROPHE = "['\u2019]"
_MARK = "['`\u2019]"
_UNIT = rf"(?:[dolDOL]{_MARK}(?={_LETTER}{{2}}|\d)(?!{_CLITIC}(?!{_ALNUM})))?{_ALNUM}+"  # d'oeuvre, o'clock

_WORD = rf"{_UNIT}(?:(?:{_HYPHEN}|_){_UNIT})*"

# Names are bounded, so that long text without any takes no longer than its length says.


def _either(name: str, *cases: Callable[[str], str]) -> str:
    """Give a pattern for the words of a list, each in some cases."""
    return "|".join(case(word) for word in LISTS[name] for case in cases or (str,))


_EMAIL = r"[A-Za-z0-9][^\s\"<>|(){}]{0,254}@[^\s\"<>|(){}.]++(?:\.[^\s\"<>|(){}.]++)*+"

_DOMAIN = rf"(?<!/)(?:www\.)?{_ALNUM}{{1,63}}(?:\.(?:{_ALNUM}|-){{1,63}}){{0,8}}\.(?i:com|net|org|edu)"
_EYE = "[-^'<>=~]"

_RULES = [
    # most words are found by this one, without looking at the others
    r"(?!(?i:cannot|gonna|wanna|gotta|lemme|gimme)(?:\s|$))[A-Za-zÀ-ÖØ-öø-ÿ]++(?=\s|$)",
    r"\(\d{3}\)[ -]?\d{3}-\d{4}",  # a telephone number
    r"""<[A-Za-z][A-Za-z0-9_:.-]*(?:\s+[A-Za-z][A-Za-z0-9_:.-]*(?:=(?:"[^"]*"|'[^']*'))?)*\s*/?\s*>|</[A-Za-z][A-Za-z0-9_:.-]*\s*>"""
    r"|<[!?][A-Za-z-][^<>]*>",  # a tag of HTML
    r"-(?i:[lr][rsc]b)-",
    r"(?i:https?)://[^\s\"<>|()]+[^\s\"<>|.!?(){},-]",
    rf"{_DOMAIN}/[^\s\"<>|()]+[^\s\"<>|.!?(){{}},-]",
    rf"[^\w\s\"<>|(){{}}\[\],.!?;:=$/'`@\\-]{_DOMAIN}(?:/[^\s\"<>|()]+[^\s\"<>|.!?(){{}},-])?",  # *x.com
    rf"(?i:www)(?:\.{_LETTER}{_ALNUM}*)+(?:-{_ALNUM}+)*+(?!\.{_ALNUM}|[^\s\"<>|.!?(){{}},-])",
    r"(?i:www\.)(?:[^\s\"<>|.!?(){},]{1,254}\.){1,8}[A-Za-z]{2,4}",
    r"&\#\d+;",
    rf"(?:mailto:)?{_EMAIL}>?|<{_EMAIL}>?",
    r"@[A-Za-z_][A-Za-z0-9_]*",
    rf"\#{_LETTER}+",
    r"[<>]?[:;=]['*o-]?[()DPdpO@|\]\[{\\](?![A-Za-z0-9])|\\\*",  # faces
    rf"{_EYE}_{_EYE}|\({_EYE}[_.]?{_EYE}\)",
    r"[A-Za-z0-9]{1,254}+[.,][A-Za-z0-9.,]{0,254}+(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9]+))+(?:\.(?=[,;:\u3001]))?",  # red,blue-green
    rf"{_WORD}\.(?=[,;:\u3001])",  # an abbreviation, to judge by what follows
    "''",
    rf"(?i:can(?=not(?!{_ALNUM}))|(?:gon|wan)(?=na(?!{_ALNUM}))|got(?=ta(?!{_ALNUM}))|(?:lem|gim)(?=me(?!{_ALNUM})))",
    "(?i:'t(?=is|was))",
    rf"(?i:n{_MARK}t){_LETTER}*",
    rf"[A-Za-z]*?[A-MO-Za-mo-z](?=(?i:n{_MARK}t))",
    rf"(?i:{_APOSTROPHE}(?:em|till?|cause)|{_APOSTROPHE}n(?:{_APOSTROPHE}|(?=\s|$)))",
    rf"'{_CLITIC}(?![A-Za-z])|\u2019{_CLITIC}",
    rf"{_APOSTROPHE}(?:\d\ds?(?=\s|$)|[2-9]0s)",
    rf"(?i:c{_APOSTROPHE}mon|c{_APOSTROPHE}est|dunkin{_APOSTROPHE}|somethin{_APOSTROPHE}|ol{_APOSTROPHE}(?!{_ALNUM})|li{_APOSTROPHE}l|e{_APOSTROPHE}er"
    rf"|nat{_APOSTROPHE}l|s{_APOSTROPHE}mores|[dlj]{_APOSTROPHE}(?!{_ALNUM}{{2}})|j{_APOSTROPHE}(?=ai)|y{_APOSTROPHE}(?={_LETTER}))",
    rf"{_LETTER}+?[aeiouyAEIOUY]{_MARK}(?!{_CLITIC}(?!{_ALNUM}))[aeiouA-Z]{_LETTER}*",  # ma'am, hawai'i
    rf"[A-HJ-XZn]{_MARK}(?!{_CLITIC}(?!{_ALNUM})){_LETTER}{{2,}}",
    r"\d+⁄\d+|\d+ \d+\\?/\d+",
    rf"\d+(?:[.,]\d+)+(?:-{_LETTER}{_ALNUM}*)+",  # 2.5-inch
    rf"\d[A-Za-z0-9_]{{0,254}}(?:\.[A-Za-z0-9_-]{{1,254}}){{0,8}}\.(?i:{_either('file_endings')})(?=[\s.,?!]|$)",
    r"\d+-\d+\\?/\d+|\d{1,4}\\?/\d{1,4}\\?/\d{1,4}(?![A-Za-z0-9])",
    r"[-+]?\d*(?:[.,:٫٬]\d+)+",
    r"[-+]\d+",
    rf"(?!(?i:etc))(?i:{_either('abbreviations')}|{_either('small_abbreviations')}|no)\.(?:-{_UNIT})+",  # dr.-seuss-book
    rf"(?:(?i:{_either('abbreviations')})|{_either('capital_abbreviations', str.title, str.upper)}"
    rf"|{_either('small_abbreviations', str.lower, str.title)})\.(?!{_LETTER})",
    rf"(?i:{_either('number_abbreviations')})\.(?=\s?\d)",
    rf"[A-Za-z]\.(?!{_LETTER}|\s+(?:(?:{_either('sentence_starts', str.title, str.upper)})(?!\S)|M[rs]\.|</?[A-Za-z]))",
    r"(?i:ph\.d\.)|Ph\.(?=\s+D)",
    rf"(?:{_UNIT}-)?[A-Za-z](?:\.[A-Za-z])+\.(?!{_LETTER})(?:-{_UNIT})*",  # u.s.-based
    rf"{_LETTER}{_ALNUM}*(?:\.{_LETTER}{_ALNUM}*)*[!?]{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*",
    rf"{_LETTER}{_ALNUM}*(?:\.{_LETTER}{_ALNUM}*)+(?:-{_ALNUM}+)*(?:\.(?=[,;:\u3001]))?",
    r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",  # and/or
    r"[A-Z]+(?:[&+][A-Z]+)+(?:\.(?=[,;:\u3001]))?",
    r"[Cc]\+\+|[CFcf]\#|[A-Z]+\$",
    _WORD,
    r"<<|>>|@{2,}|[!?]+|\*+|\#+|_+|-+|\.{3,}|[^\s\x00-\x1f\x7f]",
]


@cache
def _token() -> re.Pattern[str]:
    # Compiled when it is first needed, which takes a fifth of a second.
    return re.compile("|".join(f"(?:{rule})" for rule in _RULES))


# a longer run of dashes is a word for the Java program
_REMOVED = frozenset([*"'`\".?!,:;«»‹›“”–—―…\u058a\u2010\u2011", "''", "-", "--", "---", "----"])
_WRITTEN = dict(
    zip(
        f"()[]{{}}£€¢¼½¾⅓⅔¤\x80\u20a0{_LESS}{_MORE}",
        "-lrb- -rrb- -lsb- -rsb- -lcb- -rcb- # $ cents 1/4 1/2 3/4 1/3 2/3 $ $ $ < >".split(),
        strict=True,
    )
)
_ENTITIES = {name[1:-1]: character for character, name in _ESCAPED.items()}
_ENTITIES |= {"lt": _LESS, "gt": _MORE, "amp": "&", "quot": '"', "apos": "'", "nbsp": " ", "mdash": " -- ", "ndash": " -- "}
_ENTITIES |= {name: _ENTITIES[name.lower()] for name in ("LT", "Lt", "GT", "Gt", "AMP", "Amp", "NBSP")}
_ENTITY = re.compile("&([A-Za-z]+);")
_HELD = str.maketrans({_LESS: "&lt;", _MORE: "&gt;"} | _ESCAPED)

_CURLED_CLITIC = re.compile(rf"(?i:n?\u2019(?:t|{_CLITIC}))|\u2019")
_ROUND = re.compile(r"[()]")

# most captions hold plain words only; they are split without the rules, ten times as fast
_PLAIN = re.compile(r"\s*([A-Za-z]+(?:,? +[A-Za-z]+)*)(?: *\.)?\s*")
_NOT_PLAIN = frozenset(["cannot", "gonna", "wanna", "gotta", "lemme", "gimme"])
_WITH_PERIOD = frozenset(word.lower() for kind in ("", "small_", "capital_") for word in LISTS[f"{kind}abbreviations"])


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
    text = known_characters(caption)
    escaped = "&" in text
    if escaped:
        text = _ENTITY.sub(lambda entity: _ENTITIES.get(entity[1], entity[0]), text)
    words = []
    for token in _token().findall(text):
        if "\u2019" in token and _CURLED_CLITIC.fullmatch(token):
            token = token.replace("\u2019", "'")
        if escaped and token not in _WRITTEN:
            token = token.translate(_HELD)
        if token in _REMOVED or not token.strip("."):
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
