"""Exercises of the notebooks: a prediction beside what was measured. Not part of the paper.

A reader writes a prediction down before the answer is seen; `check` says whether it holds, and
folds the answer away under that. A wrong kind of prediction is a line, never an error: an error
would end a notebook that runs without a reader.
"""

import math
from collections.abc import Collection, Sequence

Answer = float | str | Collection[str] | None


def check(number: int, yours: object, answer: Answer, words: str | Sequence[str],
          within: float = 0.0) -> None:
    """Show what a prediction for exercise `number` is worth, with the answer folded under it.

    yours: None as long as there is none. answer: a number, right if `within` of it; a text; or
    texts in any order; None or NaN where it is not known, as at scale tiny. words: the answer with
    what belongs to it, lines of Markdown. Raises nothing, whatever `yours` is.
    """
    folded(number, words, f"**{number}.** {verdict(yours, answer, within)}")


def folded(number: int, words: str | Sequence[str], before: str = "") -> None:
    """Show an answer that opens at a click: of an exercise that only its reader can judge."""
    from IPython.display import display

    lines = [words] if isinstance(words, str) else list(words)
    text = "  \n".join(lines)  # two spaces: Markdown breaks the line
    before += "\n\n" if before else ""
    display({"text/markdown": f"{before}<details><summary>Answer to {number}</summary>\n\n"
                              f"{text}\n\n</details>",
             "text/plain": before + "\n".join(lines)}, raw=True)


def verdict(yours: object, answer: Answer, within: float = 0.0) -> str:
    """What to say of a prediction, without giving the answer away."""
    if yours is None:
        return "No prediction yet: write it into `guess`, and run this cell again."
    if answer is None or answer != answer:  # NaN differs from itself
        return "That may be: at this scale the answer is not known."
    if isinstance(answer, str):
        if not isinstance(yours, str):
            return f"The answer is a word or two in quotes; yours is of type {kind(yours)}."
        return "Right." if plain(yours) == plain(answer) else f"“{yours.strip()}” is not it."
    if isinstance(answer, Collection):
        given = texts_of(yours)
        if given is None:
            return (f"The answer is a list, such as ['a', 'b']; yours is of type {kind(yours)}.")
        known = {plain(text) for text in answer}
        if given == known:
            return "Right."
        return f"{len(given & known)} of {len(known)} named, {len(given - known)} too many."
    value = number_of(yours)
    if value is None:
        return f"The answer is a number; yours is of type {kind(yours)}."
    if abs(value - answer) <= within:
        return "Right." if not within else f"{value:g} is near enough (within {within:g})."
    return f"{value:g} is too {'low' if value < answer else 'high'}."


def plain(text: object) -> str:
    """A text for comparison: small letters, single spaces."""
    return " ".join(str(text).casefold().split())


def texts_of(yours: object) -> set[str] | None:
    """A prediction as a set of texts; None if it is no list of texts or numbers."""
    if not isinstance(yours, list | tuple | set | frozenset):
        return None
    if not all(isinstance(each, str | int) for each in yours):
        return None
    return {plain(each) for each in yours}


def number_of(yours: object) -> float | None:
    """A prediction as a number; None if it is none. Numbers, and tensors and arrays of one."""
    if isinstance(yours, str):
        return None
    try:
        value = float(yours)
    except Exception:  # whatever somebody's object raises
        return None
    return value if math.isfinite(value) else None


def kind(yours: object) -> str:
    """The type of a prediction by name."""
    return type(yours).__name__
