"""hmsact login, logout: a person signs in at a terminal, with a browser on any device."""

from __future__ import annotations

import time
from datetime import datetime

import click

from hmsact.client import Orchestrator
from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.said import not_empty
from hmsact.errors import Unauthenticated, Unavailable
from hmsact.provider import Asked, Provider
from hmsact.render import visible
from hmsact.signed_in import SignedIn, SignIns


@click.command()
@click.option(
    "--issuer",
    envvar="HMSACT_ISSUER",
    callback=not_empty,
    metavar="URL",
    help="The identity provider [HMSACT_ISSUER, else that of the last sign-in at this daemon].",
)
@click.option(
    "--client-id",
    "client",
    envvar="HMSACT_CLIENT_ID",
    callback=not_empty,
    metavar="ID",
    help="As which of its clients this program signs in [HMSACT_CLIENT_ID, else the last].",
)
@click.option(
    "--scope",
    envvar="HMSACT_SCOPE",
    metavar="SCOPES",
    help="What to ask for, such as 'openid offline_access' [HMSACT_SCOPE, else the last, else openid].",
)
@click.option(
    "--resource",
    envvar="HMSACT_RESOURCE",
    callback=not_empty,
    metavar="URI",
    help="Which resource the token is for, if the provider asks (RFC 8707) [HMSACT_RESOURCE, else the last].",
)
@click.option(
    "--issuer-ca",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    metavar="FILE",
    help="Authorities that vouch for the provider, PEM; else the system's.",
)
@global_options
@click.pass_obj
def login(
    invocation: Invocation,
    issuer: str | None,
    client: str | None,
    scope: str | None,
    resource: str | None,
    ca_file: str | None,
) -> None:
    """Sign in as a person, with a browser on this or any other device.

    What you get is kept for this daemon alone, in a file that only you can read, and renewed by itself. --token and
    HMSACT_TOKEN go before it.
    """
    sign_ins, address = SignIns.of_user(), invocation.reached
    last = sign_ins.at(address)
    issuer = issuer or (last.issuer if last else None)
    client = client or (last.client if last else None)
    if issuer is None or client is None:
        raise click.UsageError("say where and as what to sign in the first time: --issuer URL --client-id ID")
    if last is not None and last.issuer == issuer:
        scope, resource, ca_file = scope or last.scope, resource or last.resource, ca_file or last.ca_file
    scope = scope or "openid"
    provider = Provider(issuer, client, ca_file)
    asked = provider.ask(scope, resource)
    _say_where(asked)
    tokens = provider.wait(asked, resource)
    signed_in = SignedIn(issuer, client, scope, resource, ca_file, tokens.access, tokens.expires_at, tokens.refresh)
    # Kept only when the daemon knows who it is: a token that it refuses is better looked into now.
    with Orchestrator(address, token=signed_in.access, namespace=invocation.namespace) as act:
        principal = act.whoami().principal
    sign_ins.keep(address, signed_in)
    invocation.say(
        {"id": principal.id, "expires_at": int(signed_in.expires_at), "renewable": signed_in.refresh is not None},
        f"Signed in at {address} as {visible(principal.id)}, {_until(signed_in)}.",
    )


@click.command()
@global_options
@click.pass_obj
def logout(invocation: Invocation) -> None:
    """Forget the sign-in at the daemon, and end it at the identity provider if that can be had."""
    sign_ins, address = SignIns.of_user(), invocation.reached
    found = sign_ins.at(address)
    if found is None:
        invocation.say({"signed_out": False}, f"Nobody was signed in at {address}.")
        return
    sign_ins.keep(address, None)
    if found.refresh is not None:
        try:
            Provider(found.issuer, found.client, found.ca_file).revoke(found.refresh)
        except (Unauthenticated, Unavailable) as error:
            click.echo(f"hmsact: it is forgotten here, but {visible(str(error))}", err=True)
    invocation.say({"signed_out": True}, f"Signed out at {address}.")


def _say_where(asked: Asked) -> None:
    click.echo("To sign in, open", err=True)
    click.echo(f"  {visible(asked.whole_uri or asked.uri)}", err=True)
    click.echo(
        f"and look that it shows the code {visible(asked.code)}."
        if asked.whole_uri
        else f"and enter {visible(asked.code)}.",
        err=True,
    )
    click.echo(f"Waiting for {round(asked.lasts_s / 60) or 1} min. …", err=True)


def _until(signed_in: SignedIn) -> str:
    if signed_in.refresh is not None:
        return "renewed by itself"
    until = datetime.fromtimestamp(signed_in.expires_at).astimezone()
    minutes = max(0, round((signed_in.expires_at - time.time()) / 60))
    return f"until {until:%H:%M} ({minutes} min)"
