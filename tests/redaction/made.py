"""Made-up secrets, put together when a test runs, so that no scanner of a repository host finds one in this tree."""

import base64
import random
import string

from orchestra.redaction import Redaction

WORD = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
URL_SAFE = WORD + "-_"
BASE64 = WORD + "+/"


def redact(text: str) -> tuple[str, int]:
    """``text`` without its secrets, and how many there were."""
    redaction = Redaction()
    return redaction.hide(text), redaction.count


class Maker:
    """The same values in the same order for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def some(self, length: int, alphabet: str = WORD) -> str:
        """``length`` letters of ``alphabet``, a digit among them where there are digits."""
        made = "".join(self._random.choices(alphabet, k=length - 1))
        digits = [letter for letter in alphabet if letter.isdigit()] or list(alphabet)
        at = self._random.randrange(length)
        return made[:at] + self._random.choice(digits) + made[at:]

    def raw(self, length: int) -> bytes:
        """Bytes, such as a digest's."""
        return self._random.randbytes(length)

    def make(self, kind: str) -> str:
        """A value of one of ``KINDS``."""
        made: str = getattr(self, f"_{kind}")()
        return made

    def _anthropic(self) -> str:
        return "sk-" + "ant-" + "api03-" + self.some(93, URL_SAFE) + "AA"

    def _anthropic_oauth(self) -> str:
        return "sk-" + "ant-" + "oat01-" + self.some(93, URL_SAFE) + "AA"

    def _openai(self) -> str:
        return "sk-" + self.some(20) + "T3Blbk" + "FJ" + self.some(20)

    def _openai_project(self) -> str:
        return "sk-" + "proj-" + self.some(74, URL_SAFE) + "T3Blbk" + "FJ" + self.some(74, URL_SAFE)

    def _github(self) -> str:
        return "ghp" + "_" + self.some(36)

    def _github_server(self) -> str:
        return "ghs" + "_" + self.some(36)

    def _github_oauth(self) -> str:
        return "gho" + "_" + self.some(36)

    def _github_fine(self) -> str:
        return "github" + "_pat_" + self.some(22) + "_" + self.some(59)

    def _gitlab(self) -> str:
        return "glpat" + "-" + self.some(20, URL_SAFE)

    def _gitlab_runner(self) -> str:
        return "glrt" + "-" + self.some(20, URL_SAFE)

    def _slack_bot(self) -> str:
        return "xox" + "b-" + self.some(12, "123456789") + "-" + self.some(13, "123456789") + "-" + self.some(24)

    def _slack_user(self) -> str:
        return "xox" + "p-" + "-".join(self.some(12, "123456789") for _ in range(3)) + "-" + self.some(32, HEX)

    def _slack_app(self) -> str:
        return "xapp" + "-1-" + self.some(11, UPPER) + "-" + self.some(13, "123456789") + "-" + self.some(64, HEX)

    def _slack_hook(self) -> str:
        return "T" + self.some(8, UPPER) + "/" + "B" + self.some(10, UPPER) + "/" + self.some(24)

    def _aws_id(self) -> str:
        return "AK" + "IA" + self.some(16, string.ascii_uppercase + "234567")

    def _aws_temporary_id(self) -> str:
        return "AS" + "IA" + self.some(16, string.ascii_uppercase + "234567")

    def _aws_secret(self) -> str:
        return self.some(40, BASE64)

    def _google(self) -> str:
        return "AI" + "za" + self.some(35, URL_SAFE)

    def _google_oauth(self) -> str:
        return "ya29" + "." + self.some(80, URL_SAFE)

    def _google_client(self) -> str:
        return "GOC" + "SPX-" + self.some(28, URL_SAFE)

    def _npm(self) -> str:
        return "npm" + "_" + self.some(36)

    def _pypi(self) -> str:
        return "pypi" + "-AgEIcHlwaS5vcmc" + self.some(70, URL_SAFE)

    def _huggingface(self) -> str:
        return "hf" + "_" + self.some(34, string.ascii_letters)

    def _stripe(self) -> str:
        return "sk" + "_live_" + self.some(24)

    def _stripe_restricted(self) -> str:
        return "rk" + "_live_" + self.some(24)

    def _stripe_hook(self) -> str:
        return "whsec" + "_" + self.some(32)

    def _sendgrid(self) -> str:
        return "SG" + "." + self.some(22, URL_SAFE) + "." + self.some(43, URL_SAFE)

    def _twilio(self) -> str:
        return "SK" + self.some(32, HEX)

    def _telegram(self) -> str:
        return self.some(10, "123456789") + ":" + "AA" + self.some(33, URL_SAFE)

    def _jwt(self) -> str:
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
        body = base64.urlsafe_b64encode(f'{{"sub":"{self.some(8)}","iat":1700000000}}'.encode()).decode().rstrip("=")
        return f"{head}.{body}.{self.some(43, URL_SAFE)}"

    def _digitalocean(self) -> str:
        return "dop" + "_v1_" + self.some(64, HEX)

    def _shopify(self) -> str:
        return "shp" + "at_" + self.some(32, HEX)

    def _databricks(self) -> str:
        return "da" + "pi" + self.some(32, HEX)

    def _vault(self) -> str:
        return "hv" + "s." + self.some(90, URL_SAFE)

    def _doppler(self) -> str:
        return "dp" + ".pt." + self.some(43)

    def _linear(self) -> str:
        return "lin" + "_api_" + self.some(40)

    def _notion(self) -> str:
        return "nt" + "n_" + self.some(46)

    def _docker(self) -> str:
        return "dckr" + "_pat_" + self.some(27, URL_SAFE)

    def _grafana(self) -> str:
        return "gl" + "sa_" + self.some(32) + "_" + self.some(8, HEX)

    def _mailgun(self) -> str:
        return "key" + "-" + self.some(32, HEX)

    def _mailchimp(self) -> str:
        return self.some(32, HEX) + "-us" + "14"

    def _azure_storage(self) -> str:
        return self.some(86, BASE64) + "=" + "="

    def _discord(self) -> str:
        return "M" + self.some(23) + "." + self.some(6) + "." + self.some(27, URL_SAFE)

    def _age(self) -> str:
        return "AGE-SECRET" + "-KEY-1" + self.some(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L")

    def _groq(self) -> str:
        return "gs" + "k_" + self.some(52)

    def _xai(self) -> str:
        return "xa" + "i-" + self.some(80)

    def _replicate(self) -> str:
        return "r8" + "_" + self.some(37)

    def _sentry(self) -> str:
        return "sntrys" + "_" + self.some(120, BASE64)

    def _newrelic(self) -> str:
        return "NR" + "AK-" + self.some(27, UPPER)

    def _postman(self) -> str:
        return "PM" + "AK-" + self.some(24, HEX) + "-" + self.some(34, HEX)

    def _supabase(self) -> str:
        return "sb" + "p_" + self.some(40, HEX)

    def _atlassian(self) -> str:
        return "ATA" + "TT3xFfGF0" + self.some(180, URL_SAFE) + "=" + self.some(8, UPPER)

    def _flyio(self) -> str:
        return "fo" + "1_" + self.some(43, URL_SAFE)

    def _hex32(self) -> str:
        return self.some(32, HEX)

    def _hex40(self) -> str:
        return self.some(40, HEX)

    def _hex64(self) -> str:
        return self.some(64, HEX)

    def _word(self) -> str:
        return self.some(32)

    def _base64(self) -> str:
        return base64.b64encode(self._random.randbytes(32)).decode()

    def _basic(self) -> str:
        return base64.b64encode(f"{self.some(6)}:{self.some(14)}".encode()).decode()

    def _human(self) -> str:
        word = self._random.choice(["Tulip", "Harbor", "Quartz", "Velvet", "Pepper", "Juniper"])
        return (
            f"{word}{self._random.choice('!@#%&*')}{self.some(4, '0123456789')}{self._random.choice(['x', 'Yz', ''])}"
        )

    def _plainword(self) -> str:
        return self._random.choice(["hunter2", "letmein99", "swordfish1", "opensesame7"])

    def _phrase(self) -> str:
        words = ["correct", "horse", "battery", "staple", "velvet", "copper", "onion", "marble"]
        return "-".join(self._random.sample(words, 4))

    def _django(self) -> str:
        return "django-insecure-" + self.some(50, LOWER + "!@#$%^&*(-_=+)")

    def _block(self) -> str:
        """The lines of a private key, without its frame."""
        return "\n".join(self.some(64, BASE64) for _ in range(6)) + "\n" + self.some(42, BASE64) + "=" + "="


def framed(kind: str, block: str) -> str:
    """A private key in PEM."""
    dashes = "-" * 5
    return f"{dashes}BEGIN {kind} KEY{dashes}\n{block}\n{dashes}END {kind} KEY{dashes}"
