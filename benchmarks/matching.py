"""What it costs to find out who wants a tweet, with 10 to 100,000 terms; and what the obvious loop costs in Node.js.

    python -m benchmarks.matching [--quick] [--json] [--save]

In one process and without a broker: `classify`, all that a router does between receiving and publishing, is given
batches as ingest packs them, of made-up tweets with the statistics of real ones (`benchmarks.posts`). 3 % of the
tweets have one of the terms, however many these are: 1,000 terms are words and pairs of words that occur, 10 more
frequent ones of them; of 10,000 and 100,000 all but a thousand look alike and occur nowhere. `us` is the processor
time per tweet, the median of the rounds. `node_loop_us` is `filters.forEach(f => text.match(f))` over the same texts
with the same 1,000 terms, `f` a string; `node_regexp_us` the same loop with each `f` a RegExp made once,
`node_includes_us` with `text.includes(f)`.
"""

import gc
import time
from collections.abc import Sequence

from benchmarks.children import children
from benchmarks.corpus import SHARE, Batches, Corpus, batches, key_of
from benchmarks.failure import BenchmarkError
from benchmarks.figures import Options, Outcome, log, median, rounded, run, table
from benchmarks.loop import LOOPS, loop_us
from benchmarks.machine import description
from benchmarks.node import require
from services.router.classify import classify
from services.router.matcher import Matcher
from shared import raw

NUMBERS = (10, 1000, 10_000, 100_000)
REAL = 1000
"""Terms that occur, at most."""
_WARM = 5


def measure(options: Options) -> Outcome:
    """Run it."""
    tweets, rounds, node_tweets = (10_000, 3, 500) if options.quick else (100_000, 9, 3000)
    node = require()
    log.info("making up %d tweets", tweets)
    corpus = Corpus(tweets)
    terms = term_sets(corpus, NUMBERS)
    with children() as start:
        log.info("Node.js")
        loops = loop_us(start, corpus.texts, terms[REAL], count=node_tweets)
    taken: dict[int, list[float]] = {}
    matchers = {}
    prepared = {}
    for number in NUMBERS:
        matchers[number] = settled(terms[number])
        prepared[number] = batches(corpus.entries, terms[number])
        classify_us(matchers[number], prepared[number], _WARM)
        taken[number] = []
    for at in range(rounds):
        for number in NUMBERS:
            taken[number].append(classify_us(matchers[number], prepared[number]))
        log.info("round %d of %d: %s", at + 1, rounds, ", ".join(f"{taken[number][-1]:.2f}" for number in NUMBERS))
    figures = {
        "us": {str(number): rounded(median(taken[number])) for number in NUMBERS},
        "node_loop_us": {str(REAL): rounded(loops["match"])},
        "node_regexp_us": {str(REAL): rounded(loops["regexp"])},
        "node_includes_us": {str(REAL): rounded(loops["includes"])},
    }
    details = {
        "with": description(node),
        "tweets": tweets,
        "matched": {str(number): rounded(prepared[number].matched / tweets) for number in NUMBERS},
        "spread": {str(number): [rounded(min(taken[number])), rounded(max(taken[number]))] for number in NUMBERS},
    }
    return Outcome(figures, _table({number: median(taken[number]) for number in NUMBERS}, loops, tweets), details)


def term_sets(corpus: Corpus, numbers: Sequence[int]) -> dict[int, list[str]]:
    """So many terms that `SHARE` of the tweets have: up to `REAL` such as occur, and strangers beyond."""
    real = {number: corpus.few(min(number, REAL)) for number in numbers}
    strangers = corpus.strangers(max(0, max(numbers) - REAL))
    return {number: real[number] + strangers[: max(0, number - REAL)] for number in numbers}


def settled(terms: Sequence[str]) -> Matcher:
    """A matcher of these terms, after the time in which nothing came."""
    matcher = Matcher(max_terms=len(terms))
    for term in terms:
        matcher.want(key_of(term))
    while matcher.improve(at_rest=True):
        pass
    return matcher


def classify_us(matcher: Matcher, given: Batches, most: int | None = None) -> float:
    """Classify all batches, or the first `most`; returns µs of processor per tweet.

    Raises `BenchmarkError` where not as many tweets were found as have a term.
    """
    bodies, keys, sizes = given.bodies[:most], given.keys[:most], given.sizes[:most]
    published = 0
    gc.collect()
    began = time.process_time()
    headers = raw.headers(raw.Link("bench", 0))
    for body in bodies:
        # One at a time, as a router does that gets batches as large as these.
        published += classify([(headers, body)], matcher.keys_of).published
    used = time.process_time() - began
    if published != sum(map(len, keys)):
        raise BenchmarkError(f"{published} tweets were found to have a term, and {sum(map(len, keys))} have one")
    return used * 1e6 / sum(sizes)


def _table(us: dict[int, float], loops: dict[str, float], tweets: int) -> str:
    rows = [
        [f"{number:,}", f"{value:.3g}", f"{1e6 / value:,.0f}", f"{value / us[REAL]:.2f}"]
        for number, value in us.items()
    ]
    rows += [
        [
            f"{REAL:,}, Node.js, {title}",
            f"{loops[loop]:.3g}",
            f"{1e6 / loops[loop]:,.0f}",
            f"{loops[loop] / us[REAL]:.2f}",
        ]
        for loop, title in LOOPS.items()
    ]
    head = ["terms", "µs per tweet", "tweets a second", f"× {REAL:,} terms"]
    return "\n".join(
        [table(head, rows), f"{tweets:,} tweets, {SHARE:.0%} of them with one of the terms; one process"]
    )


if __name__ == "__main__":
    run("matching", __doc__ or "", measure)
