"""Listens at an address and runs the application there."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from modise_lightning.errors import UserError
from modise_lightning.serving.models import ServedModel
from modise_lightning.serving.settings import ServeSettings

_BACKLOG = 128
_SECONDS_TO_END = 3


@dataclass(frozen=True)
class Opened:
    """A socket that listens.

    Attributes:
        socket: The socket.
        address: Host and port, as they stand in an address.
    """

    socket: socket.socket
    address: str


@contextmanager
def listen(settings: ServeSettings) -> Iterator[Opened]:
    """Listen, before a model is loaded for nothing.

    Args:
        settings: Host and port.

    Raises:
        UserError: The libraries are missing, or the address is in use or none of this machine's.
    """
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        raise UserError(
            "serve: the page is served by starlette and uvicorn, which are not installed; "
            "pip install 'modise-lightning[serve]'."
        )
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"host, port: nobody can listen at {settings.host}:{settings.port} ({reason}); give another "
            "port, or port=0 for any that is free."
        ) from error
    with opened:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield Opened(opened, f"{host}:{opened.getsockname()[1]}")


def choose_token(settings: ServeSettings) -> str | None:
    """Give the token that is asked for: beyond this machine there always is one.

    Args:
        settings: Host and token.
    """
    if settings.token is not None or settings.is_local:
        return settings.token
    return secrets.token_urlsafe(24)


def run_server(
    opened: Opened, served: ServedModel, settings: ServeSettings, folder: Path, token: str | None
) -> None:
    """Serve until the process is interrupted.

    Args:
        opened: Where.
        served: The model.
        settings: Of the page.
        folder: A temporary one for uploads.
        token: That is asked for; None for none.
    """
    import uvicorn

    from modise_lightning.serving.application import make_application

    application = make_application(served, settings, folder, token)
    # No log of requests: names of files, which may be patients', stand in them.
    configuration = uvicorn.Config(
        application,
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    uvicorn.Server(configuration).run(sockets=[opened.socket])
