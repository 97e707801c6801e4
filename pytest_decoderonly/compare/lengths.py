"""Lengths at which something is wrong, and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """At which total lengths something is wrong, and at which it is right."""

    wrong: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def some(self) -> bool:
        """Whether lengths on both sides of a wrong one are right: a block border, not a length that is passed."""
        return bool(self.wrong and self.right) and max(self.right) > min(self.wrong)

    @property
    def since(self) -> int | None:
        """The length from which on all are wrong, None where it is not like that."""
        if len(self.wrong) < 2 or not self.right or max(self.right) > min(self.wrong):
            return None
        return min(self.wrong)

    def __str__(self) -> str:
        text = ", ".join(map(str, self.wrong))
        for block in (2, 4, 8, 16, 32, 64) if len(self.wrong) > 1 else ():
            rests = {length % block for length in self.wrong}
            if len(rests) == 1 and not any(length % block in rests for length in self.right):
                return f"{text}: {rests.pop()} more than a multiple of {block}".replace(
                    ": 0 more than a multiple", ": multiples"
                )
        return text
