"""Which rules X is given for what is wanted. Pure: bindings in, rules out; nothing is asked or kept here.

A label becomes an *expression* of X's rule language (`nfl`, `"super bowl"`, `#ai`, `from:nasa`), and expressions are
OR-ed into as few rules as fit. Keys come from strangers: an expression is a bare word of ASCII letters and digits, an
operator with a value of known shape, or a text in quotes that has nothing in it which could end them. What can't be
said so is not asked for.

- X finds whole tokens: `term.nfl` is asked for as the word, and "inflation" comes only if something else brings it.
- X compares without case but not as `fold` does: `term.strasse` does not bring "Straße". A final sigma is put back.
- `lang:`, `has:links` and `has:media` X takes only in company of something narrower. The company is what is on the
  allow-list: `(nfl OR #ai) lang:en`.
- A changed rule is a deleted and an added one, and for about 20 seconds nothing comes by it. So a rule that is wanted
  as it is stays, and what is new gets a rule of its own, until there are many more rules than needed.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from shared.labels import Label, LabelError, is_pattern, parse_key, parse_path

TAG = "roost"
"""The tag of our rules; rules with another or none are left alone."""
MAX_RULE_CHARACTERS = 1024
"""Longest rule, in UTF-16 units: X says "characters", and this is the strictest reading."""
MAX_RULES = 1000
"""Most rules that X holds."""
MAX_COMPANY_CHARACTERS = 600
"""Longest part of a rule that is company; a longer allow-list makes several rules."""

_LANGUAGES = (
    "am ar bg bn bo bs ca ckb cs cy da de dv el en es et eu fa fi fr gu hi hi-Latn hr ht hu hy in is it iw ja ka km "
    "kn ko lo lt lv ml mr my ne nl no or pa pl ps pt ro ru sd si sk sl sr sv ta te th tl tr ug uk ur vi zh-CN zh-TW"
)
_STOP_WORDS = "a an and at but by com from http https if in is it its me my or rt the this to too via we www you"

LANGUAGES: Mapping[str, str] = {code.lower(): code for code in _LANGUAGES.split()}
"""The languages that X's `lang:` takes, by their folded codes."""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that X refuses where they stand alone."""

_OPERATORS = frozenset({"or", "and", "not"})
_IN_COMPANY = frozenset({"lang", "has_url", "has_media"})
_OR = " OR "
# What people may write in the place of rooms, and would be taken for terms.
_NO_ROOMS = {
    "#": "say tag/ai for a hashtag",
    "@": "say from/nasa for an author",
    ";": "put commas between rooms",
    "://": "say what stands in the URL after the host, such as nfl or tag/ai",
}
# What ends a quoted text, or is taken for its end by software that is kind to typewriters, and what escapes that.
_ENDS_QUOTES = frozenset('"\\“”„‟〝〞〟″‶')
# What looks like nothing, although Unicode has it among letters, marks or symbols.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_VARIATIONS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_EMOJI = frozenset(map(chr, range(0x1F000, 0x1FB00)))
_JOINERS = "\u200c\u200d"
# Persian words and emoji have them inside; anywhere else they are not to be seen.
_STRAY_JOINER = re.compile(f"(?:^|[ {_JOINERS}])[{_JOINERS}]|[{_JOINERS}](?:$| )")
_FINAL_SIGMA = re.compile(r"(?<=\w)σ(?!\w)")
_SCREEN_NAME = re.compile(r"[a-z0-9_]{1,15}")
_SEPARATOR = re.compile(r";[^\S\n]*\n?|\n")

_LOOSE_RULES = 25
_LOOSE_SHARE = 1.5
_Group = tuple[str, ...]


class Rule(NamedTuple):
    """A rule as X gets it."""

    value: str
    labels: tuple[str, ...]
    """Canonical keys of the labels it is there for."""


class Plan(NamedTuple):
    """What to ask X for."""

    rules: tuple[Rule, ...]
    not_asked: tuple[str, ...]
    """Canonical keys, sorted, of what is wanted and has no rule."""


class Difference(NamedTuple):
    """What to do about the rules that X holds."""

    add: tuple[str, ...]
    """Values of rules."""
    delete: tuple[str, ...]
    """Ids of rules."""


class Wishes:
    """What X may be asked for, of all that is wanted. By default, nothing."""

    def __init__(self, *, allow: Sequence[str], min_bindings: int) -> None:
        """`allow` are rooms as in a URL: `nfl`, `tag/ai`, `from/nasa`, `url`, `lang/en`.

        A label that is not among them is asked for if at least `min_bindings` queues or exchanges are bound by it; 0
        is never. Raises `ValueError`, naming it, for what can't be asked of X or is not written as a room.
        """
        if min_bindings < 0:
            raise ValueError(f"{min_bindings} is not a number of bindings")
        self._min_bindings = min_bindings
        self._allow = frozenset(map(_allowed, allow))
        alone = [label for label in self._allow if label.family not in _IN_COMPANY]
        self._company = sorted({text for label in alone if (text := expression(label))})

    def plan(
        self, holders: Mapping[str, Collection[str]], refused: Collection[str] = (), current: Sequence[Rule] = ()
    ) -> Plan:
        """The rules for what is wanted.

        `holders` are binding keys and who is bound by each; whoever is bound by several spellings of a label counts
        once. `refused` are keys of labels that X did not take. `current` are the rules there are, of which as many as
        possible are in the plan again; their values alone count. What is asked for in company is in several rules if
        the company is long.
        """
        bad = {expression(label) for key in refused if (label := _label(key))}
        alone: dict[str, list[str]] = defaultdict(list)
        in_company: dict[str, list[str]] = defaultdict(list)
        wanted = {label: len(names) for label, names in _bound(holders).items()}
        # What more people want comes first, in case there is not room for all.
        for label in sorted(wanted, key=lambda label: (-wanted[label], label.key)):
            text = expression(label)
            if text and text not in bad and self._may_cost(label, wanted[label]):
                (in_company if label.family in _IN_COMPANY else alone)[text].append(label.key)
        rules = _alone(alone, current)
        company = [text for text in self._company if text not in bad]
        rules += _in_company(in_company, company, current, MAX_RULES - len(rules))
        asked = {key for rule in rules for key in rule.labels}
        return Plan(tuple(rules), tuple(sorted({label.key for label in wanted} - asked)))

    def _may_cost(self, label: Label, bindings: int) -> bool:
        return label in self._allow or 0 < self._min_bindings <= bindings


def expression(label: Label) -> str | None:
    """What to ask X for to get the tweets of `label`; None if X can't be asked for them."""
    text: str | None = None
    match label.family:
        case "term" | "word":
            text = _keyword(label.value)
        case "tag":
            text = _hashtag(label.value)
        case "from" if _SCREEN_NAME.fullmatch(label.value):
            text = f"from:{label.value}"
        case "lang" if label.value in LANGUAGES:
            text = f"lang:{LANGUAGES[label.value]}"
        case "has_url":
            text = "has:links"
        case "has_media":
            text = "has:media"
    return text


def fixed(text: str) -> list[str]:
    """The rules in a setting, separated by `;` or new lines; the same one twice is one.

    Raises `ValueError` if there is none, one is empty or too long, or there are more than X holds. Whether X takes
    them is not looked at.
    """
    rules = [part.strip() for part in _SEPARATOR.split(text.strip().removesuffix(";").strip())]
    for number, rule in enumerate(rules, 1):
        if not rule:
            raise ValueError(f"rule {number} is empty")
        if _size(rule) > MAX_RULE_CHARACTERS:
            raise ValueError(f"rule {number} ({rule[:20]}…) is longer than {MAX_RULE_CHARACTERS} characters")
    rules = list(dict.fromkeys(rules))
    if len(rules) > MAX_RULES:
        raise ValueError(f"{len(rules)} rules are more than the {MAX_RULES} that X holds")
    return rules


def halves(rule: Rule) -> tuple[Rule, Rule] | None:
    """Two rules which ask together for what `rule` asks for, to find out which part of it X does not take.

    None when it serves one expression only, or is not one that was planned here.
    """
    served: dict[str, list[str]] = defaultdict(list)
    for key in rule.labels:
        label = _label(key)
        if not label or not (text := expression(label)):
            return None
        served[text].append(key)
    texts = tuple(served)
    company = rule.value.removesuffix(f" {_any_of(texts)}")
    if len(texts) < 2 or rule.value not in (_OR.join(texts), f"{company} {_any_of(texts)}"):
        return None
    middle = len(texts) // 2
    parts = (texts[:middle], texts[middle:])
    if rule.value == _OR.join(texts):
        first, second = (Rule(_OR.join(part), _keys(part, served)) for part in parts)
    else:
        first, second = (Rule(f"{company} {_any_of(part)}", _keys(part, served)) for part in parts)
    return first, second


def difference(wanted: Iterable[str], there: Iterable[Mapping[str, object]]) -> Difference:
    """What to add and delete so that X holds the rules `wanted`, and those of others, and no more.

    `there` is what X lists: `id`, a text or a number, `value`, and `tag`, which may be null or missing. A rule of
    others with a wanted value serves as well, and X would not take it twice.
    """
    missing = dict.fromkeys(wanted)
    ours: list[Mapping[str, object]] = []
    for rule in there:
        if is_ours(rule):
            ours.append(rule)
        else:
            missing.pop(str(rule.get("value")), None)
    delete = []
    for rule in ours:
        value, ident = rule.get("value"), rule.get("id")
        if isinstance(value, str) and value in missing:
            del missing[value]
        elif isinstance(ident, (str, int)):
            delete.append(str(ident))
    return Difference(tuple(missing), tuple(delete))


def is_ours(rule: Mapping[str, object]) -> bool:
    """Whether a rule that X lists was made by us."""
    tag = rule.get("tag")
    return tag == TAG


def _allowed(room: str) -> Label:
    """The label of a room on the allow-list."""
    for written, how in _NO_ROOMS.items():
        if room.startswith(written) if written in "#@" else written in room:
            raise ValueError(f"{room!r}: {how}")
    try:
        label = parse_path(room)
    except LabelError as error:
        raise ValueError(f"{room!r}: {error}") from None
    if not expression(label):
        raise ValueError(f"{room!r} can't be asked of X")
    return label


def _label(key: str) -> Label | None:
    try:
        return parse_key(key)
    except LabelError:
        return None


def _bound(holders: Mapping[str, Collection[str]]) -> dict[Label, set[str]]:
    """Who is bound by each label. Patterns and actions say nothing of what people watch."""
    bound: dict[Label, set[str]] = defaultdict(set)
    for key, names in holders.items():
        if names and not is_pattern(key) and (label := _label(key)) and label.family != "action":
            bound[label].update(names)
    return bound


def _keyword(value: str) -> str | None:
    """A text as X finds it: a bare word, or tokens in their order, in quotes."""
    if value.isascii() and value.isalnum() and value not in _OPERATORS:
        return None if value in STOP_WORDS else value
    kinds = [_kind(character) for character in value]
    text = "".join(" " if kind == "Zs" else character for character, kind in zip(value, kinds, strict=True))
    unseen = any(
        character in _BLANKS or ((kind[0] == "C" or kind in ("Zl", "Zp")) and character not in _JOINERS)
        for character, kind in zip(value, kinds, strict=True)
    )
    if unseen or kinds[0][0] == "M" or _STRAY_JOINER.search(text):
        return None
    if not _ENDS_QUOTES.isdisjoint(text) or not _ENDS_QUOTES.isdisjoint(unicodedata.normalize("NFKC", text)):
        return None
    if not any(kind[0] in "LN" or kind == "So" for kind in kinds):
        return None
    if "So" not in kinds and STOP_WORDS.issuperset(re.findall(r"\w+", text)):
        return None
    return f'"{_FINAL_SIGMA.sub("ς", " ".join(text.split()))}"'


def _hashtag(value: str) -> str | None:
    kinds = [_kind(character) for character in value]
    plain = all(
        character == "_" or kind in ("Nd", "Mn", "Mc") or kind[0] == "L"
        for character, kind in zip(value, kinds, strict=True)
    )
    if not plain or kinds[0][0] == "M" or _VARIATIONS.search(value) or not _BLANKS.isdisjoint(value):
        return None
    return f"#{_FINAL_SIGMA.sub('ς', value)}" if any(kind[0] == "L" for kind in kinds) else None


def _kind(character: str) -> str:
    """Its category in Unicode, in which emoji that are newer than Python are symbols too."""
    kind = unicodedata.category(character)
    return "So" if kind == "Cn" and character in _EMOJI else kind


def _alone(served: Mapping[str, list[str]], current: Iterable[Rule]) -> list[Rule]:
    """Rules for what may stand alone."""
    # Nothing that we put in quotes has an upper-case OR in it: labels are folded.
    before = [tuple(rule.value.split(_OR)) for rule in current]
    groups = _pack(list(served), before, MAX_RULE_CHARACTERS, MAX_RULES)
    return [Rule(_OR.join(group), _keys(group, served)) for group in groups]


def _in_company(
    served: Mapping[str, list[str]], company: Sequence[str], current: Iterable[Rule], most: int
) -> list[Rule]:
    """Rules for what needs company, each with each part of it."""
    companies = [_any_of(part) for part in _fill(company, MAX_COMPANY_CHARACTERS)]
    if not companies:
        return []
    start = f"{companies[0]} "
    rests = [rule.value.removeprefix(start) for rule in current if rule.value.startswith(start)]
    before = [tuple(rest.removeprefix("(").removesuffix(")").split(_OR)) for rest in rests]
    room = MAX_RULE_CHARACTERS - max(map(_size, companies)) - len(" ()")
    groups = _pack(list(served), before, room, most // len(companies))
    return [Rule(f"{part} {_any_of(group)}", _keys(group, served)) for group in groups for part in companies]


def _pack(wanted: Sequence[str], before: Iterable[_Group], limit: int, most: int) -> list[_Group]:
    """`wanted` in groups that fit the limit OR-ed, at most so many; what does not fit is left out.

    Of the groups that were there `before`, those stay that are wanted whole. Only when there are many more groups
    than needed, or not room for all, those that are far from full are packed anew with what is new.
    """
    wanting = set(wanted)
    intact: list[_Group] = []
    for group in before:
        if wanting.issuperset(group) and len(set(group)) == len(group) and _size(_OR.join(group)) <= limit:
            wanting.difference_update(group)
            intact.append(group)
    fewest = len(_fill(wanted, limit))
    least = None
    for fullness in (0.0, 0.5, 0.75, 2.0):
        kept = [group for group in intact if _size(_OR.join(group)) >= fullness * limit]
        taken = {text for group in kept for text in group}
        groups = kept + _fill([text for text in wanted if text not in taken], limit)
        if len(groups) <= min(fewest * _LOOSE_SHARE + _LOOSE_RULES, most):
            return groups
        least = least or groups
    # However packed, it is too much: then what is there stays.
    return (least or [])[:most]


def _fill(texts: Iterable[str], limit: int) -> list[_Group]:
    """`texts`, in their order, in groups that fit the limit OR-ed."""
    groups: list[list[str]] = []
    room = 0
    for text in texts:
        needs = len(_OR) + _size(text)
        if needs > room:
            groups.append([])
            room = limit + len(_OR)
        groups[-1].append(text)
        room -= needs
    return [tuple(group) for group in groups]


def _keys(texts: Iterable[str], served: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(key for text in texts for key in served[text])


def _any_of(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({_OR.join(texts)})"


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
