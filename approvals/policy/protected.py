"""Protected files, which control what runs later: no rule with a wildcard or a bare tool name
allows writing them.

They are hooks, settings of tools and editors, shell profiles, CI definitions, the agent's own
instructions, and secrets. Names are compared without case, at any depth, as written and by real
path.
"""

import fnmatch
import os
import re

from approvals.policy.globs import WILDCARD, glob_matches

SECRET_FILES = (
    *("*.env", ".env*", "*credentials*", "*secret*", "service-account*.json", "*.tfstate"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ed25519*", "id_ecdsa*"),
    *(".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".htpasswd", ".vault-token"),
)
SECRET_NAME = re.compile("|".join(map(fnmatch.translate, SECRET_FILES)))
SECRET_FOLDERS = frozenset({".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", "gcloud"})
SECRET_EXAMPLES = SECRET_FOLDERS | {".env", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".htpasswd"}
CONTROL_FOLDERS = frozenset({".git", ".claude", ".husky", ".vscode", ".idea", ".devcontainer", ".direnv", ".circleci"})
CONTROL_FILES = frozenset({
    *(".mcp.json", ".claude.json", "claude.md", "claude.local.md"),
    *(".envrc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", ".ripgreprc"),
    *(".gitmodules", ".gitattributes", ".gitconfig", ".pre-commit-config.yaml", ".pre-commit-config.yml"),
    *("lefthook.yml", ".lefthook.yml", ".gitlab-ci.yml", ".devcontainer.json"),
    *(".profile", ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".inputrc"),
    *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login", "config.fish"),
})  # fmt: skip
GITHUB = re.compile(r"/\.github/(?:workflows|actions)(?:/|$)")
OWN_WORKTREE = re.compile(r"/\.claude/worktrees/[^/]+(?=/)")  # where the CLI puts worktrees


def is_secret(real: str) -> bool:
    """Whether the path looks like a key, a credential or an environment file, in any case."""
    parts = real.lower().rstrip("/").split("/")
    named = SECRET_NAME.match(parts[-1])
    return bool(named) or not SECRET_FOLDERS.isdisjoint(parts) or parts[-2:] == [".git", "config"]


def is_protected(path: str) -> bool:
    """Whether an absolute path is a control file, is in a control folder, or looks like a secret."""
    plain = OWN_WORKTREE.sub("", os.path.normpath(path).casefold())
    parts = plain.split("/")
    if parts[-1] in CONTROL_FILES or GITHUB.search(plain):
        return True
    return any(part in CONTROL_FOLDERS or part.endswith(".git") for part in parts) or is_secret(plain)


def could_be_protected(pattern: str, *, secrets_only: bool = False) -> bool:
    """Whether a glob can match a protected name.

    As in a shell, wildcards do not match a leading dot.
    """
    names = SECRET_EXAMPLES if secrets_only else SECRET_EXAMPLES | CONTROL_FILES | CONTROL_FOLDERS | {".github"}
    parts = [part for part in pattern.casefold().split("/") if part.startswith((".", "[")) and WILDCARD.search(part)]
    return any(glob_matches(name, part) for part in parts for name in names)
