"""Names that announce a secret, and similar names that do not. Pure functions."""

import re

NAME = re.compile(
    r"(?P<key>passwort|kennwort|mot de passe|contraseña|senha|hasło|parola|пароль|密码"
    r"|pass[-_ ]?(?:words?|wd|phrase|code)|passwd|pwd|pass|pw|secrets?|tokens?|api[-_ .]?keys?|apikeys?"
    r"|(?:access|private|account|auth|encryption|encrypt|signing|sign|master|shared|license|service|admin|storage"
    r"|subscription|crypto|cipher|session|signature|app|application|client|consumer|secure|hmac|deploy|webhook|write|read"
    r"|root|sas|jwt|aes|stripe|openai|recovery)[-_ ]?keys?"
    r"|credentials?|creds?|session[-_]?id|sessionid|sid|jsessionid|phpsessid|sig|signature|auth|authorization|bearer|jwt"
    r"|otp[-_]?secret|seed[-_ ]?phrase|mnemonic|cookie[-_]?secret|psk|wpa_passphrase|requirepass|masterauth|key)"
    r"(?P<rest>[a-z0-9_-]{0,32})"
)
"""A name that may announce a secret, in lower case, and the characters that follow it without a
break.
"""
GENERIC = frozenset(
    {"key", "keys", "auth", "sig", "signature", "sid", "pw", "creds", "cred", "credential", "credentials"}
)
"""A value behind one of these names is a secret only if it looks generated."""
STRONGER = re.compile(r"pass|secret|token|key|pwd")
PASSWORDS = re.compile(r"pass|pwd|pw", re.IGNORECASE)
LONGEST = 40  # characters of a name before the part that matched
# These also end other words, such as "monkey".
_SHORT = frozenset({"pass", "pw", "sig", "sid", "auth", "key", "jwt", "cred", "creds"})
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# A name that ends in one of these words describes a secret and does not hold it.
_ABOUT_WORDS = """
age alg algorithm and arn at audience backend board budget by chain change changed check checks class cmd code codes
command cost count counts days description digest dir directory disabled down ed enabled endpoint env error errors
exception expiration expire expires expiry fd field fields file files flow folder for form format frame frames from
frontend group hash hasher hashers header headers helper hint host hostname hours id ids in input inputs interval
invalid issuer ization ized izer kind label labels len length less lifetime limit limits manager map maps max message
method min minutes missing mode module msg name names of on or output page path paths pattern per placeholder plugin
policies policy port prefix press price prompt provider rate ref reference refresh refs regex remaining required reset
ring rotation router rule rules scope scopes script seconds service size source spent state status stdin storage store
strength stroke suffix test tests text timeout title to total ttl type types up uri url urls usage used valid
validation validator validators value_from var variable variables version view visibility visible window word words
"""
_ABOUT = frozenset(_ABOUT_WORDS.split())
# These words before "key", "token" and the like give the name another meaning.
_OTHER_WORDS = """
cache column completion context dict field foreign group host hot i18n idempotency index input json known lookup map
max min num object output partition primary prompt pub public route row s3 search shortcut sort storage_path total
translation unique
"""
_OTHER = frozenset(_OTHER_WORDS.split())


def lowered(text: str) -> str:
    """Return the text in lower case with the same length: ``str.lower`` turns some characters into
    two.
    """
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(char.lower() if char.isascii() else char for char in text)


def start_of_name(text: str, at: int) -> int:
    """Return where the name begins whose matched part begins ``at``."""
    first = max(0, at - LONGEST)
    while at > first and (text[at - 1].isalnum() or text[at - 1] in "_.-"):
        at -= 1
    return at


def describes_secret(name: str, key: str, rest: str) -> bool:
    """Return whether the name only describes a secret: ``token_count``, ``PASSWORD_FILE``,
    ``public_key``.

    ``key`` is the part of the name that matched, and ``rest`` is the part after it.
    """
    parts = _words_of(name)
    if not parts:
        return False
    if rest[:1].islower() and key[-1:].isalpha():  # "passport", "tokenize", "keyboard"
        return True
    own = _words_of(key)
    before = _before(parts, own, len(_words_of(rest)))
    if before and before[-1] in _OTHER and not PASSWORDS.match(key):
        return True
    if key.lower() in _SHORT and not before and len(name) > len(key + rest):
        return name[-len(key + rest) - 1].islower()  # "monkey", "bypass", "compass"
    return bool(rest) and parts[-1] in _ABOUT and parts[-1] not in own


def _words_of(name: str) -> list[str]:
    return [part.lower() for part in _PARTS.findall(name)]


def _before(parts: list[str], own: list[str], following: int) -> list[str]:
    head = parts[: -following or None]
    return head[: -len(own)] if head[-len(own) :] == own else head[:-1]
