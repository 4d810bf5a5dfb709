"""Parses a shell text into its simple commands, by tree-sitter, in bounded time for any text.

The grammar is lenient, and its error recovery may take time that grows with the square of the text.
The parse is therefore stopped when it exceeds what a text of that length needs. A cursor walks the
tree without recursion.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tree_sitter
import tree_sitter_bash

from approvals.policy.shell.words import Word, read_word, rough_commands

LONGEST_TEXT = 1024  # bytes; a longer text is read without the grammar
MOST_NODES = 4_000
MOST_WORDS = 1_500
# Tokens that are expensive for the grammar, and how often a text may contain them.
COSTLY = {"|&": 10, "=(": 10, "$[": 4, "<<": 12, "${": 50, "=~": 10}
REPORTS_ALLOWED = 8  # of the parser's progress, one per hundred of its steps; real commands need one to three
BYTES_PER_REPORT = 40
REPORTS_WITH_ERRORS = 6

WORD_TYPES = frozenset({
    *("word", "string", "raw_string", "ansi_c_string", "concatenation", "number", "simple_expansion", "expansion"),
    *("command_substitution", "process_substitution", "brace_expression", "translated_string", "command_name"),
})  # fmt: skip
COMMAND_TYPES = frozenset({"command", "declaration_command", "unset_command", "test_command", "for_statement"})
WRITING = frozenset({">", ">>", ">|", "&>", "&>>", "<>", ">&"})


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """The words of one command, or the files that a redirection writes."""

    words: tuple[Word, ...]
    writes: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """The simple commands of a text in their order.

    ``is_understood``: the grammar parsed all of it. ``is_finished``: nothing was left out to save
    time.
    """

    commands: tuple[SimpleCommand, ...]
    is_understood: bool = True
    is_finished: bool = True


def parse(text: str, known: Mapping[str, str], *, roughly: bool = False) -> Script:
    """Parse ``text``, or split it without the grammar if ``roughly``.

    Variables in ``known`` get their values.
    """
    source = text.encode("utf-8", "replace")
    tree = _tree(source) if _is_cheap(text, source) and not roughly else None
    if tree is None or tree.root_node.has_error:
        found = rough_commands(text, known, most=MOST_WORDS)
        rough = tuple(SimpleCommand(tuple(words), tuple(words)) for words in found or ())
        return Script(rough, is_understood=False, is_finished=found is not None)
    return _walk(tree, source, known)


def _is_cheap(text: str, source: bytes) -> bool:
    if len(source) > LONGEST_TEXT or "\0" in text:
        return False
    return all(text.count(sign) <= most for sign, most in COSTLY.items())


_local = threading.local()


def _tree(source: bytes) -> tree_sitter.Tree | None:
    parser: tree_sitter.Parser | None = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
    reports, most = 0, REPORTS_ALLOWED + len(source) // BYTES_PER_REPORT

    def has_done_enough(_offset: int, has_error: bool) -> bool:
        nonlocal reports
        reports += 1
        return reports > most or (has_error and reports > REPORTS_WITH_ERRORS)

    try:
        return parser.parse(lambda at, _point: source[at : at + 4096], progress_callback=has_done_enough)
    except ValueError:  # has_done_enough stopped the parse
        parser.reset()
        return None


def _walk(tree: tree_sitter.Tree, source: bytes, known: Mapping[str, str]) -> Script:
    commands: list[SimpleCommand] = []
    behind: dict[int, list[Word]] = {}  # words after a redirection, by the id of their command
    for seen, node in enumerate(_nodes(tree)):
        if seen > MOST_NODES:
            return Script(tuple(commands), is_finished=False)
        if node.type in COMMAND_TYPES:
            words = [*_words(node, source, known), *behind.get(node.id, ())]
            commands.append(SimpleCommand(tuple(words)))
        elif node.type == "redirected_statement":
            behind |= _words_behind(node, source, known)
        elif node.type == "file_redirect":
            commands.append(SimpleCommand((), _targets(node, source, known)))
    return Script(tuple(commands))


def _nodes(tree: tree_sitter.Tree) -> Iterator[tree_sitter.Node]:
    cursor = tree.walk()
    while True:
        node = cursor.node
        if node is not None:
            yield node
        if cursor.goto_first_child() or cursor.goto_next_sibling():
            continue
        while cursor.goto_parent():
            if cursor.goto_next_sibling():
                break
        else:
            return


def _words(node: tree_sitter.Node, source: bytes, known: Mapping[str, str]) -> Iterator[Word]:
    for child in node.children:
        if child.type in WORD_TYPES or child.type == "variable_assignment":
            yield read_word(source[child.start_byte : child.end_byte].decode("utf-8", "replace"), known)


def _words_behind(statement: tree_sitter.Node, source: bytes, known: Mapping[str, str]) -> Mapping[int, list[Word]]:
    """Return the words after a redirection: ``c`` in ``cat a > b c``, which the grammar puts into
    the redirection.
    """
    redirects = [child for child in statement.children if child.type == "file_redirect"]
    words = [word for redirect in redirects for word in list(_words(redirect, source, known))[1:]]
    return {child.id: words for child in statement.children if words and child.type in COMMAND_TYPES}


def _targets(redirect: tree_sitter.Node, source: bytes, known: Mapping[str, str]) -> tuple[Word, ...]:
    is_written = any(child.type in WRITING for child in redirect.children)
    return tuple(_words(redirect, source, known)) if is_written else ()
