"""What looks like a secret and is none; none of it may be touched. ``{hex40}`` and the like are made when asked for."""

import base64
import re
import uuid

from tests.redaction.made import Maker

VERSIONED = [
    "git show {hex40}", "git checkout {hex40} -- src/app.py", "git diff {hex7}..{hex7}", "commit {hex40}\nAuthor: Anna",
    "git cherry-pick {hex40} {hex40}", "HEAD is now at {hex7} Fix the build", "index {hex7}..{hex7} 100644",
    "git rev-parse --verify {hex40}^{{commit}}", "uses: actions/checkout@{hex40} # v4", "From {hex40} Mon Sep 17 00:00:00 2001",
    "docker pull python@sha256:{hex64}", "FROM node:20@sha256:{hex64} AS build", "sha256:{hex64}",
    "echo '{hex64}  archive.tar.gz' | sha256sum -c", "{hex64}  dist/orchestra-1.2.0.tar.gz", "MD5 (a.iso) = {hex32}",
    "--hash=sha256:{hex64} \\", "    requests==2.32.3 --hash=sha256:{hex64}", "etag: \"{hex32}\"", "ETag: W/\"{hex32}\"",
    '"integrity": "sha512-{b64_64}"', 'resolved "https://registry.yarnpkg.com/lodash/-/lodash-4.17.21.tgz#{hex40}"',
    "integrity sha512-{b64_64}", "github.com/pkg/errors v0.9.1 h1:{b64_32}", "github.com/pkg/errors v0.9.1/go.mod h1:{b64_32}",
    'checksum = "{hex64}"', 'content-hash = "{hex64}"', '{{ "rev": "{hex40}", "ref": "main" }}', "sha1 = {hex40}",
    '<script src="/a.js" integrity="sha384-{b64_48}" crossorigin="anonymous"></script>', "Digest of the whole: {hex64}",
    '"narHash": "sha256-{b64_32}"', "sha256 \"{hex64}\"", '"version": "1.0.0-beta.{hex7}"', "image: shop/api:{hex40}",
    "kubectl set image deploy/api api=registry.example.com/shop/api:{hex40}", "sri: sha256-{b64_32}",
    "subproject commit {hex40}", "[submodule] {hex40} vendor/lib (v1.2.3)", "bisect good {hex40}",
]

NAMED = [
    "session {uuid} is parked", "GET /api/v1/approvals/{uuid}/ HTTP/1.1", '{{"id": "{uuid}", "status": "pending"}}',
    "request_id={uuid}", "traceparent: 00-{hex32}-{hex16}-01", "x-request-id: {uuid}", "tail -f logs/{uuid}.log",
    "cd /srv/data/session-{hex8} && ls", "~/.cache/pip/http-v2/a/b/c/d/e/{hex56}", "/nix/store/{nix32}-python3-3.11.7/bin/python",
    "node_modules/.pnpm/react-dom@18.2.0_react@18.2.0/node_modules/react-dom/index.js", "rm -rf /tmp/pytest-of-anna/pytest-128/test_a_secret_is_hidden_0",
    "/var/lib/docker/overlay2/{hex64}/merged/etc/passwd", "docker exec -it {hex12} bash", "docker logs {hex64}",
    "kubectl logs shop-api-7d9c5b8f6b-x2k4q -c app", "kubectl get secret db-credentials -o yaml", "pod/worker-5f6d8c7b9d-abcde",
    "arn:aws:iam::123456789012:role/deploy-production", "i-0abc123def4567890", "subnet-0bb1c79de3EXAMPLE",
    "s3://acme-terraform-state-prod/eu-central-1/network/terraform.tfstate", "projects/shop-prod-123456/locations/europe-west1/keyRings/main",
    "tests/orchestra/test_database_outage.py::test_a_second_answer_is_refused_and_changes_nothing",
    "pytest -k test_password_is_required_and_token_is_not_logged -x", "AbstractSingletonProxyFactoryBeanDefinitionReaderConfigurer",
    "org.springframework.security.crypto.password.DelegatingPasswordEncoder", "com.fasterxml.jackson.databind.deser.std.StdDeserializer",
    "getUserAuthenticationTokenFromRequestHeaderOrThrow()", "HTTP_X_FORWARDED_PROTO_AND_HOST_HEADERS_ARE_TRUSTED",
    "ORCHESTRA_APPROVAL_DEFAULT_TIMEOUT_MINUTES=30", "libstdc++-13-dev_13.2.0-23ubuntu4_amd64.deb", "linux-image-6.8.0-31-generic",
    "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "claude-sonnet-4-5-20250929", "gpt-4o-mini-2024-07-18",
    "com.apple.developer.icloud-container-identifiers", "vite-plugin-react-refresh-transform-loader-2", "eslint-plugin-react-hooks@4.6.0",
    "toolu_01A09q90qw90lq917835lq9", "msg_013Zva2CMHLNnjNJJKqJ2EF", "chatcmpl-8abcDEFghiJKLmnoPQRstu", "call_abc123DEF456ghi789JKL012",
    "20240131T235959Z-backup-full-0001.tar.zst", "IMG_20240131_235959_HDR.jpg", "UTF-8, ISO-8859-15, windows-1252",
    "c3VwcG9ydA==", "aGVsbG8gd29ybGQ=", "BASE64=aGVsbG8gd29ybGQsIGhlbGxvIG1vb24=",
]

WEB = [
    '<img src="data:image/png;base64,{b64_300}" alt="logo">', "background: url(data:image/svg+xml;base64,{b64_200}) no-repeat;",
    "data:font/woff2;base64,{b64_300}", "![chart](data:image/jpeg;base64,{b64_200})", '{{"src":"data:image/gif;base64,{b64_100}"}}',
    '<script nonce="{b64_16}">start()</script>', "Content-Security-Policy: script-src 'nonce-{b64_16}' 'strict-dynamic'",
    "Content-Security-Policy: script-src 'sha256-{b64_32}'", '<div class="flex items-center justify-between md:grid-cols-2 lg:px-8">',
    ".css-1q2w3e4r5t-MuiButtonBase-root {{ color: #1a2b3c; }}", "color: #ff00aa99; border: 1px solid #C0FFEE",
    "_app-{hex20}.js", "/_next/static/chunks/pages/index-{hex16}.js", "main.{hex20}.css", "sourceMappingURL=main.{hex8}.js.map",
    "!function(e,t){{\"object\"==typeof exports?module.exports=t():e.Lib=t()}}(this,function(){{return function(e){{var t={{}};return n(0)}}}});",
    "var a=b?c:d;for(var i=0;i<n.length;i++)r[i]=n[i].toString(36).substr(2,9);return r.join('')",
    '<path d="M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2zm0 18c-4.41 0-8-3.59-8-8" fill="#000"/>',
    '<input type="password" name="password" autocomplete="current-password" required>', '<label for="token">Token</label>',
    '<form action="/reset-password?next=/home"><input name="csrf_token" type="hidden"></form>',
    "https://example.com/reset-password", "https://example.com/docs/api-keys#create-a-token", "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    "https://fonts.googleapis.com/css2?family=Inter:wght@400;500&display=swap", "https://docs.google.com/document/d/{url44}/edit",
    "https://example.com/a?page=2&sort=created_at&key=name", "https://user@example.com/repo.git", "ssh://git@github.com:22/acme/shop.git",
    "git@github.com:acme/shop-api.git", "http://localhost:8000/token/refresh/", "postgres://app@db.internal:5432/shop",
    "postgres://$DB_USER:$DB_PASSWORD@$DB_HOST/shop", "https://${{USER}}:${{TOKEN}}@github.com/acme/shop.git", "redis://localhost:6379/0",
    "https://oauth2:${{{{ secrets.GITHUB_TOKEN }}}}@github.com/acme/app", "mailto:anna@example.com?subject=Your%20password", "http://[::1]:5284/health",
    "https://registry.npmjs.org/@types/node/-/node-20.11.5.tgz", "https://github.com/acme/shop/commit/{hex40}", "https://pypi.org/simple/tokenize-rt/",
]

VARIABLES = [
    "echo $PASSWORD", "export TOKEN=${{TOKEN:-}}", 'curl -H "Authorization: Bearer $TOKEN" https://api.example.com', "PASSWORD=$(cat /run/secrets/db)",
    "PASSWORD=`pass show db`", 'mysql -u root -p"$MYSQL_ROOT_PASSWORD" shop', "mysql -u root -p shop", "docker login --username anna --password-stdin registry.example.com",
    "gh auth login --with-token < token.txt", "curl -u \"$USER:$PASS\" https://ci.example.com", "curl -u anna https://ci.example.com", "password: ${{ secrets.DB_PASSWORD }}",
    "token: ${{{{ secrets.GITHUB_TOKEN }}}}", "password: {{{{ vault_db_password }}}}", "password = os.environ['DB_PASSWORD']", 'token = os.getenv("API_TOKEN")',
    "const token = process.env.API_TOKEN;", "api_key = config.get('api_key')", "token: str", "def login(user: str, password: str) -> Token:",
    "password: Optional[str] = None", "self.token = token", "token = request.headers.get('Authorization')", "secret = secrets.token_urlsafe(32)",
    "const [password, setPassword] = useState('');", 'password = ""', "password=''", "PASSWORD=", "password: null", '{{"password": null, "token": ""}}',
    "password = getpass.getpass('Password: ')", "read -s -p 'Password: ' PASSWORD", "if password != confirm_password: raise ValueError", "token_count = 1024",
    "max_tokens: 4096", '{{"max_tokens": 4096, "input_tokens": 123456}}', "tokens=128000", "password_min_length = 12", "TOKEN_EXPIRE_MINUTES=60",
    "SECRET_FILE=/run/secrets/db_password", "ssh -i ~/.ssh/id_ed25519 deploy@web-1", "PASSWORD_HASHERS = ['django.contrib.auth.hashers.Argon2PasswordHasher']",
    "password: '********'", "token: <your-token-here>", "API_KEY=your-api-key", "api_key: xxxxxxxxxxxxxxxx", "Authorization: Bearer <token>", "password=changeme",
    "AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY ./deploy.sh", "--from-file=password=./password.txt", "--password-file /run/secrets/pw", "--token-file=/etc/token",
    "passwd anna", "sudo -u postgres psql -c 'select 1'", "tar -xzf a.tgz -C /srv -p --strip-components=1", "mkdir -p src/components/auth && touch src/components/auth/token.ts",
    "docker run -p 127.0.0.1:8080:80 -u 1000:1000 nginx", "ps -p 1234 -o pid,cmd", "python -m pytest -p no:randomly -q", "ssh -p 2222 deploy@web-1", "cp -pr a b",
    "rsync -avz -e 'ssh -p 2222' dist/ web-1:/srv/app", "npm publish --access public --otp=123456", "grep -rn 'password' src/ --include='*.py'", "rg -n 'token|secret' -g '!node_modules'",
    "sed -i 's/password/passphrase/' README.md", "key=name", "for key in keys: print(key)", "sort -k 2 -t : --key=3,3", "primary_key=True", "foreign key (user_id) references users(id)",
    "cache_key = f'user:{{user.pk}}:profile'", "keyboard: us", "monkey: banana", "public_key: {b64_32}", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{url43} anna@laptop", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{b64_200} anna@laptop",
    "-----BEGIN CERTIFICATE-----\n{b64_300}\n-----END CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\n{b64_100}\n-----END PUBLIC KEY-----", "author: Anna <anna@example.com>", "authority: example.com",
]

PROSE = [
    "The password must have at least 12 characters, one digit and one symbol.", "Set the token in the environment: see docs/security.md.", "A secret is never written to the log.",
    "Bearer authentication requires a token in the header.", "Basic authentication sends the password with each request.", "Use --password-stdin instead of --password to log in.",
    "Rotate the API key every 90 days; the secret is stored in Vault.", "The agent's token budget is 200,000 tokens per session.", "Password reset: the link is valid for 15 minutes.",
    "password: required, at least eight characters", "token: a string that identifies the client", "Secret santa: draw names on Friday", "key: the name of the setting", "What is the password policy for administrators?",
    "# TODO: remove the hard-coded password before release", "Passwords are hashed with Argon2id; tokens with SHA-256.", "The private key stays on the server and is never uploaded.", "Two tokens were revoked: those of anna and boris.",
    "It reads the cookie, then refreshes the session.", "cookie: consent banner shown once", "Fix: token refresh fails when the clock is skewed (#1234)", "feat(auth): add password-less sign in via one-time links",
    "1234567890", "3.141592653589793238462643383279502884197", "+49 30 123456789", "2024-01-31T23:59:59.123456789Z", "IBAN DE89 3704 0044 0532 0130 00", "0123456789abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "=========================================", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "SELECT id, password_hash FROM users WHERE email = 'anna@example.com';",
    "ALTER TABLE users ADD COLUMN api_token varchar(64);", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO readonly;", "I need the password to go on; may I ask for it?", "Approve: uses token from the keychain, not from a file",
]

PLACE = re.compile(r"\{(hex|b64_|url|nix|uuid)(\d*)\}")


def texts() -> list[str]:
    """All of them, the same every time."""
    maker = Maker(40_480)
    return [_filled(text, maker) for text in (*VERSIONED, *NAMED, *WEB, *VARIABLES, *PROSE)]


def _filled(text: str, maker: Maker) -> str:
    return PLACE.sub(lambda found: _made(found[1], int(found[2] or 0), maker), text).replace("{{", "{").replace("}}", "}")


def _made(kind: str, size: int, maker: Maker) -> str:
    if kind == "hex":
        return maker.some(size, "0123456789abcdef")
    if kind == "b64_":
        return base64.b64encode(maker.raw(size)).decode()
    if kind == "url":
        return maker.some(size, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    if kind == "nix":
        return maker.some(size, "0123456789abcdfghijklmnpqrsvwxyz")
    return str(uuid.UUID(maker.some(32, "0123456789abcdef")))
