"""Operations: the commands that run Tokenwell, and those on administrators."""

from __future__ import annotations

import secrets
import sys

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, command, root
from tokenwell.errors import PersonExists, PersonNotFound

_host = click.option("--host", help="The address to listen on; else TOKENWELL_HOST, else 127.0.0.1.")
_port = click.option("--port", type=click.IntRange(1, 65_535), help="The port; else TOKENWELL_PORT, else 8080.")


@command(root, "serve")
@_host
@_port
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes answer requests.")
def serve(call: Call, host: str | None, port: int | None, workers: int) -> None:
    """Serve the gateway and the console until Ctrl-C or SIGTERM.

    \b
    Examples:
      tokenwell serve
      tokenwell serve --port 9000 --workers 2
    """
    settings = call.settings(host=host, port=port)
    tokens: list[str] = []

    def ready(model: str) -> None:
        ai = f"local model {model}" if model else settings.models_file or settings.upstream_url
        text = f"Tokenwell answers at {settings.address}, AI by {ai}."
        for token in tokens:
            text += f"\nNobody administers it yet: {settings.address}/set-up takes this token, once: {token}"
        answer = {"address": settings.address, "ai": ai, "set_up_token": tokens[0] if tokens else None}
        call.show(answer, text)

    wiring.serve(settings, workers=workers, ready=ready, set_up=tokens.append)


@command(root, "demo")
@_host
@_port
@click.option("--prepare", is_flag=True, help="Make the demo's data, and stop.")
def demo(call: Call, host: str | None, port: int | None, prepare: bool) -> None:
    """Serve a demo organization with three weeks of history. Run again, it goes on with what is there.

    \b
    Examples:
      tokenwell demo --prepare
      tokenwell demo --port 9001
    """
    settings = call.settings({"TOKENWELL_LOG_FORMAT": "console", "TOKENWELL_LOG_LEVEL": "warning"}, host=host, port=port)
    access = wiring.prepare_demo(settings)
    answer = {"address": settings.address, "email": access.email, "password": access.password, "key_file": access.key_file}
    if prepare:
        call.show(answer, f"The demo is ready: {_sign_in(access)}")
    else:
        wiring.serve(settings, ready=lambda model: call.show(answer | {"model": model}, _welcome(settings.address, access, model)))


def _sign_in(access: wiring.DemoAccess) -> str:
    if access.password is not None:
        return f"sign in as {access.email} with the password {access.password} (shown only this once)"
    return f"sign in as {access.email}, the password was shown at the first start\n" + (
        f"            (another one: .venv/bin/tokenwell admin create {access.email} --reset --generate)"
    )


def _welcome(address: str, access: wiring.DemoAccess, model: str) -> str:
    ai = {"": "the provider that is configured", "simulated": "simulated: no model is installed"}.get(
        model, f"{model}, on this machine"
    )
    return f"""
Tokenwell is running. Ctrl-C stops it.

  Console   {address}/
            {_sign_in(access)}
  Gateway   {address}/v1 (speaks the OpenAI API; its key is in {access.key_file})
  AI        {ai}

Spend some tokens, then look at the ledger in the console:

  curl -i {address}/v1/chat/completions \\
    -H 'Authorization: Bearer {access.secret}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{model or "gpt-5-mini"}", "messages": [{{"role": "user", "content": "Say hello in one sentence."}}]}}'
"""


@command(root, "migrate")
def migrate(call: Call) -> None:
    """Make the database, or bring its schema up to date.

    \b
    Examples:
      tokenwell migrate
      tokenwell migrate --database sqlite:///data/tokenwell.db
    """
    with wiring.open_meter(call.settings(), create=True) as meter:
        revision = wiring.revision_in(meter)
    call.show({"revision": revision}, f"The schema is up to date: revision {revision}.")


@root.group()
def admin() -> None:
    """Platform administrators."""


@command(admin, "create")
@click.argument("email")
@click.option("--name", default="", help="The name people see.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--generate", is_flag=True, help="Generate the password and show it.")
@click.option("--reset", is_flag=True, help="Give an existing administrator another password; ends their sessions.")
def create_admin(call: Call, email: str, name: str, password_stdin: bool, generate: bool, reset: bool) -> None:
    """Add a platform administrator. Asks for the password, unless it is piped in or generated.

    \b
    Examples:
      tokenwell admin create ada@example.com --generate
      tokenwell admin create ada@example.com --reset --generate --json
    """
    password = _password(password_stdin=password_stdin, generate=generate)
    settings = call.settings()
    with wiring.open_meter(settings, create=True) as meter:
        people = wiring.open_people(meter, settings)
        person = people.find(email)
        if reset:
            if person is None or not person.is_platform_admin:
                raise PersonNotFound("there is no administrator with this address", email=email)
            people.set_password(person.id, password)
        elif person is not None:
            raise PersonExists("this address is taken; --reset gives it another password", email=email)
        else:
            person = people.create_admin(email=email, password=password, name=name)
    answer = {"id": person.id, "email": person.email, "name": person.name, "password": password if generate else None}
    shown = f" Password: {password}" if generate else ""
    call.show(answer, f"{'Reset the password of' if reset else 'Created'} administrator {person.email}.{shown}")


def _password(*, password_stdin: bool, generate: bool) -> str:
    if password_stdin and generate:
        raise click.UsageError("--password-stdin does not go with --generate.")
    if generate:
        return secrets.token_urlsafe(18)
    if password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask for a password: give --password-stdin or --generate.")
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer
