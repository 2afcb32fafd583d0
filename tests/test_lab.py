"""JupyterLab in a real browser: notebooks run as a whole, and pictures follow their controls.

Started by `make lab` on a free port, at the scale of MST_LAB_PROFILE, tiny by default. Needs
Chromium (Debian: apt-get install chromium). Screenshots stay in build/lab; `pytest -s` prints how
long each picture took.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from films import film

from mstlib.fileio import ROOT
from mstlib.notebook import KERNELSPEC, read_notebook

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
SHOTS = ROOT / "build" / "lab"
TOKEN = "lab-under-test"
PROFILE = os.environ.get("MST_LAB_PROFILE", "tiny")
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else only the cells in sight exist
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
DRIVEN = [path for path in sorted((ROOT / "notebooks").glob("*.py"))
          if path.stem[:2] in ("03", "04", "05", "06", "07", "11", "12")]
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
         "--no-first-run", "--disable-component-update")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} installed"),
]


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The address of a JupyterLab whose root holds the driven notebooks."""
    home = tmp_path_factory.mktemp("lab")
    for source in DRIVEN:
        notebook = read_notebook(source)
        notebook.metadata |= {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
        for cell in notebook.cells:
            cell.source = cell.source.replace('profile: str = "mini"',
                                              f'profile: str = "{PROFILE}"')
        nbformat.write(notebook, home / f"{source.stem}.ipynb")
    for name, values in SETTINGS.items():
        settings = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = (f"--no-browser --allow-root --ip=127.0.0.1 --port={port} "
             f"--IdentityProvider.token={TOKEN} --ServerApp.root_dir={home} "
             "--LabApp.expose_app_in_browser=True")
    env = os.environ | {"MST_DATA": str(home / "data"), "PYTHONPATH": str(ROOT),
                        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
                        "JUPYTER_CONFIG_DIR": str(home / "config")}
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(["make", "--no-print-directory", "lab", f"LAB={flags}"], cwd=ROOT,
                                  env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: reachable(f"{address}/api?token={TOKEN}"), 120,
                     lambda: (home / "lab.log").read_text()[-2000:])
            yield address
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        yield play.chromium.launch(executable_path=BROWSER, args=list(QUIET))


def reachable(url: str) -> bool:
    """Does a server answer there?"""
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait_for(happened, seconds: float, explain=str) -> None:
    """Until something is true; AssertionError with an explanation after some time."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)


def run_all(page, lab: str, name: str) -> None:
    """Open a notebook and run every cell of it; AssertionError with what a cell raised."""
    page.goto(f"{lab}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
                           "?.status === 'idle'", timeout=60_000)
    page.evaluate("""async () => {
        window.finished = false;
        await window.jupyterapp.commands.execute('notebook:run-all-cells');
        window.finished = true;
    }""")
    page.wait_for_function("window.finished", timeout=300_000)
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.count() == 0, errors.first.inner_text()


def live_boxes(page):
    """The pictures that follow controls: boxes that hold both."""
    return page.locator(".jp-OutputArea .widget-vbox").filter(
        has=page.locator(".widget-html figure img")).all()


WATCH = """figure => {
    const before = figure.innerHTML, start = performance.now();
    window.took = 0;
    new MutationObserver((_, watcher) => {
        if (figure.innerHTML === before) return;
        window.took = performance.now() - start;
        watcher.disconnect();
    }).observe(figure, {childList: true, subtree: true, characterData: true, attributes: true});
}"""


def changes(box, act) -> float:
    """Do something to a control; milliseconds until its picture is another one."""
    figure = box.locator(".widget-html").last
    figure.evaluate(WATCH)
    act()
    wait_for(lambda: box.page.evaluate("window.took"), 20,
             lambda: f"the picture stayed: {figure.inner_html()[-200:]}")
    return box.page.evaluate("window.took")


def moves(box):
    """(name, action) for every control of a picture, each a change of its value."""
    for slider in box.locator(".widget-slider").all():
        handle = slider.locator(".noUi-handle").first
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        key = "ArrowLeft" if at_end else "ArrowRight"
        yield label(slider), lambda h=handle, key=key: h.press(key)
    for choice in box.locator(".widget-dropdown").all():
        select = choice.locator("select")
        count, now = select.locator("option").count(), select.evaluate("s => s.selectedIndex")
        if count > 1:
            yield label(choice), lambda s=select, k=(now + 1) % count: s.select_option(index=k)
    for buttons in box.locator(".widget-toggle-buttons").all():
        other = buttons.locator("button:not(.mod-active)").first
        yield label(buttons), other.click
    for check in box.locator(".widget-checkbox input").all():
        yield "checkbox", check.click


def label(control) -> str:
    """The text beside a control."""
    return control.locator("label").first.inner_text()


@pytest.mark.parametrize("source", DRIVEN, ids=lambda path: path.stem)
def test_pictures_follow_their_controls(source: Path, lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    run_all(page, lab, source.stem)
    boxes = live_boxes(page)
    assert boxes, "no picture with controls"
    SHOTS.mkdir(parents=True, exist_ok=True)
    for number, box in enumerate(boxes):
        for name, act in moves(box):
            print(f"{source.stem} {name}: {changes(box, act):.0f} ms")
        box.screenshot(path=SHOTS / f"{source.stem}-{number}.png")
    page.close()


def test_a_click_on_the_picture_chooses_a_cell(lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    run_all(page, lab, "03_dalign")
    box = live_boxes(page)[0]
    image, column = box.locator("figure img"), slider_value(box, "column")
    for x in (30, 100):  # on the first panel, the reference
        changes(box, lambda x=x: image.click(position={"x": x, "y": 90}))
        before, column = column, slider_value(box, "column")
        assert column != before
    page.close()


def test_a_video_is_handed_in_by_the_button(lab, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    run_all(page, lab, "12_your_own_video")
    box = live_boxes(page)[-1]
    (tmp_path / "notes.txt").write_text("no video\n")
    hand_in(page, tmp_path / "notes.txt")
    page.get_by_text("notes.txt: ").wait_for(timeout=20_000)
    changes(box, lambda: hand_in(page, film(tmp_path / "street.mp4")))
    assert "street, frame 0" in box.locator("figcaption").last.inner_text()
    written = f"written to {PROFILE}/: street-found.csv, street-found.mp4"
    page.get_by_text(written).wait_for(timeout=5_000)
    box.locator("xpath=..").screenshot(path=SHOTS / "12_your_own_video-handed-in.png")
    page.close()


def hand_in(page, path: Path) -> None:
    """Press the upload button and choose a file."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="your video").click()
    chooser.value.set_files(path)


def slider_value(box, name: str) -> str:
    """What a slider is set to."""
    slider = box.locator(".widget-slider").filter(has_text=name)
    return slider.locator(".noUi-handle").first.get_attribute("aria-valuenow")
