"""Settings: everything that can be configured, with its default, its unit and its meaning.

Each setting is read from the environment variable of its name, `TOKENWELL_` before it: `port` from `TOKENWELL_PORT`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from tokenwell.errors import RequestInvalid

PREFIX = "TOKENWELL_"
"""What every variable's name begins with."""

PROVIDERS = {"OPENAI_API_KEY": "https://api.openai.com/v1", "ANTHROPIC_API_KEY": "https://api.anthropic.com/v1"}
"""Where requests go when only a provider's own key is in the environment; the first one found counts."""

_URL = r"\A(?:https?://[^\s/?#]+[^\s?#]*)?\Z"
_DATABASE = r"\A(?:sqlite|postgres(?:ql)?)://"
_LONG_WORDS = r"\A(?:\S{32,}(?:\s+\S{32,})*)?\Z"
_PATTERNS = {
    _LONG_WORDS: "keys of at least 32 characters, apart by spaces",
    _URL: "an http or https address",
    _DATABASE: "sqlite:///file.db or postgresql://…",
    r"\S": "a name or an address",
}
_MOST_TOKENS = 10**16
_SECRETS = (
    "upstream_api_key", "secret_key", "smtp_password", "oidc_client_secret", "stripe_secret_key", "stripe_webhook_secret",
)  # fmt: skip
_FILES = {
    "upstream_api_key": "upstream_api_key_file",
    "smtp_password": "smtp_password_file",
    "oidc_client_secret": "oidc_client_secret_file",
    "stripe_secret_key": "stripe_secret_key_file",
}


def _about(
    text: str, least: int | None = None, most: int | None = None, unit: str = "", pattern: str | None = None
) -> msgspec.Meta:
    bounds: dict[str, Any] = {"ge": least, "le": most, "pattern": pattern}
    return msgspec.Meta(description=text, extra={"unit": unit}, **bounds)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a Tokenwell process runs with."""

    database_url: Annotated[
        str, _about("Where the ledger lives: `sqlite:///file.db` or `postgresql://user:password@host/name`.", pattern=_DATABASE)
    ] = "sqlite:///data/tokenwell.db"
    host: Annotated[str, _about("The address to listen on; `0.0.0.0` for all of the machine's.", pattern=r"\S")] = "127.0.0.1"
    port: Annotated[int, _about("The port to listen on.", 1, 65_535)] = 8080
    public_url: Annotated[
        str,
        _about("The address people reach the console at, such as `https://ai.example.com`. Empty: host and port.", pattern=_URL),
    ] = ""
    secure_cookies: Annotated[
        bool, _about("Send the sign-in cookie over HTTPS only. Where unset, it is when `public_url` begins with https.")
    ] = False
    session_hours: Annotated[int, _about("How long a sign-in lasts.", 1, 8_760, "hours")] = 12
    warning_threshold_tokens: Annotated[
        int,
        _about("Below this balance an organization is Running low, unless it has its own threshold.", 0, _MOST_TOKENS, "tokens"),
    ] = 1_000_000
    minimum_reserve_tokens: Annotated[
        int, _about("Below this balance AI is stopped, unless the organization has its own reserve.", 0, _MOST_TOKENS, "tokens")
    ] = 100_000
    emergency_limit_tokens: Annotated[
        int,
        _about(
            "How many emergency tokens an organization may take at a time, which the next grant repays. 0: none.",
            0,
            _MOST_TOKENS,
            "tokens",
        ),
    ] = 0
    hold_seconds: Annotated[int, _about("How long a request may hold tokens before the hold lapses.", 1, 86_400, "seconds")] = 600
    output_limit_tokens: Annotated[
        int, _about("How much output is held for a request that names no limit of its own.", 1, 10**9, "tokens")
    ] = 1024
    api_requests_per_minute: Annotated[
        int, _about("How many requests each key may make to the REST API in a minute, in one process.", 1, 10**6, "requests")
    ] = 6_000
    body_limit_bytes: Annotated[
        int, _about("The largest request body the gateway and the REST API take.", 1024, 2**31, "bytes")
    ] = 10 * 2**20
    upstream_url: Annotated[
        str,
        _about(
            "The AI provider: the base URL of an OpenAI-compatible API, such as `https://api.openai.com/v1`. Empty: the provider "
            "whose key is in `OPENAI_API_KEY` or `ANTHROPIC_API_KEY`, else a small model started beside the server.",
            pattern=_URL,
        ),
    ] = ""
    upstream_api_key: Annotated[
        str, _about("The provider's key. A file is the better place for it: others can often see a process's environment.")
    ] = ""
    upstream_api_key_file: Annotated[str, _about("A file that holds the provider's key on one line.")] = ""
    upstream_timeout_seconds: Annotated[
        int, _about("How long the provider may stay silent before a request is given up.", 1, 86_400, "seconds")
    ] = 300
    unrated_models: Annotated[
        Literal["one_to_one", "refuse", "default"],
        _about("What a model without a rate costs: one to one, nothing since it is refused, or the rate that is set for `*`."),
    ] = "one_to_one"
    models_file: Annotated[
        str,
        _about(
            "A TOML file that names providers and the models they answer for. It goes before `upstream_url` and the keys in the "
            "environment."
        ),
    ] = ""
    spool_directory: Annotated[
        str,
        _about(
            "Where the gateway writes down what it has under way, so that it is charged although the process is killed. It must "
            "outlive the process. Empty: `spool` beside the database, or in `data` where that is no file."
        ),
    ] = ""
    queue_limit: Annotated[
        int, _about("How many writes may wait in one process; more are refused as busy.", 1, 10**6, "writes")
    ] = 10_000
    batch_limit: Annotated[int, _about("How many writes are committed in one transaction at most.", 1, 10_000, "writes")] = 256
    run_jobs: Annotated[bool, _about("Run the jobs inside the server. Where false, `tokenwell worker` must run beside it.")] = True
    secret_key: Annotated[
        str,
        _about(
            "What stored secrets are sealed with: at least 32 characters that nobody can guess. Several, apart by spaces: the "
            "first seals, all open. Empty: a key file beside the database, made at first use.",
            pattern=_LONG_WORDS,
        ),
    ] = ""
    secret_key_file: Annotated[
        str, _about("The file that holds the secret key, where `secret_key` is empty. Empty: `tokenwell.key` beside the database.")
    ] = ""
    events_kept_days: Annotated[
        int,
        _about(
            "How long events are kept that everybody was told of. 0: for ever. The journal and the audit log always are.",
            0,
            36_600,
            "days",
        ),
    ] = 0
    alerts_allowed_hosts: Annotated[
        str,
        _about(
            "Names, addresses and networks (`10.1.0.0/16`), apart by spaces, that webhooks and chats may lead to although they are "
            "not on the public internet. They may also be spoken to over http."
        ),
    ] = ""
    smtp_host: Annotated[str, _about("The mail server that e-mails are sent through. Empty: no e-mail is sent.")] = ""
    smtp_port: Annotated[int, _about("The mail server's port.", 1, 65_535)] = 587
    smtp_security: Annotated[
        Literal["starttls", "tls", "none"],
        _about("How the way to the mail server is secured: `starttls` (port 587), `tls` (port 465), `none` on a trusted network."),
    ] = "starttls"
    smtp_username: Annotated[str, _about("The account at the mail server. Empty: none is needed.")] = ""
    smtp_password: Annotated[str, _about("The password at the mail server. A file is the better place for it.")] = ""
    smtp_password_file: Annotated[str, _about("A file that holds the password at the mail server on one line.")] = ""
    smtp_ca_file: Annotated[
        str, _about("The certificates that the mail server's own is checked against. Empty: those of the system.")
    ] = ""
    mail_from: Annotated[
        str, _about("The sender of e-mails, such as `Tokenwell <ai@example.com>`. Empty: tokenwell@ and the public address's host.")
    ] = ""
    tenant_role: Annotated[
        str,
        _about(
            "PostgreSQL: the role that what is about one organization runs as, bound to its rows by row-level security. "
            "Tokenwell's own role must be a member of it. Empty: no such role."
        ),
    ] = ""
    oidc_issuer: Annotated[
        str, _about("Single sign-on: the provider's issuer, such as `https://id.example.com`. Empty: none.", pattern=_URL)
    ] = ""
    oidc_client_id: Annotated[str, _about("Single sign-on: how the provider calls this server.")] = ""
    oidc_client_secret: Annotated[str, _about("Single sign-on: the secret shared with the provider; better in a file.")] = ""
    oidc_client_secret_file: Annotated[str, _about("A file that holds the secret shared with the provider on one line.")] = ""
    oidc_name: Annotated[str, _about("Single sign-on: what its button calls the provider.")] = "SSO"
    oidc_groups_claim: Annotated[str, _about("Single sign-on: the claim that lists somebody's groups.")] = "groups"
    oidc_roles: Annotated[
        str,
        _about(
            "Single sign-on: what each group gives, apart by spaces: `ops=acme:organization_admin staff=acme:viewer "
            "root=platform_admin`. What is named here follows the provider at each sign-in."
        ),
    ] = ""
    oidc_allow_loopback: Annotated[
        bool, _about("Single sign-on: let the provider be asked over http on this machine, for trials. Else https alone.")
    ] = False
    stripe_secret_key: Annotated[
        str, _about("Purchases: the key that Stripe is asked with. A file is the better place for it. Empty: nothing is sold.")
    ] = ""
    stripe_secret_key_file: Annotated[str, _about("A file that holds Stripe's key on one line.")] = ""
    stripe_webhook_secret: Annotated[
        str,
        _about(
            "Purchases: the secret that Stripe signs webhooks with (`whsec_…`). Several, apart by spaces, while it is rolled over."
        ),
    ] = ""
    stripe_webhook_secret_file: Annotated[
        str, _about("A file that holds the secret, or several, that webhooks are signed with.")
    ] = ""
    stripe_url: Annotated[
        str,
        _about(
            "Where Stripe is asked: https, or an address among `alerts_allowed_hosts`, such as that of a stand-in for trials.",
            pattern=_URL,
        ),
    ] = "https://api.stripe.com"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("The least severe events that are logged.")] = "info"
    log_format: Annotated[Literal["json", "console"], _about("One JSON object a line, or lines for people.")] = "json"

    def __post_init__(self) -> None:
        if self.warning_threshold_tokens < self.minimum_reserve_tokens:
            raise _invalid("warning_threshold_tokens", f"must not be below {PREFIX}MINIMUM_RESERVE_TOKENS")

    def __repr__(self) -> str:
        """Show every setting but what is secret in it, so that it can be logged."""
        values = msgspec.structs.asdict(self)
        values |= {name: "…" for name in _SECRETS if values[name]}
        values["database_url"] = re.sub(r"(?<=:)[^:@/]*(?=@)", "…", self.database_url)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @property
    def address(self) -> str:
        """The address people reach the server at, without a slash at its end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return f"http://{self.host}:{self.port}"
        if address.is_unspecified:
            return f"http://127.0.0.1:{self.port}"
        return f"http://[{address}]:{self.port}" if address.version == 6 else f"http://{address}:{self.port}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **given: Any) -> Settings:
        """Return the settings in `environ`; what is `given` goes before it.

        Raises RequestInvalid that names the variable: for a value that cannot be used, and for a variable that begins with
        TOKENWELL_ but is no setting, which is most likely misspelt.
        """
        known = {PREFIX + name.upper(): name for name in cls.__struct_fields__}
        for variable in environ:
            if variable.startswith(PREFIX) and variable not in known:
                raise RequestInvalid(f"{variable} is not a setting of Tokenwell", field=variable)
        texts = {name: environ.get(variable, "").strip() for variable, name in known.items()}
        values: dict[str, Any] = {name: text for name, text in texts.items() if text} | given
        values = {name: _convert(name, value) for name, value in values.items()}
        values.setdefault("secure_cookies", values.get("public_url", "").startswith("https://"))
        for name, file in _FILES.items():
            if not values.get(name) and values.get(file):
                values[name] = _read_word(file, values[file])
        if not values.get("stripe_webhook_secret") and values.get("stripe_webhook_secret_file"):
            values["stripe_webhook_secret"] = " ".join(
                _read_words("stripe_webhook_secret_file", values["stripe_webhook_secret_file"])
            )
        is_told = values.get("upstream_url") or values.get("models_file")
        return cls(**(values if is_told else values | _provider_in(environ)))

    def to_env(self) -> dict[str, str]:
        """Return the environment that `from_env` reads these settings from."""
        values = msgspec.structs.asdict(self)
        texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
        return {PREFIX + name.upper(): text for name, text in texts.items()}


class Setting(msgspec.Struct, frozen=True):
    """A setting as the reference shows it."""

    name: str
    variable: str
    default: str
    unit: str
    help: str
    allowed: str


def describe() -> tuple[Setting, ...]:
    """Return every setting, in the order of the class."""
    return tuple(_describe(field.name, field.default) for field in msgspec.structs.fields(Settings))


_HINTS = get_type_hints(Settings, include_extras=True)


def _describe(name: str, default: Any) -> Setting:
    meta = _meta_of(name)
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return Setting(
        name, PREFIX + name.upper(), text, meta.extra["unit"] if meta.extra else "", meta.description or "", _allowed(name)
    )


def _meta_of(name: str) -> msgspec.Meta:
    (meta,) = (extra for extra in _HINTS[name].__metadata__ if isinstance(extra, msgspec.Meta))
    return meta


def _allowed(name: str) -> str:
    kind, meta = _HINTS[name].__origin__, _meta_of(name)
    if kind is int:
        return f"a whole number between {meta.ge:,} and {meta.le:,}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return _PATTERNS.get(meta.pattern or "", "text")
    return "one of " + ", ".join(get_args(kind))


def _convert(name: str, value: Any) -> Any:
    try:
        return msgspec.convert(value, _HINTS[name], strict=False)
    except msgspec.ValidationError:
        raise _invalid(name, f"must be {_allowed(name)}") from None


def _provider_in(environ: Mapping[str, str]) -> dict[str, str]:
    for variable, url in PROVIDERS.items():
        if key := environ.get(variable, "").strip():
            return {"upstream_url": url, "upstream_api_key": key}
    return {}


def _read_word(name: str, path: str) -> str:
    words = _read_words(name, path)
    if len(words) != 1:
        raise _invalid(name, "must hold one key on one line")
    return words[0]


def _read_words(name: str, path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(name, f"cannot be read ({type(error).__name__})") from None


def _invalid(name: str, what: str) -> RequestInvalid:
    variable = PREFIX + name.upper()
    return RequestInvalid(f"{variable} {what}", field=variable)
