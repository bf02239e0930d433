"""Who may ask the page for what: this machine's names, requests of the page itself, and a token beyond it."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A header that no other page can send without asking first, which nothing here answers.
PAGE_HEADER = "x-modise-page"
COOKIE = "modise_token"
_HEADERS = {
    # Nothing but the page's own files; no frame, form or address elsewhere.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Protection:
    """Stands before the application: refuses what does not come from the page, and adds headers."""

    def __init__(
        self, app: ASGIApp, *, is_local: bool, allowed_hosts: Sequence[str], token: str | None
    ) -> None:
        """Set the rules.

        Args:
            app: The application.
            is_local: Whether the page listens at an address of this machine alone.
            allowed_hosts: Beyond it: names under which the page is reached; empty for any.
            token: That is asked for; None for none.
        """
        self._app = app
        self._is_local = is_local
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        refusal = self._refuse(scope)
        await (refusal or self._app)(scope, receive, send_protected)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        # A foreign name that points here (DNS rebinding) would make another page this one's origin.
        if len(headers.getlist("host")) != 1 or not self._is_known(headers["host"]):
            return PlainTextResponse("This page is not reached under this name.", 400)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse("Asked for by another page.", 403)
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
                return PlainTextResponse("Asked for by another page.", 403)
            if PAGE_HEADER not in headers:
                return PlainTextResponse("Asked for by another page.", 403)
        return None if self._token is None else self._ask_token(scope, headers, self._token)

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if not self._is_local:
            return not self._allowed or name in self._allowed
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _ask_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        if cookie is not None and hmac.compare_digest(cookie.value.encode(), token.encode()):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and hmac.compare_digest(given.encode(), token.encode()):
            # So that it stands in no address that is shown, kept or sent on.
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return answer
        return PlainTextResponse("Open the address with the token, which the command printed.", 401)
