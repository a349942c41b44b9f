"""What a person sees who opens MLflow on a finished Table V, in a real browser."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from helper_made_run import METRICS, history, made_run, made_trial, measured, row, scored, spec
from helper_mirrored_run import empty_store
from helper_ports import free_port

from harness.runs.run_folder import RunFolder
from harness.runs.suites import chosen

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own, of many kinds
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

TOP = Path(__file__).parent.parent
PATIENCE_S = 60
TABLE5 = chosen("table5", "quick", (), ())["table5"]
ROWS = len(TABLE5)
FROM_LEFT_TO_RIGHT = """const left = (e) => e.getBoundingClientRect().left;
return [...document.querySelectorAll('[role="columnheader"]')]
  .sort((a, b) => left(a) - left(b)).map((e) => e.innerText.trim())"""
COLUMNS = ["Model", "Dice", "HD95 mm", "Jaccard", "Time s", "Memory MiB"]


def finished_table5(path):
    """Every system with scores and costs, and the base of the fine-tuned one, in no table."""
    folder = RunFolder(path)
    rows = []
    for number, each in enumerate(TABLE5):
        options = {"tpf": "tfm"} if each.system == "pfseg" else {}
        trial = made_trial(
            folder,
            spec(each.system, number, options=options),
            history(3),
            scored(each.system, metrics=dict.fromkeys(METRICS, 0.3 + 0.05 * number)),
            measured([9.0 - number] * 5, inference_peak_mib=300.0 + 20 * number),
        )
        rows.append(row([trial]))
    base = made_trial(folder, spec("pfseg", 99), history(3), scored("pfseg"))
    (path / "table.md").write_text("# Table V\n\n| Model | Dice |\n|---|---|\n| UNet3D | 50 |\n")
    return made_run(path, {"table5": rows}, [base])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name of a link -> its address, as `pfbench ui` printed it while its server runs."""
    out = tmp_path_factory.mktemp("ui")
    empty_store(out / "mlflow.db")
    finished_table5(out)
    port = free_port()
    code = "from harness.cli import main; main()"
    with open(out / "said.txt", "w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "ui", str(out), "--port", str(port)],
            cwd=TOP, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        lines = (out / "said.txt").read_text().splitlines()
        yield dict(line.split(maxsplit=1) for line in lines if "http://127.0.0.1" in line)
    finally:
        subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=False)
        assert process.wait(30) == 0


def wait_for(address):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:  # it wants the key
            return None
        except OSError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.3)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1800,1000"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def seen(browser, address, *texts):
    """Open the page, wait until all of `texts` can be read, return its text."""
    browser.get("about:blank")
    browser.get(address)
    return until(browser, *texts)


def until(browser, *texts):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        text = browser.execute_script("return document.body.innerText")
        missing = [each for each in texts if each not in text]
        if not missing:
            return text
        assert time.monotonic() < deadline, f"never saw {missing} in: {text}"
        time.sleep(0.3)


def click(browser, xpath):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := browser.find_elements("xpath", xpath)):
        assert time.monotonic() < deadline, f"no {xpath}"
        time.sleep(0.2)
    found[0].click()


def test_the_runs_table_has_a_column_for_the_model_each_score_and_each_cost(pages, browser):
    text = seen(browser, pages["table"], "matching runs", *COLUMNS)
    assert re.search(rf"\b{ROWS}\s+matching runs", text)
    heads = browser.execute_script(FROM_LEFT_TO_RIGHT)
    order = dict.fromkeys(name for name in heads if name in COLUMNS)  # a head within a head is one
    assert list(order) == COLUMNS
    assert "PFSeg as trained" not in text


def test_the_best_system_comes_first(pages, browser):
    seen(browser, pages["table"], "matching runs", "PFSeg †", "V-Net")
    first = (
        "return [...document.querySelectorAll('[row-index=\"0\"]')].map(e => e.innerText).join()"
    )
    assert "PFSeg †" in browser.execute_script(first)


def test_the_charts_put_quality_against_cost(pages, browser):
    seen(browser, pages["charts"], "Which system, at what cost", "Time s vs. Dice",
         "Memory MiB vs. Dice", "Parallel Coordinates")  # fmt: skip


def test_a_filter_finds_the_run_with_its_rows(pages, browser):
    text = seen(browser, pages["filter"], "matching runs", "table5 phantom quick")
    assert re.search(rf"\b{ROWS + 1}\s+matching runs", text), text


def test_compare_shows_every_run_by_model_type_view_and_dice(pages, browser):
    seen(browser, pages["compare"], f"Comparing {ROWS} Runs from 1 Experiment")
    until(browser, "Parallel Coordinates Plot", "Model", "Type", "View", "Dice")


def test_the_scatter_plot_opens_with_dice_over_models(pages, browser):
    seen(browser, pages["compare"], f"Comparing {ROWS} Runs")
    click(browser, "//button[normalize-space()='Scatter Plot']")
    until(browser, "X-axis:", "HDResUNet", "Point-Unet")


def test_the_box_plot_tells_what_patches_cost(pages, browser):
    seen(browser, pages["compare"], f"Comparing {ROWS} Runs")
    click(browser, "//button[normalize-space()='Box Plot']")
    for axis, name in (("x", "Type"), ("y", "Time s")):
        click(browser, f"//*[@id='{axis}-axis-selector']")
        click(browser, f"//*[@role='option'][normalize-space()='{name}']")
    until(browser, "patch-based", "patch-free")
    deadline = time.monotonic() + PATIENCE_S
    while len(browser.find_elements("css selector", "g.trace.boxes")) != 2:
        assert time.monotonic() < deadline, "no two boxes"
        time.sleep(0.2)


def test_the_page_of_the_parent_shows_the_table(pages, browser):
    place, _, key = pages["MLflow"].partition("?key=")
    query = {"experiment_ids": ["1"], "filter": "tags.`pfbench.kind_of_run` = 'suite'"}
    request = urllib.request.Request(
        f"{place}api/2.0/mlflow/runs/search",
        data=json.dumps(query).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request) as answer:
        [parent] = json.load(answer)["runs"]
    address = f"{pages['MLflow']}#/experiments/1/runs/{parent['info']['run_id']}"
    seen(browser, address, "Table V", "UNet3D", "phantom wt")


def test_the_assistant_of_mlflow_has_neither_pane_nor_button(pages, browser):
    seen(browser, pages["table"], "matching runs", *COLUMNS)
    shown = """return [...document.querySelectorAll('[data-assistant-ui]')]
      .filter((e) => e.getClientRects().length).length"""
    assert browser.execute_script(shown) == 0
    assert "Assistant" not in browser.execute_script("return document.body.innerText")


def test_no_page_asks_for_what_is_not_served(pages, browser):
    seen(browser, pages["table"], "matching runs", *COLUMNS)
    seen(browser, pages["compare"], f"Comparing {ROWS} Runs", "Parallel Coordinates Plot")
    asked = "return performance.getEntriesByType('resource').map((e) => [e.responseStatus, e.name])"
    refused = {name for status, name in browser.execute_script(asked) if status >= 400}
    none = ("/assistant/config", "/users/current")  # of accounts, which MLflow has not either
    assert [name for name in refused if not name.endswith(none)] == []
