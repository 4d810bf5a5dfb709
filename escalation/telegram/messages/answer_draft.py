"""The answers chosen so far, while a person answers several questions button by button. Pure."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

Question = dict[str, Any]  # as `approvals.presentation.render.questions_of` gives it


@dataclass(frozen=True, slots=True)
class Draft:
    """``chosen``: labels or typed text by the number of the question.

    ``at``: the question whose options are shown.
    """

    chosen: dict[int, tuple[str, ...]] = field(default_factory=dict)
    at: int = 0

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        """Read the draft from `Message.value`."""
        chosen = {int(number): tuple(labels) for number, labels in value.get("chosen", {}).items()}
        return cls(chosen, int(value.get("at", 0)))

    def to_json(self) -> dict[str, Any]:
        return {"chosen": {str(number): list(labels) for number, labels in self.chosen.items()}, "at": self.at}

    def toggle_option(self, questions: Sequence[Question], number: int, label: str) -> Self:
        """Choose one option or typed text.

        Where several are allowed, a second press removes it again.
        """
        if not questions[number]["multiSelect"]:
            return self.with_answer(questions, number, (label,))
        before = self.chosen.get(number, ())
        now = {*before} ^ {label}
        offered = [option["label"] for option in questions[number]["options"]]
        ordered = [one for one in dict.fromkeys((*offered, *before, label)) if one in now]
        return replace(self, chosen=self.chosen | {number: tuple(ordered)}, at=number)

    def with_typed_answer(self, questions: Sequence[Question], number: int, text: str) -> Self:
        """Add typed text to the chosen options, or replace the choice where only one is allowed."""
        if not questions[number]["multiSelect"]:
            return self.with_answer(questions, number, (text,))
        return (
            self.at_question(number)
            if text in self.chosen.get(number, ())
            else self.toggle_option(questions, number, text)
        )

    def typed_answers(self, questions: Sequence[Question], number: int, hide: Callable[[str], str]) -> list[str]:
        """Return the chosen texts that are not options.

        ``questions`` are shown with secrets hidden, which is what ``hide`` does to a text.
        """
        offered = {option["label"] for option in questions[number]["options"]}
        return [one for one in self.chosen.get(number, ()) if hide(one) not in offered]

    def with_answer(self, questions: Sequence[Question], number: int, labels: tuple[str, ...]) -> Self:
        """Set the answer of one question and turn to the next open one."""
        chosen = self.chosen | {number: labels}
        still_open = [one for one in range(len(questions)) if not chosen.get(one)]
        later = [one for one in still_open if one > number]
        return replace(self, chosen=chosen, at=(later or still_open or [number])[0])

    def at_question(self, number: int) -> Self:
        return replace(self, at=number)

    def is_complete(self, questions: Sequence[Question]) -> bool:
        return all(self.chosen.get(number) for number in range(len(questions)))

    def answers_json(self, questions: Sequence[Question]) -> str:
        """Return the JSON text for `decide_approval`.

        Several choices are joined by commas, as the CLI expects.
        """
        return json.dumps(
            {one["question"]: ", ".join(self.chosen[n]) for n, one in enumerate(questions) if self.chosen.get(n)}
        )


def is_single_choice(questions: Sequence[Question]) -> bool:
    """Return True if one press answers everything: there is one question with one choice."""
    return len(questions) == 1 and not questions[0]["multiSelect"]
