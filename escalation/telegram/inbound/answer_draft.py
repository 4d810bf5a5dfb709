"""The answers chosen so far, while a question with several parts is answered press by press. Pure."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

Question = dict[str, Any]  # as `approvals.presentation.render.questions_of` gives it


@dataclass(frozen=True, slots=True)
class Draft:
    """``chosen``: labels or own words by the question's number. ``at``: the question whose options are offered."""

    chosen: dict[int, tuple[str, ...]] = field(default_factory=dict)
    at: int = 0

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        """As kept in `Message.value`."""
        chosen = {int(number): tuple(labels) for number, labels in value.get("chosen", {}).items()}
        return cls(chosen, int(value.get("at", 0)))

    def to_json(self) -> dict[str, Any]:
        return {"chosen": {str(number): list(labels) for number, labels in self.chosen.items()}, "at": self.at}

    def toggle_option(self, questions: Sequence[Question], number: int, label: str) -> Self:
        """One option, or words of one's own, pressed: chosen, or, where several may be, chosen or taken back."""
        if not questions[number]["multiSelect"]:
            return self.with_answer(questions, number, (label,))
        before = self.chosen.get(number, ())
        now = {*before} ^ {label}
        offered = [option["label"] for option in questions[number]["options"]]
        ordered = [one for one in dict.fromkeys((*offered, *before, label)) if one in now]
        return replace(self, chosen=self.chosen | {number: tuple(ordered)}, at=number)

    def with_typed_answer(self, questions: Sequence[Question], number: int, text: str) -> Self:
        """Somebody's own words: beside what is ticked where several may be chosen, else in place of it."""
        if not questions[number]["multiSelect"]:
            return self.with_answer(questions, number, (text,))
        return (
            self.at_question(number)
            if text in self.chosen.get(number, ())
            else self.toggle_option(questions, number, text)
        )

    def typed_answers(self, questions: Sequence[Question], number: int, hide: Callable[[str], str]) -> list[str]:
        """What is chosen there and was not offered; ``questions`` are shown without what ``hide`` hides."""
        offered = {option["label"] for option in questions[number]["options"]}
        return [one for one in self.chosen.get(number, ()) if hide(one) not in offered]

    def with_answer(self, questions: Sequence[Question], number: int, labels: tuple[str, ...]) -> Self:
        """That question is answered; the next open one is offered."""
        chosen = self.chosen | {number: labels}
        still_open = [one for one in range(len(questions)) if not chosen.get(one)]
        later = [one for one in still_open if one > number]
        return replace(self, chosen=chosen, at=(later or still_open or [number])[0])

    def at_question(self, number: int) -> Self:
        return replace(self, at=number)

    def is_complete(self, questions: Sequence[Question]) -> bool:
        return all(self.chosen.get(number) for number in range(len(questions)))

    def answers_json(self, questions: Sequence[Question]) -> str:
        """JSON text for `decide_approval`; several choices are one text joined by commas, as the CLI takes them."""
        return json.dumps(
            {one["question"]: ", ".join(self.chosen[n]) for n, one in enumerate(questions) if self.chosen.get(n)}
        )


def is_single_choice(questions: Sequence[Question]) -> bool:
    """Whether one press answers it all: one question, one choice."""
    return len(questions) == 1 and not questions[0]["multiSelect"]
