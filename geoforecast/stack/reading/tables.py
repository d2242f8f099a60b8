"""TOML tables read strictly: wrong types and unknown keys are errors that name file and key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from geoforecast.errors import SettingsError, did_you_mean

_MISSING: Any = object()


class Table:
    """A TOML table of which every key must be asked for.

    Args:
        content: the parsed table.
        place: the file, and the table inside it, for messages.
        missing: an inner table that the file does not have; it has no keys.
    """

    def __init__(self, content: dict[str, Any], place: str) -> None:
        self.content = content
        self.place = place
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def error(self, key: str, problem: str, remedy: str) -> SettingsError:
        """An error about one key, or about the whole table if ``key`` is ""."""
        what = f"{self.place}: {f'{key!r} ' if key else ''}{problem}."
        return SettingsError(what, remedy=remedy)

    def finish(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            SettingsError: naming the first, with the nearest known key.
        """
        for key in self.content:
            if key not in self._asked:
                raise self.error(key, "is not known here", did_you_mean(key, self._asked))

    def text(self, key: str, default: str = _MISSING) -> str:
        """A string."""
        return self._typed(key, (str,), "a text in quotes", default)  # type: ignore[no-any-return]

    def flag(self, key: str, default: bool = _MISSING) -> bool:
        """True or false."""
        return self._typed(key, (bool,), "true or false", default)  # type: ignore[no-any-return]

    def integer(self, key: str, default: int = _MISSING) -> int:
        """A whole number."""
        return self._typed(key, (int,), "a whole number", default)  # type: ignore[no-any-return]

    def number(self, key: str, default: float | None = _MISSING) -> float | None:
        """A number, or the default."""
        value = self._typed(key, (int, float), "a number", default)
        return None if value is None else float(value)

    def values(self, key: str, default: Sequence[Any] = _MISSING) -> list[Any]:
        """A list of anything."""
        return list(self._typed(key, (list,), "a list", default))

    def texts(self, key: str, default: Sequence[str] = _MISSING) -> tuple[str, ...]:
        """A list of strings; a single string stands for a list of one."""
        value = self._typed(key, (list, str), "a list of texts", default)
        return self._all((value,) if isinstance(value, str) else value, key, (str,), "texts")

    def integers(self, key: str, default: Sequence[int] = _MISSING) -> tuple[int, ...]:
        """A list of whole numbers."""
        return self._all(self.values(key, default), key, (int,), "whole numbers")

    def numbers(self, key: str, default: Sequence[float] = _MISSING) -> tuple[float, ...]:
        """A list of numbers."""
        found = self._all(self.values(key, default), key, (int, float), "numbers")
        return tuple(float(number) for number in found)

    def patterns(self, key: str, default: Sequence[str] = _MISSING) -> tuple[str, ...]:
        """A list of regular expressions, which must compile."""
        found = self.texts(key, default)
        for pattern in found:
            try:
                re.compile(pattern, re.IGNORECASE)
            except re.error as error:
                raise self.error(
                    key,
                    f"holds '{pattern}', which is no regular expression: {error}",
                    "Correct it.",
                ) from error
        return found

    def table(self, key: str) -> Table:
        """An inner table; an empty one if it is not there."""
        return Table(self._typed(key, (dict,), "a table", {}), f"{self.place} [{key}]")

    def tables(self, key: str) -> list[Table]:
        """A list of inner tables; empty if there is none."""
        found = self._all(self.values(key, ()), key, (dict,), "tables")
        return [Table(item, f"{self.place} [[{key}]] {n}") for n, item in enumerate(found, 1)]

    def _typed(self, key: str, types: tuple[type, ...], wanted: str, default: Any) -> Any:
        self._asked.add(key)
        value = self.content.get(key, default)
        if value is _MISSING:
            near = get_close_matches(key, self.content, n=1, cutoff=0.7)
            remedy = f"Is it meant by '{near[0]}'?" if near else f"Give it {wanted}."
            raise self.error(key, "is missing", remedy)
        given = key in self.content
        # To Python, true is a whole number; to people it is not.
        wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
        if given and wrong:
            raise self.error(key, f"is {value!r}", f"Give it {wanted}.")
        return value

    def _all(
        self, found: Sequence[Any], key: str, types: tuple[type, ...], wanted: str
    ) -> tuple[Any, ...]:
        for value in found:
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise self.error(key, f"holds {value!r}", f"Give it {wanted}.")
        return tuple(found)
