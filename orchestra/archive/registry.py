"""The registry of what retention archives. Apps register root models; foreign keys give the rows
that belong to them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from django.db.models import Model, Q, QuerySet

Rows = QuerySet[Any]
Ids = Sequence[Any]


class RowsChanged(Exception):
    """Rows changed after they were written; the transaction is rolled back and they stay for the
    next run.
    """


def _do_nothing() -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedModel:
    """A root model whose rows are archived together with every row that points to them.

    ``due_for_archive(age)`` returns the rows of ``model`` that were closed longer than ``age`` ago
    and that nothing keeps; ``model`` has a ``created_at``. ``rows_per_transaction`` limits the root
    rows that one transaction deletes. ``related_rows(ids)`` returns rows that belong to the roots
    without a foreign key. ``prepare`` is called before the first query, for example to count rows.
    ``before_delete`` is called in the deleting transaction with the archive and the rows, to update
    rows that stay; it may raise `RowsChanged`.
    """

    name: str
    model: type[Model]
    due_for_archive: Callable[[timedelta], Rows]
    rows_per_transaction: int = 200
    related_rows: Callable[[Ids], Iterable[Rows]] = lambda _: ()
    prepare: Callable[[], object] = _do_nothing
    before_delete: Callable[[Any, Sequence[Rows]], None] = lambda archive, rows: None


@dataclass(slots=True)
class Registry:
    """What the apps have registered.

    ``archived_models`` are processed in their order. ``pruners`` delete rows that are not archived,
    and return how many.
    """

    archived_models: dict[str, ArchivedModel] = field(default_factory=dict)
    pruners: dict[str, Callable[[], int]] = field(default_factory=dict)

    def add(self, archived_model: ArchivedModel) -> None:
        self.archived_models[archived_model.name] = archived_model


registry = Registry()


def rows_to_archive(archived_model: ArchivedModel, ids: Ids) -> list[Rows]:
    """Return the rows to archive with these roots, one queryset per table.

    A table comes before the tables that point to it.
    """
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
    """Return the roots and every table that points to one of them, directly or indirectly.

    A table comes before the tables that point to it.
    """
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
    """Return the models with a foreign key to ``model``, also with ``related_name="+"``."""
    relations = model._meta.get_fields(include_hidden=True)
    return {relation.related_model for relation in relations if relation.auto_created and not relation.concrete}  # type: ignore[misc]


def _keys(model: type[Model]) -> list[Any]:
    return [field for field in model._meta.concrete_fields if field.is_relation]
