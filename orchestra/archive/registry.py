"""What may be archived, as apps say it; what belongs to it, as the foreign keys say it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from django.db.models import Model, Q, QuerySet

Rows = QuerySet[Any]
Ids = Sequence[Any]


class RowsChanged(Exception):
    """What is about to be deleted is not what was written; the step is undone and left to the next run."""


def _nothing() -> None:
    """No work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedModel:
    """One kind of thing that is archived whole, with every row that points to it.

    ``ripe`` gives those closed longer ago than that and not to be kept; rows of ``model``, which has a ``created_at``.
    ``step`` is how many are deleted in one transaction. ``along`` gives rows that belong to some of them without a
    foreign key. ``before`` is work to be done before any is looked for, such as counting them. ``leave`` is called in
    the deleting transaction, with the archive and the rows, for traces that stay; it may raise `Changed`.
    """

    name: str
    model: type[Model]
    due_for_archive: Callable[[timedelta], Rows]
    rows_per_transaction: int = 200
    related_rows: Callable[[Ids], Iterable[Rows]] = lambda _: ()
    prepare: Callable[[], object] = _nothing
    before_delete: Callable[[Any, Sequence[Rows]], None] = lambda archive, rows: None


@dataclass(slots=True)
class Registry:
    """``shelves`` in the order in which they are worked on; ``pruners`` delete what has no history, by what it is."""

    archived_models: dict[str, ArchivedModel] = field(default_factory=dict)
    pruners: dict[str, Callable[[], int]] = field(default_factory=dict)

    def add(self, archived_model: ArchivedModel) -> None:
        self.archived_models[archived_model.name] = archived_model


registry = Registry()


def rows_to_archive(archived_model: ArchivedModel, ids: Ids) -> list[Rows]:
    """Everything that goes with these, by table: what is pointed to before what points to it."""
    roots: dict[type[Model], Q] = {archived_model.model: Q(pk__in=list(ids))}
    roots |= {rows.model: Q(pk__in=rows.values("pk")) for rows in archived_model.related_rows(ids)}
    chosen: dict[type[Model], Rows] = {}
    for model in _pointing_to(frozenset(roots)):
        where = roots.get(model, Q())
        for key in _keys(model):
            if key.related_model in chosen and key.related_model is not model:
                where |= Q(**{f"{key.name}__in": chosen[key.related_model].values("pk")})
        chosen[model] = model._default_manager.order_by().filter(where)
    return list(chosen.values())


@cache
def _pointing_to(roots: frozenset[type[Model]]) -> list[type[Model]]:
    """The roots and every table that points to one of them, directly or not; none before what it points to."""
    found, new = set(roots), set(roots)
    while new:
        new = {pointing for model in new for pointing in _pointers(model)} - found
        found |= new
    ordered: list[type[Model]] = []
    while len(ordered) < len(found):
        left = [model for model in found if model not in ordered]
        free = [model for model in left if not {key.related_model for key in _keys(model)} & (set(left) - {model})]
        ordered += sorted(free, key=lambda model: model._meta.label)
    return ordered


def _pointers(model: type[Model]) -> set[type[Model]]:
    """Tables with a foreign key to this one, also those that it does not know by a name."""
    relations = model._meta.get_fields(include_hidden=True)
    return {relation.related_model for relation in relations if relation.auto_created and not relation.concrete}  # type: ignore[misc]


def _keys(model: type[Model]) -> list[Any]:
    return [field for field in model._meta.concrete_fields if field.is_relation]
