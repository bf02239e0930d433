"""In headless Chromium: the page as its reader uses it, with the keyboard too, and no other machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from modise_lightning.serving.application import make_application
from modise_lightning.serving.server import listen
from serving.served import composed_serve, exam_files, serve_model, settings_of

pytestmark = pytest.mark.xdist_group("browser")
PROCESS = Path(__file__).parents[1] / "browser_process.py"
HOSTILE = "<img src=x onerror=window.foreign=1> & 'quoted'"
SHOWN = "document.querySelectorAll('#lesions li').length"
IS_SHOWN = "document.getElementById('status').textContent.includes('4 images')"


@pytest.fixture(scope="module", autouse=True)
def _chromium() -> None:
    probe = [sys.executable, "-c", "import PySide6.QtWebEngineWidgets"]
    tried = subprocess.run(probe, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no headless Chromium: {tried.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve an untrained network, which is sure of nothing: its scores are low."""
    folder = tmp_path_factory.mktemp("page")
    config = composed_serve(folder, "port=0", "lesions.minimum_score=0", "lesions.score=0.0")
    settings = settings_of(config)
    temporary = folder / "temporary"
    temporary.mkdir()
    with listen(settings) as opened:
        application = make_application(serve_model(config), settings, temporary, None)
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened.socket]}, daemon=True)
        thread.start()
        yield f"http://{opened.address}/", temporary
        server.should_exit = True
        thread.join(timeout=10)


def visit(address: str, folder: Path, *actions: tuple[str, Any]) -> dict[str, Any]:
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-gpu",
    }
    (folder / "actions.json").write_text(json.dumps([("wait", "document.body.dataset.ready"), *actions]))
    done = subprocess.run(
        [sys.executable, str(PROCESS), address, f"@{folder / 'actions.json'}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def complaints(seen: dict[str, Any]) -> list[str]:
    """Give what the console says, but that the tests themselves read canvases often."""
    return [message for message in seen["messages"] if "Multiple readback operations" not in message]


def give(files: dict[str, bytes]) -> tuple[str, str]:
    """Choose files, as a reader does in the dialogue."""
    encoded = json.dumps([[name, base64.b64encode(data).decode()] for name, data in files.items()])
    script = f"""(() => {{
        const chosen = new DataTransfer();
        for (const [name, data] of {encoded}) {{
            chosen.items.add(new File([Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))], name));
        }}
        const input = document.getElementById('files');
        input.files = chosen.files;
        input.dispatchEvent(new Event('change'));
    }})()"""
    return ("run", script)


def run(script: str) -> tuple[str, str]:
    return ("run", script)


# Of each canvas: title, whether it is mirrored, and where on the screen it is.
HUNG = """JSON.stringify([...document.querySelectorAll('#hanging figure')].map((figure) => {
    const box = figure.getBoundingClientRect();
    return [figure.querySelector('figcaption').textContent, Math.round(box.left), Math.round(box.top)];
}))"""
# Where the breast's pixels are in a canvas, as shares of its width.
TISSUE = """JSON.stringify([...document.querySelectorAll('#hanging canvas')].map((canvas) => {
    const {data} = canvas.getContext('2d').getImageData(0, canvas.height >> 1, canvas.width, 1);
    const bright = [];
    for (let x = 0; x < canvas.width; x += 1) { if (data[4 * x] > 40) { bright.push(x / canvas.width); } }
    return [bright[0], bright.at(-1)];
}))"""
COLOURED = """[...document.querySelectorAll('#hanging canvas')].map((canvas) => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) { found += data[at] !== data[at + 2] ? 1 : 0; }
    return found;
}).reduce((one, other) => one + other)"""


def set_score(share: str) -> tuple[str, str]:
    """Move the slider between the lowest and the highest score that is listed."""
    return (
        "run",
        f"""(() => {{
            const scores = window.scores ??= [...document.querySelectorAll('#lesions button')]
                .map((each) => Number(each.children[2].textContent)).sort();
            const slider = document.getElementById('score');
            slider.value = {share};
            slider.dispatchEvent(new Event('input'));
            return {SHOWN};
        }})()""",
    )


def test_an_exam_is_hung_and_looked_at(page: tuple[str, Path], tmp_path: Path) -> None:
    address, temporary = page
    seen = visit(
        address,
        tmp_path,
        give(exam_files(HOSTILE)),
        ("wait", IS_SHOWN),
        ("resize", "1300,900"),
        run(HUNG),
        run(TISSUE),
        run(SHOWN),
        run(COLOURED),
        run(f"document.getElementById('show-outlines').click(); {COLOURED}"),
        run(f"document.getElementById('show-uncertainty').click(); {COLOURED}"),
        set_score("1"),
        set_score("0"),
        run("String(window.foreign) + document.images.length + document.scripts.length"),
        run("document.querySelector('figcaption').textContent"),
        run("document.documentElement.scrollWidth <= window.innerWidth"),
        ("resize", "420,900"),
        run("document.documentElement.scrollWidth <= window.innerWidth"),
        run(
            "performance.getEntriesByType('resource').filter((each) => each.name.includes('predict')).length"
        ),
        run("document.querySelector('.warning').textContent"),
        run("document.getElementById('close').click()"),
        ("wait", "!document.getElementById('drop').hidden"),
    )
    assert complaints(seen) == []
    assert all(each.startswith((address, f"blob:{address}", "data:")) for each in seen["addresses"])
    values = [value for value in seen["values"][1:]]
    hung, tissue, listed, coloured, plain, uncertain, none, all_again = values[:8]
    foreign, caption, fits, fits_narrow, predictions, warning = values[8:14]
    places = {text.split(" ·")[0]: (left, top) for text, left, top in json.loads(hung)}
    assert places["R CC"][0] < places["L CC"][0]
    assert places["R CC"][1] == places["L CC"][1] < places["R MLO"][1] == places["L MLO"][1]
    assert places["R MLO"][0] == places["R CC"][0]
    of_title = dict(zip([text for text, *_ in json.loads(hung)], json.loads(tissue), strict=True))
    for title, (first, last) in of_title.items():
        # The chest wall is in the middle of the page, at the border of the other breast's image.
        assert last > 0.98 if title.startswith("R") else first < 0.02
    assert listed > 0
    assert coloured > 0
    assert plain == 0
    assert uncertain > 0
    assert none == 0
    assert all_again == listed
    assert predictions == 1  # the slider asks nobody
    assert foreign == "undefined01"
    assert HOSTILE in caption
    assert fits
    assert fits_narrow
    assert "not a medical device" in warning
    assert "synthetic phantom" in warning
    last = time.monotonic() + 60  # what a busy machine may need
    while list(temporary.iterdir()) and time.monotonic() < last:
        time.sleep(0.05)
    assert list(temporary.iterdir()) == []


def write_folder(folder: Path) -> Path:
    """Write an exam as a folder in a folder."""
    (folder / "exam" / "views").mkdir(parents=True)
    for name, data in exam_files().items():
        (folder / "exam" / "views" / name).write_bytes(data)
    return folder / "exam"


def drop(files: dict[str, bytes]) -> tuple[str, str]:
    """Drop files on the page."""
    chosen = give(files)[1].replace("const input = document.getElementById('files');", "")
    event = "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: chosen, bubbles: true}));"
    begin, _, end = chosen.partition("input.files")
    return ("run", begin + event + end.partition("'change'));")[2])


def test_files_are_dropped_and_a_folder_is_chosen(page: tuple[str, Path], tmp_path: Path) -> None:
    """The folder by the browser's own dialogue, with those below it."""
    exam = str(write_folder(tmp_path))
    titles = "[...document.querySelectorAll('figcaption')].map((each) => each.textContent.slice(0, 5)).join()"
    seen = visit(
        page[0],
        tmp_path,
        drop(exam_files()),
        ("wait", IS_SHOWN),
        run(titles),
        run("document.getElementById('close').click()"),
        ("wait", "!document.getElementById('drop').hidden"),
        ("choose", [exam]),
        run("document.getElementById('folder').focus()"),
        ("key", "Space"),
        ("wait", IS_SHOWN),
        run(titles),
    )
    assert complaints(seen) == []
    _, dropped, _, _, chosen = seen["values"]
    assert dropped == chosen
    assert sorted(dropped.split(",")) == ["L CC ", "L MLO", "R CC ", "R MLO"]


def test_fingers_move_and_zoom(page: tuple[str, Path], tmp_path: Path) -> None:
    """One stays, the other goes to twice the distance: what is under the first one stays, twice as large."""
    address, _ = page
    first = "document.querySelector('#hanging canvas')"
    box = f"JSON.stringify({first}.getBoundingClientRect())"
    place = visit(address, tmp_path, give(exam_files()), ("wait", IS_SHOWN), run(box))["values"][-1]
    where = json.loads(place)
    x, y = int(where["x"] + where["width"] / 2), int(where["y"] + where["height"] / 2)

    def column(across: int) -> tuple[str, str]:
        """Ask the page which column of the picture is so far from the middle of the canvas."""
        there = f"{{clientX: {x + across}, clientY: {y}}}"
        text = "document.getElementById('pointer').textContent"
        return run(f"{first}.dispatchEvent(new PointerEvent('pointermove', {there})); {text}")

    asked = [column(0), column(80)]
    seen = visit(
        address,
        tmp_path,
        give(exam_files()),
        ("wait", IS_SHOWN),
        *asked,
        ("touch", [[[x, y], [x + 80, y]], [[x, y], [x + 120, y]], [[x, y], [x + 160, y]]]),
        *asked,
        ("touch", [[[x, y]], [[x + 20, y]], [[x + 40, y]]]),
        *asked,
        run(f"{first}.focus()"),
        ("key", "0"),
        *asked,
    )
    assert complaints(seen) == []
    texts = [text for text in seen["values"] if isinstance(text, str) and ", grey " in text]
    columns = [int(text.partition("pixel ")[2].partition(",")[0]) for text in texts]
    whole, zoomed, moved, back = zip(columns[::2], columns[1::2], strict=True)
    assert zoomed[0] == pytest.approx(whole[0], abs=1)
    assert zoomed[1] - zoomed[0] == pytest.approx((whole[1] - whole[0]) / 2, abs=1.5)
    assert moved[0] == pytest.approx(zoomed[0] - (zoomed[1] - zoomed[0]) / 2, abs=1.5)
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0], abs=1)
    assert back == whole


def test_the_keyboard_is_enough(page: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = page
    chosen = "document.querySelectorAll('#lesions [aria-current=true]').length"
    first = "document.querySelector('#hanging canvas')"
    alone = (
        "[...document.querySelectorAll('#hanging canvas')].filter((each) => each.checkVisibility()).length"
    )
    seen = visit(
        address,
        tmp_path,
        give(exam_files()),
        ("wait", IS_SHOWN),
        run(f"{first}.focus(); document.activeElement.tagName"),
        run(COLOURED),
        ("key", "O"),
        run(COLOURED),
        ("key", "O"),
        ("key", "N"),
        run(chosen),
        run(f"{first}.focus(); {alone}"),
        ("key", "Return"),
        run(alone),
        ("key", "Escape"),
        run(alone),
        run("document.getElementById('score').value"),
        ("key", "BracketRight"),
        run("document.getElementById('score').value"),
        ("key", "I"),
        run("document.getElementById('show-inverted').checked"),
        run(f"document.getElementById('reset').click(); {first}.focus(); {first}.toDataURL().length"),
        ("key", "Plus"),
        run(f"{first}.toDataURL().length"),
        ("key", "0"),
        run(f"{first}.toDataURL().length"),
        ("key", "Tab"),
        run("document.activeElement.tagName"),
    )
    assert complaints(seen) == []
    values = seen["values"][1:]
    focus, shown, hidden, number, four, one, again, low, higher, inverted, whole, zoomed, back, after = values
    assert (focus, after) == ("CANVAS", "CANVAS")
    assert shown > 0
    assert hidden == 0
    assert number == 1
    assert (four, one, again) == (4, 1, 4)
    assert float(higher) - float(low) == pytest.approx(0.05)
    assert inverted
    assert zoomed != whole == back


def test_nothing_is_asked_of_another_machine(page: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = page
    attempts = """(() => {
        const image = new Image(); image.src = 'https://example.org/x.png';
        fetch('https://example.org/').catch(() => {});
        const script = document.createElement('script'); script.textContent = 'window.foreign = 1';
        document.body.append(image, script);
        return String(window.foreign);
    })()"""
    seen = visit(address, tmp_path, run(attempts), run("1"))
    assert seen["values"][0] == "undefined"
    assert sum("Content Security Policy" in message for message in seen["messages"]) >= 3
    assert not [each for each in seen["addresses"] if "example.org" in each]
