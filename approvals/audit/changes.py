"""Audit entries for changes of permissions and policy: rules, accounts, groups, tokens, schedules.

An app registers its models with ``watch``. From then on each row that is added, changed or deleted
leaves an audit entry in the transaction of the change, whichever surface made it: Django's signals
report every ``save`` and ``delete``, and ``orchestra.auth.actor`` names the author. Code with
statements that send no signal (``QuerySet.update``, ``bulk_create``) calls ``record``;
``tests/test_architecture.py`` finds code that does not.

An entry holds the old and the new values. Of secrets (passwords, codes) it holds only that they
changed.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from typing import Any

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import router, transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from approvals.models import AuditEntry
from orchestra.auth import actor as acting
from orchestra.logs.redaction import scrub

LONGEST_VALUE = 1000  # characters; a longer value is cut and gets a digest
LONGEST_NAME = 200
BEFORE = "_audited_before"

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Which changes of a model are audited.

    The actions start with ``noun``: ``rule_added``, ``rule_changed``, ``rule_deleted``. The values
    of ``secrets`` are never written. ``related`` are many-to-many accessors, of either end.
    ``matters`` decides whether an added or deleted row is audited. With ``by_people``, only changes
    by people are.
    """

    noun: str
    fields: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    name: Callable[[Any], str] = str
    matters: Callable[[Any], bool] = lambda _row: True
    deletions: bool = True
    by_people: bool = False


watched: dict[type[Model], Watched] = {}
_silent: ContextVar[bool] = ContextVar("audit_silent", default=False)


def watch(model: type[Model], what: Watched) -> None:
    """Audit the changes of a model from now on; an app calls this in ``ready``."""
    watched[model] = what
    _save_in_transactions(model)
    for signal, receiver in ((pre_save, _before_save), (post_save, _after_save)):
        signal.connect(receiver, sender=model, dispatch_uid=f"audit.{what.noun}")
    if what.deletions:
        for signal, receiver in ((pre_delete, _before_delete), (post_delete, _after_delete)):
            signal.connect(receiver, sender=model, dispatch_uid=f"audit.{what.noun}")
    for accessor in what.related:
        through = getattr(model, accessor).through
        m2m_changed.connect(_related, sender=through, dispatch_uid=f"audit.{through.__name__}")


def record(*, action: str, what: str, by: str | None = None, via: str = "", using: str | None = None) -> None:
    """Write an audit entry in the transaction of the change.

    Without ``by``, the author is the current actor.
    """
    entry(action=action, what=what, by=by, via=via).save(using=using)


def entry(*, action: str, what: str, by: str | None = None, via: str = "") -> AuditEntry:
    """Build the row that ``record`` writes, for a unit of work."""
    actor = acting.current()
    name = actor.name if by is None else by
    return AuditEntry(
        approval=None, action=action, won=True, by=name[:150], via=via or actor.surface, address=actor.address[:200],
        reason=scrub(what),
    )  # fmt: skip


def described(rows: Iterable[Model]) -> str:
    """Describe new rows of a watched model in one text, one line each."""
    return "\n".join(_sentence(row, _all(type(row), _in_memory(row))) for row in rows)


@contextlib.contextmanager
def recorded_elsewhere() -> Iterator[None]:
    """Suspend auditing within this block, for rows that only mirror a row that is audited."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


# --- one row


def _before_save(sender: type[Model], instance: Model, using: str, update_fields: Any = None, **_: Any) -> None:
    if update_fields is not None and not {*update_fields} & {*_names(watched[sender])}:
        return
    instance.__dict__[BEFORE] = (_stored(sender, instance, using),)


def _after_save(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    kept = instance.__dict__.pop(BEFORE, None)
    if kept is None:
        return
    before, after = kept[0], _stored(sender, instance, using) or {}
    if before is None:
        if watched[sender].matters(instance):
            _record(sender, "added", _sentence(instance, _all(sender, after)), using)
    elif changes := _changes(instance, before, after):
        _record(sender, "changed", _sentence(instance, changes), using)


def _before_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    """Collect the values before the deletion, because related rows are gone afterwards."""
    what = watched[sender]
    lost = [f"{name} {_shown(names)}" for name in what.related if (names := _names_of(instance, name, using))]
    instance.__dict__[BEFORE] = [*_all(sender, _stored(sender, instance, using) or {}), *lost]


def _after_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    lost = instance.__dict__.pop(BEFORE, [])
    if watched[sender].matters(instance):
        _record(sender, "deleted", _sentence(instance, lost), using)


# --- many to many


def _related(sender: Any, instance: Model, action: str, reverse: bool, using: str, **_: Any) -> None:
    accessor = next(name for name in watched[type(instance)].related if getattr(instance, name).through is sender)
    kept = instance.__dict__.setdefault(f"{BEFORE}_{accessor}", [])
    if action.startswith("pre_"):
        kept.append(_keys_of(instance, accessor, using))
        return
    before, after = kept.pop(), _keys_of(instance, accessor, using)
    rows = getattr(instance, accessor).model._base_manager.using(using)
    parts = [
        f"{accessor} {sign} {_shown(sorted(str(row) for row in rows.filter(pk__in=keys)))}"
        for sign, keys in (("+", after - before), ("-", before - after))
        if keys
    ]
    if parts:
        _record(type(instance), "changed", _sentence(instance, parts), using)


def _keys_of(instance: Model, accessor: str, using: str) -> set[Any]:
    """Read the join table, because the manager would return prefetched rows."""
    manager = getattr(instance, accessor)
    links = manager.through._base_manager.using(using)
    here, there = manager.source_field_name, manager.target_field_name
    return set(links.filter(**{here: instance.pk}).values_list(there, flat=True))


def _names_of(instance: Model, accessor: str, using: str) -> list[str]:
    rows = getattr(instance, accessor).model._base_manager.using(using)
    return sorted(str(row) for row in rows.filter(pk__in=_keys_of(instance, accessor, using)))


# --- texts of an entry


def _record(model: type[Model], happened: str, what: str, using: str) -> None:
    if _silent.get() or (watched[model].by_people and not acting.current().name):
        return
    record(action=f"{watched[model].noun}_{happened}", what=what, using=using)


def _sentence(row: Model, parts: Iterable[str]) -> str:
    what = watched[type(row)]
    key = "" if isinstance(row.pk, str) else f" ({row.pk})"  # knox's key is the token's hash
    return f"{scrub(what.name(row))[:LONGEST_NAME]}{key}: {'; '.join(parts) or 'nothing more'}"


def _changes(row: Model, before: Values, after: Values) -> list[str]:
    what = watched[type(row)]
    changed = [name for name in _names(what) if before.get(name) != after.get(name)]
    return [
        _secret(row, name, after[name])
        if name in what.secrets
        else f"{name} {_shown(before[name])} → {_shown(after[name])}"
        for name in changed
    ]


def _secret(row: Model, name: str, after: Any) -> str:
    """Describe a changed secret.

    Django rehashes a password whose hash parameters are outdated; then ``_password`` is not set.
    """
    if name == "password" and str(after).startswith(UNUSABLE_PASSWORD_PREFIX):
        return f"{name} removed"
    renewed = name == "password" and getattr(row, "_password", None) is None
    return f"{name} stored anew" if renewed else f"{name} changed"


def _all(model: type[Model], values: Values) -> list[str]:
    """Describe the values of a row that are not empty."""
    empty = (None, "", False)
    return [f"{name} {_shown(values[name])}" for name in watched[model].fields if values.get(name) not in empty]


def _shown(value: Any) -> str:
    # Redact before cutting: the redaction does not find half a secret.
    text = scrub(json.dumps(value, default=str, ensure_ascii=False))
    if len(text) <= LONGEST_VALUE:
        return text
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"{text[:LONGEST_VALUE]}… ({len(text)} characters, SHA-256 {digest})"


def _names(what: Watched) -> tuple[str, ...]:
    return (*what.fields, *what.secrets)


def _stored(model: type[Model], row: Model, using: str) -> Values | None:
    """Read the row from the table and lock it, so that ``before`` is what the change replaces."""
    if row.pk is None:
        return None
    rows = model._base_manager.using(using).filter(pk=row.pk).select_for_update(no_key=True)
    return rows.order_by().values(*_names(watched[model])).first()


def _in_memory(row: Model) -> Values:
    return {name: getattr(row, name) for name in watched[type(row)].fields}


def _save_in_transactions(model: type[Model]) -> None:
    """Make ``save`` commit together with its audit entry.

    Django sends ``post_save`` after its own commit; then a change could stay whose audit entry
    failed.
    """
    plain = model.save_base
    if hasattr(plain, "__wrapped__"):
        return

    @wraps(plain)
    def save_base(self: Model, **options: Any) -> None:  # Django calls it by keywords alone
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            plain(self, **options)

    model.save_base = save_base  # type: ignore[method-assign,assignment]
