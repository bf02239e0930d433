"""Opens a page in headless Chromium (QtWebEngine) and does what a user does; prints what it saw as JSON.

A process of its own, because Chromium's libraries do not share one with others: ``python browser_process.py
PAGE ACTIONS``, where ``PAGE`` is a file or an address of this machine, and ``ACTIONS`` a JSON list (or ``@``
and a file with one) of ``["run", JavaScript]``, ``["key", name]``, ``["wait", JavaScript]`` until it is true,
``["resize", "width,height"]``, ``["grab", PNG]``, ``["choose", paths]`` (what the next file dialogue
gives), and ``["touch", places]``: a list of times, each a list of ``[x, y]`` of the fingers on the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, Qt, QTimer, QUrl
from PySide6.QtTest import QTest
from PySide6.QtWebEngineCore import (
    QWebEnginePage,
    QWebEngineProfile,
    QWebEngineUrlRequestInfo,
    QWebEngineUrlRequestInterceptor,
)
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication

_MOST_TIME = 60_000  # milliseconds
_PAUSE = 100  # milliseconds, so that a key press has arrived before the next action


class _Requests(QWebEngineUrlRequestInterceptor):
    """Notes the addresses that are asked for, and refuses those of other machines."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def interceptRequest(self, info: QWebEngineUrlRequestInfo) -> None:
        address = info.requestUrl()
        self.addresses.append(address.toString()[:200])
        if address.host() not in ("", "127.0.0.1"):
            info.block(True)


class _Page(QWebEnginePage):
    """Notes what is written to the console: script errors, and whatever the policy of the page refuses."""

    def __init__(self, profile: QWebEngineProfile, view: QWebEngineView) -> None:
        super().__init__(profile, view)
        self.messages: list[str] = []
        self.chosen: list[str] = []

    def chooseFiles(self, mode: object, old_files: object, accepted: object) -> list[str]:
        return self.chosen

    def javaScriptConsoleMessage(self, level: object, message: str, line: int, source: str) -> None:
        self.messages.append(f"{level} line {line}: {message}")


class _Visit:
    """Does one action after the other."""

    def __init__(self, application: QApplication, address: str, actions: list[list[str]]) -> None:
        self.application = application
        self.actions: Iterator[list[str]] = iter(actions)
        self.values: list[Any] = []
        self.requests = _Requests()
        # Without a name, nothing of it is kept; the application's, so that it outlives the page.
        self.profile = QWebEngineProfile(application)
        self.profile.setUrlRequestInterceptor(self.requests)
        self.view = QWebEngineView()
        self.page = _Page(self.profile, self.view)
        self.view.setPage(self.page)
        self.view.resize(1200, 900)
        self.view.show()
        self.page.loadFinished.connect(self._loaded)
        is_served = address.startswith("http://127.0.0.1:")
        self.page.load(QUrl(address) if is_served else QUrl.fromLocalFile(address))

    def _loaded(self, succeeded: bool) -> None:
        if not succeeded:
            self.application.exit(1)
        QTimer.singleShot(_PAUSE, self._act)

    def _act(self) -> None:
        action = next(self.actions, None)
        if action is None:
            seen = {
                "values": self.values,
                "messages": self.page.messages,
                "addresses": self.requests.addresses,
            }
            print(json.dumps(seen))
            self.application.exit(0)
        elif action[0] == "key":
            QTest.keyClick(self.view.focusProxy(), getattr(Qt.Key, f"Key_{action[1]}"))
            QTimer.singleShot(_PAUSE, self._act)
        elif action[0] == "wait":
            self.page.runJavaScript(f"Boolean({action[1]})", lambda value: self._wait(action, value))
        elif action[0] == "resize":
            self.view.resize(*map(int, action[1].split(",")))
            QTimer.singleShot(5 * _PAUSE, self._act)
        elif action[0] == "choose":
            self.page.chosen = list(action[1])
            self._act()
        elif action[0] == "touch":
            self._touch(action[1])
            QTimer.singleShot(_PAUSE, self._act)
        elif action[0] == "grab":
            self.view.grab().save(action[1])
            self._act()
        else:
            self.page.runJavaScript(action[1], self._keep)

    def _touch(self, times: list[list[list[int]]]) -> None:
        device, target = QTest.createTouchDevice(), self.view.focusProxy()
        for time, fingers in enumerate(times):
            sequence = QTest.touchEvent(target, device)
            for finger, (x, y) in enumerate(fingers):
                (sequence.move if time else sequence.press)(finger, QPoint(x, y), target)
            sequence.commit()
            QTest.qWait(_PAUSE)
        sequence = QTest.touchEvent(target, device)
        for finger, (x, y) in enumerate(times[-1]):
            sequence.release(finger, QPoint(x, y), target)
        sequence.commit()

    def _wait(self, action: list[str], value: object) -> None:
        if value:
            self._act()
        else:
            self.actions = chain([action], self.actions)
            QTimer.singleShot(_PAUSE, self._act)

    def _keep(self, value: object) -> None:
        self.values.append(value)
        self._act()


def main() -> int:
    """Visit the page that the command line names."""
    application = QApplication(sys.argv[:1])
    QTimer.singleShot(_MOST_TIME, lambda: application.exit(2))
    actions = Path(sys.argv[2][1:]).read_text() if sys.argv[2].startswith("@") else sys.argv[2]
    visit = _Visit(application, sys.argv[1], json.loads(actions))
    code = application.exec()
    del visit
    return code


if __name__ == "__main__":
    sys.exit(main())
