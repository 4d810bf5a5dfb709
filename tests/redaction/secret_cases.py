"""Secrets where people and agents write them. ``{}`` is put in; the rest has to stay as it is.

``("kind", text)``, or ``("kind", text, how)`` where the value is written in another form.
"""

from dataclasses import dataclass
from urllib.parse import quote

from tests.redaction.made import Maker, framed

COMMANDS: list[tuple[str, ...]] = [
    ("anthropic", "curl https://api.anthropic.com/v1/messages -H 'x-api-key: {}' -H 'anthropic-version: 2023-06-01'"),
    ("anthropic", "export ANTHROPIC_API_KEY={}"),
    ("anthropic", "ANTHROPIC_API_KEY={} claude -p 'say hello'"),
    ("anthropic_oauth", "docker run -e CLAUDE_CODE_OAUTH_TOKEN={} -it agent:latest bash"),
    ("openai", 'curl https://api.openai.com/v1/models -H "Authorization: Bearer {}"'),
    ("openai_project", "echo {} > /tmp/key.txt"),
    ("openai_project", "python -c \"import openai; openai.api_key = '{}'\""),
    ("github", "git clone https://{}@github.com/acme/shop-api.git"),
    ("github", "git remote set-url origin https://x-access-token:{}@github.com/acme/shop-api.git"),
    ("github", "echo {} | gh auth login --with-token"),
    ("github_server", 'curl -H "Authorization: token {}" https://api.github.com/user/repos'),
    ("github_oauth", "GH_TOKEN={} gh pr create --fill"),
    ("github_fine", "gh secret set DEPLOY --body {}"),
    ("gitlab", "curl --header 'PRIVATE-TOKEN: {}' https://gitlab.example.com/api/v4/projects"),
    ("gitlab", "git push https://oauth2:{}@gitlab.example.com/group/app.git main"),
    ("gitlab_runner", "gitlab-runner register --url https://gitlab.example.com --token {}"),
    ("slack_bot", "curl -X POST -H 'Authorization: Bearer {}' https://slack.com/api/chat.postMessage -d channel=C1"),
    ("slack_user", "SLACK_TOKEN={} ./notify.sh deploys"),
    ("slack_app", "slack run --app-token {}"),
    ("slack_hook", 'curl -X POST --data \'{{"text":"done"}}\' https://hooks.slack.com/services/{}'),
    ("aws_id", "aws configure set aws_access_key_id {} --profile prod"),
    ("aws_secret", "aws configure set aws_secret_access_key {} --profile prod"),
    ("aws_secret", "AWS_SECRET_ACCESS_KEY={} aws s3 ls s3://backups/2024"),
    ("aws_temporary_id", "export AWS_ACCESS_KEY_ID={} AWS_REGION=eu-central-1"),
    ("google", "curl 'https://maps.googleapis.com/maps/api/geocode/json?address=Berlin&key={}'"),
    ("google_oauth", 'curl -H "Authorization: Bearer {}" https://storage.googleapis.com/storage/v1/b?project=shop'),
    ("npm", "npm config set //registry.npmjs.org/:_authToken {}"),
    ("npm", "echo '//registry.npmjs.org/:_authToken={}' >> ~/.npmrc"),
    ("pypi", "twine upload -u __token__ -p {} dist/*"),
    ("huggingface", "huggingface-cli login --token {}"),
    ("stripe", "stripe charges list --api-key {} --limit 3"),
    ("stripe", "curl https://api.stripe.com/v1/charges -u {}: -d amount=2000"),
    ("sendgrid", "curl --request POST --url https://api.sendgrid.com/v3/mail/send -H 'Authorization: Bearer {}'"),
    ("telegram", "curl https://api.telegram.org/bot{}/getMe"),
    ("telegram", "export TELEGRAM_BOT_TOKEN='{}'"),
    ("jwt", "curl -H 'Authorization: Bearer {}' http://localhost:8000/api/orders?page=2"),
    ("jwt", "kubectl config set-credentials admin --token={}"),
    ("digitalocean", "doctl auth init --access-token {}"),
    ("vault", "vault login {}"),
    ("docker", "docker login -u acme -p {} registry.example.com"),
    ("human", "mysql -h db.internal -u root -p{} shop < dump.sql"),
    ("human", "mysqldump --user=root --password={} --host=db.internal shop"),
    ("human", "PGPASSWORD='{}' psql -h db.internal -U app shop -c 'select 1'"),
    ("human", "sshpass -p '{}' ssh deploy@web-1.example.com uptime"),
    ("human", "curl -u admin:{} https://ci.example.com/job/build/api/json"),
    ("human", "curl --user 'admin:{}' https://ci.example.com/job/build"),
    ("human", "redis-cli -h cache.internal -a {} ping"),
    ("plainword", "ldapsearch -x -D cn=admin,dc=example,dc=com -w {} -b dc=example,dc=com"),
    ("human", "echo 'deploy:{}' | chpasswd"),
    ("human", "openssl enc -aes-256-cbc -in a.tar -out a.enc -pass pass:{}"),
    ("human", "wget --user=anna --password={} https://files.example.com/a.zip"),
    ("human", "mongosh 'mongodb://root:{}@db.internal:27017/admin' --eval 'db.stats()'"),
    ("plainword", "psql postgres://app:{}@db.internal:5432/shop"),
    ("phrase", "ansible-playbook site.yml -e 'ansible_become_password={}'"),
    ("human", "sqlcmd -S db.internal -U sa -P {} -Q 'select 1'"),
    ("human", "echo {} | sudo -S systemctl restart nginx"),
    ("human", "7z a -p{} backup.7z /srv/data"),
    ("human", "zip -P {} -r out.zip reports/"),
    ("hex40", "curl -H 'X-Auth-Token: {}' https://cloud.example.com/v2/servers"),
    ("hex32", "curl 'https://api.example.com/v1/weather?city=Rome&api_key={}'"),
    ("word", "curl 'https://api.example.com/search?access_token={}&q=shoes'"),
    ("word", "heroku config:set SECRET_KEY_BASE={} -a shop"),
    ("base64", "kubectl create secret generic db --from-literal=password={}"),
    ("word", "flyctl secrets set SESSION_SECRET={} --app shop"),
    ("basic", "curl -H 'Authorization: Basic {}' https://jira.example.com/rest/api/2/issue/SHOP-1"),
    ("word", "curl -b 'sessionid={}; theme=dark' https://shop.example.com/admin/"),
    ("hex64", "CSRF=1 SECRET_KEY={} python manage.py migrate"),
    ("human", "az login --service-principal -u app-id --password '{}' --tenant acme"),
    ("word", "az storage blob list --account-name shop --sas-token 'sv=2022-11-02&ss=b&sig={}'"),
    ("azure_storage", "az storage container list --account-name shop --account-key {}"),
    ("grafana", "curl -H 'Authorization: Bearer {}' https://grafana.example.com/api/search"),
    ("mailgun", "curl -s --user 'api:{}' https://api.mailgun.net/v3/example.com/messages"),
    ("groq", "GROQ_API_KEY={} python bench.py --model llama"),
    ("xai", "export XAI_API_KEY={}"),
    ("replicate", 'curl -H "Authorization: Token {}" https://api.replicate.com/v1/models'),
    ("flyio", "fly deploy --access-token {}"),
    ("linear", 'curl -H "Authorization: {}" https://api.linear.app/graphql'),
    ("hex40", "sentry-cli --auth-token {} releases list"),
    ("databricks", "databricks configure --token {} --host https://acme.cloud.databricks.com"),
    ("human", "http -a anna:{} GET https://api.example.com/orders"),
    ("human", "smbclient //files/share -U 'anna%{}' -c 'ls'"),
    ("human", "lftp -u anna,{} sftp://files.example.com -e 'ls; bye'"),
    ("human", "net use Z: \\\\files\\share /user:anna {}"),
    ("word", "terraform apply -var 'db_password={}' -var region=eu-west-1"),
    ("human", "git -c http.extraHeader='X-Api-Password: {}' fetch origin"),
    ("word", "bash -c \"export API_SECRET='{}'; ./deploy.sh staging\""),
    ("anthropic", "cat > .env <<EOF\nDEBUG=1\nANTHROPIC_API_KEY={}\nPORT=8000\nEOF"),
    ("human", "cat <<'EOF' | sudo tee /etc/app.conf\n[db]\nhost = db.internal\npassword = {}\nEOF"),
    ("word", "printf 'machine api.example.com login anna password {}\\n' >> ~/.netrc"),
]

FILES: list[tuple[str, ...]] = [
    ("human", "DB_HOST=db.internal\nDB_USER=app\nDB_PASSWORD={}\nDB_NAME=shop\n"),
    ("human", 'DB_PASSWORD="{}"\n'),
    ("plainword", "password={}\n"),
    ("human", "spring.datasource.username=app\nspring.datasource.password={}\nserver.port=8080\n"),
    ("hex64", "SECRET_KEY = '{}'\nALLOWED_HOSTS = ['*']\n"),
    ("django", "SECRET_KEY='{}'\n"),
    ("word", "JWT_SECRET={}\nNODE_ENV=production\n"),
    ("base64", "NEXTAUTH_SECRET={}\nNEXTAUTH_URL=http://localhost:3000\n"),
    ("stripe_hook", "STRIPE_WEBHOOK_SECRET={}\n"),
    ("stripe_restricted", "STRIPE_KEY={} # restricted\n"),
    ("human", "DATABASE_URL=postgresql+asyncpg://app:{}@db.internal/shop?sslmode=require\n"),
    ("human", "REDIS_URL=redis://:{}@cache.internal:6379/0\n"),
    ("human", "CELERY_BROKER_URL: amqp://guest:{}@mq.internal:5672//\n"),
    ("human", "postgres:\n  image: postgres:16\n  environment:\n    POSTGRES_PASSWORD: {}\n    POSTGRES_DB: shop\n"),
    ("plainword", "services:\n  db:\n    environment:\n      - MYSQL_ROOT_PASSWORD={}\n      - MYSQL_DATABASE=shop\n"),
    ("human", "apiVersion: v1\nkind: Secret\nstringData:\n  password: '{}'\n  username: app\n"),
    ("word", "auth:\n  client_id: shop-web\n  client_secret: {}\n"),
    ("hex32", 'api_key: "{}"\nregion: eu\n'),
    ("aws_secret", "[default]\naws_access_key_id = AKID\naws_secret_access_key = {}\nregion = eu-west-1\n"),
    ("human", "[client]\nuser=root\npassword={}\nhost=localhost\n"),
    ("human", "db.internal:5432:shop:app:{}"),
    ("word", "machine api.example.com\n  login anna\n  password {}\n"),
    ("npm", "//registry.npmjs.org/:_authToken={}\nregistry=https://registry.npmjs.org/\n"),
    ("word", '[pypi]\nusername = __token__\npassword = "{}"\n'),
    ("human", '<add key="DbPassword" value="{}" />'),
    (
        "human",
        '<connections><add connectionString="Server=db;Database=shop;User Id=sa;Password={};" /></connections>',
    ),
    ("human", "<password>{}</password>"),
    ("human", "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={};EndpointSuffix=core.windows.net"),
    ("azure_storage", "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={};EndpointSuffix=core.windows.net"),
    ("word", "TOKEN={}\n"),
    ("word", "export const config = {{ apiKey: '{}', region: 'eu' }};"),
    ("word", 'const API_SECRET = "{}";\nconst PORT = 3000;'),
    ("human", "conn = psycopg2.connect(host='db', user='app', password='{}', dbname='shop')"),
    ("human", 'db_password := "{}"'),
    ("word", 'private static final String ACCESS_TOKEN = "{}";'),
    ("word", 'client = Client(token="{}", timeout=30)'),
    ("hex32", "requests.get(url, headers={{'X-API-Key': '{}'}}, timeout=5)"),
    ("human", "$db_pass = '{}';"),
    ("human", "define('DB_PASSWORD', '{}');"),
    ("word", "define( 'AUTH_KEY', '{}' );"),
    ("word", 'config["secret_key"] = "{}"'),
    ("word", "os.environ['API_TOKEN'] = '{}'"),
    ("word", "set_property('oauth.clientSecret', '{}')"),
    ("phrase", "passphrase: {}\n"),
    ("google_client", "GOOGLE_CLIENT_SECRET={}"),
    ("discord", "client.run('{}')"),
    ("age", "# created: 2024-01-01\n# public key: age1qx\n{}\n"),
    ("twilio", "twilio_key = '{}'"),
    ("word", "Set-Cookie: session={}; Path=/; HttpOnly; Secure"),
    ("hex40", "Cookie: csrftoken=abc; sessionid={}"),
    ("jwt", "GET /me HTTP/1.1\nHost: api.example.com\nAuthorization: Bearer {}\nAccept: */*\n"),
    ("basic", "GET / HTTP/1.1\r\nHost: ci.example.com\r\nAuthorization: Basic {}\r\n\r\n"),
    ("basic", "proxy-authorization: basic {}"),
    ("hex32", "X-Api-Key: {}\nContent-Type: application/json"),
    ("newrelic", "license: {}"),
    ("postman", "newman run collection.json --env-var key={}"),
    ("supabase", "supabase login --token {}"),
    ("atlassian", "ATLASSIAN={}"),
    ("shopify", "shopify theme push --password {}"),
    ("doppler", "doppler configure set token {}"),
    ("notion", "NOTION={} node sync.js"),
    ("sentry", "SENTRY={}"),
    ("mailchimp", "MAILCHIMP={}"),
]

JSONS: list[tuple[str, ...]] = [
    ("human", '{{"host": "db.internal", "password": "{}", "port": 5432}}'),
    ("word", '{{"api_key":"{}","model":"large"}}'),
    ("word", '{{"clientId":"shop","clientSecret":"{}"}}'),
    ("jwt", '{{"headers":{{"Authorization":"Bearer {}"}},"method":"GET"}}'),
    ("anthropic", '{{"env":{{"ANTHROPIC_API_KEY":"{}"}},"command":"npx"}}'),
    ("word", '{{"auths":{{"registry.example.com":{{"auth":"{}"}}}}}}'),
    ("human", '{{"command":"curl -u admin:{} https://ci.example.com/job","timeout":1000}}'),
    ("word", '{{"command":"curl -H \\"Authorization: Bearer {}\\" https://api.example.com/v1/me"}}'),
    ("word", '{{"command":"export API_TOKEN=\\"{}\\" && make deploy"}}'),
    ("word", '{{"access_token":"{}","token_type":"Bearer","expires_in":3600}}'),
    ("word", '{{"refresh_token": "{}", "scope": "openid email"}}'),
    ("human", '"{{\\"user\\":\\"app\\",\\"password\\":\\"{}\\"}}"'),
    ("word", '{{"name": "API_TOKEN", "value": "{}"}}'),
    ("word", '- name: DB_PASSWORD\n  value: {}\n- name: PORT\n  value: "80"\n'),
    ("github", '{{"url":"https://anna:{}@github.com/acme/shop.git"}}'),
    ("hex64", '{{"webhook":{{"signing_secret":"{}"}}}}'),
    ("human", '{{"AdminPassword":"{}"}}'),
    ("telegram", '{{"telegram":{{"bot":"{}","chat":-100123}}}}'),
]

WRITTEN: list[tuple[str, ...]] = [
    ("human", "curl 'https://api.example.com/login?user=anna&password={}&next=%2Fhome'", "url"),
    ("human", "curl -d 'grant_type=password&username=anna&password={}' https://auth.example.com/token", "url"),
    ("word", "open 'https://example.com/cb#access_token={}&state=1'"),
    ("human", "postgres://app:{}@db.internal/shop", "url"),
    ("base64", "curl 'https://x.blob.core.windows.net/c/f.txt?sv=2022&sr=b&sig={}&se=2024-12-31'", "url"),
    ("jwt", "https%3A%2F%2Fapp.example.com%2Fcb%3Ftoken%3D{}"),
    ("anthropic", "curl https://api.anthropic.com -H \"x-api-key: \"'{}'"),
    ("anthropic", "KEY={}", "split"),
    ("word", "API_KEY={} ./run", "split"),
    ("human", "export PASSWORD={}", "split"),
    ("block", "cat > id_rsa <<'EOF'\n{}\nEOF\nchmod 600 id_rsa", "RSA PRIVATE"),
    ("block", "{}", "OPENSSH PRIVATE"),
    ("block", "tls.key: |\n  {}\nother: 1", "indented"),
    ("block", '{{"type": "service_account", "private_key": "{}", "client_id": "1"}}', "json"),
    ("block", "+{}", "EC PRIVATE"),
    ("block", "export KEY='{}'", "PRIVATE"),
    ("block", 'ssh-add - <<< "{}"', "ENCRYPTED PRIVATE"),
    ("word", "My password is {} in case you need it."),
    ("human", "the root password is: {}"),
    ("github", "Use this token for the clone: {}"),
    ("word", "API key: {}"),
    ("human", "Login anna / password: {}"),
    ("word", "deploy with the key {} please"),
    ("hex64", "the signing secret is {}"),
    ("base64", "encryption key: {}"),
    ("openai_project", "I will call the API with {} now"),
    ("aws_secret", "Secret Access Key: {}"),
    ("stripe", "charge using {} in live mode"),
    ("word", "bearer {}"),
    ("word", 'curl -H "Authorization:Bearer {}" http://127.0.0.1:9000/x'),
    ("word", "sid={}; Path=/"),
    ("word", "--auth-token={}"),
    ("word", "tool --apikey {} --verbose"),
    ("word", "tool --client-secret '{}' --id 3"),
    ("human", "vault kv put secret/shop password={} user=app"),
    ("plainword", "useradd -p {} bob"),
    ("word", 'echo "TOKEN: {}"'),
    ("word", "sed -i 's/^SECRET=.*/SECRET={}/' .env"),
    ("human", "ALTER USER app WITH PASSWORD '{}';"),
    ("human", "CREATE USER 'app'@'%' IDENTIFIED BY '{}';"),
]


@dataclass(frozen=True)
class Case:
    """``text`` holds ``values``, none of which may be left in it; ``kept`` has to stay."""

    text: str
    values: tuple[str, ...]
    kept: tuple[str, ...]


def cases() -> list[Case]:
    """All of them, the same every time."""
    maker = Maker(20_240)
    return [_case(maker, *one) for one in (*COMMANDS, *FILES, *JSONS, *WRITTEN)]


def _case(maker: Maker, kind: str, template: str, how: str = "") -> Case:
    value = maker.make(kind)
    parts = template.split("{}")
    kept = tuple(part.replace("{{", "{").replace("}}", "}") for part in parts)
    if kind == "block":
        written, values = _key(value, how or "PRIVATE")
        return Case(template.format(written), values, kept)
    if how == "url":
        return Case(template.format(quote(value, safe="")), (value, quote(value, safe="")), kept)
    if how == "split":
        half = len(value) // 2
        return Case(template.format(f"{value[:half]}''\"{value[half:]}\""), (value[:half], value[half:]), kept)
    return Case(template.format(value), (value,), kept)


def _key(block: str, how: str) -> tuple[str, tuple[str, ...]]:
    rows = tuple(block.split("\n"))
    if how == "indented":
        return framed("PRIVATE", block).replace("\n", "\n  "), rows
    if how == "json":
        return framed("PRIVATE", block).replace("\n", "\\n"), rows
    return framed(how, block), rows
