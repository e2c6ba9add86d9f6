"""Mail: e-mails with a text and an HTML part, and the way to the mail server."""

from __future__ import annotations

import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr
from functools import cache
from pathlib import Path
from typing import Literal

import aiosmtplib
import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tokenwell.alerts.posting import Outcome
from tokenwell.alerts.words import Words

TIMEOUT_SECONDS = 20.0
"""How long the mail server may take for each step."""

SUBJECT_LIMIT = 150


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """The mail server that e-mails are sent through, and their sender."""

    host: str
    port: int
    sender: str
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: str = ""
    ca_file: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing an e-mail says; `when` is written small above it, where it is not empty."""

    title: str
    text: str = ""
    when: str = ""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """An e-mail in words. `link` leads where `button` says, `foot` says why it was sent, `unsubscribe` leads to where it is
    stopped."""

    id: str
    to: str
    subject: str
    parts: tuple[Part, ...]
    button: str = ""
    link: str = ""
    foot: tuple[str, ...] = ()
    unsubscribe: str = ""


def compose(mail: Mail, words: Words, server: MailServer, *, at: datetime) -> EmailMessage:
    """Return the message: its id is the delivery's, so that one that arrives twice can be known."""
    message = EmailMessage()
    name, sender = parseaddr(server.sender)
    message["From"] = formataddr((name, sender))
    message["To"] = mail.to
    message["Subject"] = " ".join(mail.subject.split())[:SUBJECT_LIMIT]
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{mail.id}@{sender.rpartition('@')[2] or 'tokenwell'}>"
    message["Auto-Submitted"] = "auto-generated"
    if mail.unsubscribe:
        message["List-Unsubscribe"] = f"<{mail.unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    language = {"zh": "zh-CN"}.get(words.language, words.language)
    values = {"mail": mail, "language": language, "_": words.gettext}
    message.set_content(_templates().get_template("mail.txt.j2").render(values))
    message.add_alternative(_templates().get_template("mail.html.j2").render(values), subtype="html")
    message["Content-Language"] = language
    return message


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


async def send(message: EmailMessage, server: MailServer, *, shown: str) -> Outcome:
    """Send an e-mail; `shown` is what the log has of it. Never raises but when cancelled."""
    request = f"SMTP {server.host}:{server.port}\n{shown}"
    try:
        context = ssl.create_default_context(cafile=server.ca_file or None)
        _, answer = await aiosmtplib.send(
            message,
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=context if server.security != "none" else None,
            timeout=TIMEOUT_SECONDS,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        refused = error.recipients[0]
        final = refused.code >= 500
        return Outcome(is_delivered=False, request=request, status=refused.code, answer=refused.message, is_final=final)
    except aiosmtplib.SMTPResponseException as error:
        return Outcome(is_delivered=False, request=request, status=error.code, answer=error.message)
    except (aiosmtplib.SMTPException, OSError, ValueError, TimeoutError) as error:
        return Outcome(is_delivered=False, request=request, answer=f"{type(error).__name__}: {error}")
    return Outcome(is_delivered=True, request=request, status=250, answer=answer)
