//! The page of `noprop serve` in Chromium: a digit is drawn and read, the chain is changed, a training is watched, stopped and resumed, and
//! runs are sorted, opened and compared.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use fantoccini::actions::{
    InputSource, KeyAction, KeyActions, MOUSE_BUTTON_LEFT, MouseActions, PointerAction,
};
use fantoccini::key::Key;
use fantoccini::{Client, Locator};
use serde::Deserialize;
use serde_json::Value;

use super::browser::{POINTS, wait};
use crate::server::Server;
use crate::workspace::{self, report};

/// The side of the page's pad in the units of the drawings.
const SIDE: f64 = 280.0;
/// The digits that are drawn; the tests of noprop-serve read all of them.
const DRAWN: [usize; 3] = [4, 16, 28];
/// The seeds of two trainings that differ in nothing else.
const SEEDS: [u64; 2] = [1, 2];

/// A digit as a person drew it.
#[derive(Deserialize)]
struct Drawing {
    label: u32,
    strokes: Vec<Vec<(f64, f64)>>,
}

const ANSWER: &str = "return document.getElementById('answer').textContent";
const TITLE: &str = "return document.getElementById('training-title').textContent";
const ADDRESS: &str = "return location.href";

/// Uses the page of a server that keeps its runs in `folder`: in a wide window, and then on a phone.
pub async fn checks(wide: &Client, phone: &Client, folder: &Path) -> Result<()> {
    let root = workspace::root()?;
    let drawings = fs::read(root.join("crates/noprop-serve/tests/drawings.json"))?;
    let drawings: Vec<Drawing> = serde_json::from_slice(&drawings)?;
    let server = Server::start(&workspace::noprop(root, "")?, &folder.join("runs"))?;
    let page = server.address.as_str();
    classify(wide, page, &drawings).await?;
    train(wide, page).await?;
    runs(wide, page).await?;
    on_a_phone(phone, page, &drawings).await
}

/// Draws, steps, and changes the chain with the pointer and with keys.
async fn classify(browser: &Client, page: &str, drawings: &[Drawing]) -> Result<()> {
    browser.goto(&format!("{page}#classify?sampler=mean")).await?;
    browser.wait().for_element(Locator::Css("#chain .column")).await?;
    browser.execute(WATCH, Vec::new()).await?;
    let mut times = Vec::new();
    for drawing in DRAWN.iter().filter_map(|&index| drawings.get(index)) {
        click(browser, "#clear").await?;
        draw(browser, drawing).await?;
        let label = drawing.label.to_string();
        wait(browser, "the digit that was drawn", ANSWER, |answer| answer == label).await?;
        let took =
            "return String(window.answered > window.inked ? window.answered - window.inked : '')";
        let took = wait(browser, "the time that the answer took", took, |took| !took.is_empty());
        times.push(took.await?.parse::<f64>()?.round());
    }
    report(&format!(
        "{} drawings are read; from the last movement of the pen to its answer on the page it took {times:?} ms",
        times.len()
    ));
    let answer = text(browser, ANSWER).await?;

    // One step back, and a block less: the address holds both, and the drawing.
    click(browser, "#back").await?;
    let place = "return document.getElementById('at-text').textContent";
    wait(browser, "the last step but one", place, |text| text.contains("9 of 10")).await?;
    click(browser, "#chain .column:nth-child(4) .switch").await?;
    let holds = |address: &str| address.contains("off=3") && address.contains("ink=");
    let lesson = wait(browser, "an address with the change", ADDRESS, holds).await?;
    reopen(browser, &lesson).await?;
    wait(browser, "the same answer from the address", ANSWER, |text| text == answer).await?;
    let off =
        "return String(document.querySelectorAll('#chain .switch[aria-checked=\"false\"]').length)";
    wait(browser, "the block that was taken out", off, |text| text == "1").await?;

    // The same by keyboard: a step back, and the first block one place on.
    let before = text(browser, place).await?;
    press(browser, "#at", &[Key::Left]).await?;
    wait(browser, "one step less", place, |text| text != before).await?;
    press(browser, "#chain .column:nth-child(2) .head", &[Key::Shift, Key::Right]).await?;
    let moved = |address: &str| address.contains("order=2,1,3");
    wait(browser, "the order that the keys chose", ADDRESS, moved).await?;
    report("the page steps and changes the chain, and its address holds the whole state");
    Ok(())
}

/// Trains: the training is watched, a block of it is paused, it is stopped and resumed, and goes on although the page is closed.
async fn train(browser: &Client, page: &str) -> Result<()> {
    browser.goto(&format!("{page}#train?dataset=mnist-sample&epochs=50")).await?;
    browser.wait().for_element(Locator::Css("#begin")).await?;
    click(browser, "#begin").await?;
    let more = |than: usize| move |text: &str| text.parse::<usize>().is_ok_and(|it| it > than);
    let first = wait(browser, "the curves of the blocks", POINTS, more(0)).await?.parse()?;
    wait(browser, "longer curves", POINTS, more(first)).await?;
    let one = "return document.querySelector('#blocks li').textContent";
    click(browser, "#blocks li button").await?;
    wait(browser, "the paused block", one, |text| text.contains("Block 1: paused")).await?;
    click(browser, "#stop").await?;
    wait(browser, "the stopped training", TITLE, |title| title.starts_with("Stopped")).await?;
    click(browser, "#resume").await?;
    wait(browser, "the resumed training", TITLE, |title| title.starts_with("Training")).await?;
    reopen(browser, &format!("{page}#train")).await?;
    wait(browser, "the training of before", TITLE, |title| title.starts_with("Training")).await?;
    click(browser, "#stop").await?;
    wait(browser, "the end", TITLE, |title| title.starts_with("Stopped")).await?;

    for seed in SEEDS {
        browser.goto("about:blank").await?;
        let settings = format!("dataset=mnist-sample&epochs=1&seed={seed}");
        browser.goto(&format!("{page}#train?{settings}")).await?;
        browser.wait().for_element(Locator::Css("#begin:enabled")).await?;
        click(browser, "#begin").await?;
        wait(browser, "a running training", TITLE, |title| title.starts_with("Training")).await?;
        wait(browser, "a whole training", TITLE, |title| title.starts_with("Finished")).await?;
    }
    report("a training is watched, paused in a block, stopped and resumed from the page");
    Ok(())
}

/// Sorts, filters, opens and compares the runs of [`train`].
async fn runs(browser: &Client, page: &str) -> Result<()> {
    browser.goto(&format!("{page}#runs")).await?;
    let rows = "return String(document.querySelectorAll('#table tbody .state-finished, #table tbody .state-saved').length)";
    wait(browser, "all runs", rows, |rows| rows == "3").await?;
    let first = "return document.querySelector('#table tbody tr td:nth-child(2)').textContent";
    click(browser, "#sort-epochs").await?;
    let longest = wait(browser, "the longest run first", first, |name| !name.is_empty()).await?;
    click(browser, "#sort-epochs").await?;
    wait(browser, "another run first", first, |name| name != longest).await?;
    browser.find(Locator::Id("filter")).await?.send_keys("finished").await?;
    wait(browser, "the runs that finished", rows, |rows| rows == "2").await?;
    for row in 1..=SEEDS.len() {
        click(browser, &format!("#table tbody tr:nth-child({row}) input")).await?;
    }
    click(browser, "#compare").await?;
    let compared = "return document.querySelector('#comparison tbody')?.textContent ?? ''";
    wait(browser, "the comparison", compared, |text| text.contains("mnist-sample")).await?;
    click(browser, "#table tbody tr button").await?;
    let opened =
        "const run = document.getElementById('run'); return run.hidden ? '' : run.textContent";
    let whole = |text: &str| text.contains("All settings") && text.contains("Classify with it");
    wait(browser, "the open run", opened, whole).await?;
    let figures = "return String([...document.querySelectorAll('#run img')].filter((it) => it.complete && it.naturalWidth > 0).length)";
    browser.execute(SHOW_ALL, Vec::new()).await?;
    wait(browser, "its figures", figures, |shown| shown != "0").await?;
    let state = ["filter=finished", "run=", "chosen=", "compared=1"];
    let holds = |address: &str| state.iter().all(|part| address.contains(part));
    let address = wait(browser, "an address with the state", ADDRESS, holds).await?;
    reopen(browser, &address).await?;
    wait(browser, "the runs of the address", rows, |rows| rows == "2").await?;
    wait(browser, "the run of the address", opened, whole).await?;
    wait(browser, "the comparison of the address", compared, |text| text.contains("mnist-sample"))
        .await?;
    ensure!(text(browser, FOREIGN).await? == "0", "the page asks another machine");
    report("runs are sorted, filtered, opened and compared on the page");
    Ok(())
}

/// Opens every view in a window as narrow as a phone's, which is also that of a zoom of 400 % on a laptop.
async fn on_a_phone(browser: &Client, page: &str, drawings: &[Drawing]) -> Result<()> {
    let wider = "return String(document.documentElement.scrollWidth - innerWidth)";
    browser.goto(&format!("{page}#classify?sampler=mean")).await?;
    browser.wait().for_element(Locator::Css("#chain .column")).await?;
    let width = text(browser, "return String(innerWidth)").await?;
    ensure!(width == "320", "the window is {width} pixels wide");
    if let Some(drawing) = drawings.first() {
        draw(browser, drawing).await?;
        let label = drawing.label.to_string();
        wait(browser, "the digit that was drawn", ANSWER, |answer| answer == label).await?;
    }
    for (view, there) in
        [("classify", "#chain .column"), ("train", "#begin"), ("runs", "#table tbody td")]
    {
        browser.goto(&format!("{page}#{view}")).await?;
        browser.wait().for_element(Locator::Css(there)).await?;
        let over = text(browser, wider).await?;
        ensure!(over.parse::<f64>()? <= 0.0, "{view} is {over} pixels wider than a phone");
    }
    report("every view fits a phone");
    Ok(())
}

/// Notes the time of the last movement of the pen, and that at which its answer is painted.
const WATCH: &str = r#"
const pad = document.getElementById("pad");
for (const kind of ["pointerdown", "pointermove"]) {
  pad.addEventListener(kind, ({ buttons, timeStamp }) => buttons && (window.inked = timeStamp));
}
const painted = () => (window.answered = performance.now());
new MutationObserver(() => requestAnimationFrame(() => setTimeout(painted)))
  .observe(document.getElementById("seen-text"), { childList: true });
"#;
/// Loads the figures that are out of sight too.
const SHOW_ALL: &str =
    "for (const image of document.querySelectorAll('#run img')) image.loading = 'eager';";
/// The number of requests that left the page's server.
const FOREIGN: &str = "return String(performance.getEntriesByType('resource').filter((it) => !it.name.startsWith(location.origin) && !it.name.startsWith('blob:')).length)";

/// Leaves the page, and comes back by an address.
async fn reopen(browser: &Client, address: &str) -> Result<()> {
    browser.goto("about:blank").await?;
    Ok(browser.goto(address).await?)
}

/// Presses keys together at an element.
async fn press(browser: &Client, selector: &str, keys: &[Key]) -> Result<()> {
    let focus = format!("document.querySelector('{selector}').focus()");
    browser.execute(&focus, Vec::new()).await?;
    let down = keys.iter().map(|&key| KeyAction::Down { value: key.into() });
    let up = keys.iter().rev().map(|&key| KeyAction::Up { value: key.into() });
    let pressed = down.chain(up).fold(KeyActions::new("keys".into()), KeyActions::then);
    Ok(browser.perform_actions(pressed).await?)
}

/// Draws with the pointer.
async fn draw(browser: &Client, drawing: &Drawing) -> Result<()> {
    let pad = browser.find(Locator::Id("pad")).await?;
    let (.., width, _) = pad.rectangle().await?;
    let at = |&(x, y): &(f64, f64)| PointerAction::MoveToElement {
        element: pad.clone(),
        duration: None,
        x: (x / SIDE - 0.5) * width,
        y: (y / SIDE - 0.5) * width,
    };
    let button = MOUSE_BUTTON_LEFT;
    let mut pen = MouseActions::new("pen".into());
    for stroke in &drawing.strokes {
        let Some((start, rest)) = stroke.split_first() else { continue };
        pen = pen.then(at(start)).then(PointerAction::Down { button });
        pen = rest.iter().map(at).fold(pen, MouseActions::then);
        pen = pen.then(PointerAction::Up { button });
    }
    Ok(browser.perform_actions(pen).await?)
}

async fn click(browser: &Client, selector: &str) -> Result<()> {
    Ok(browser.find(Locator::Css(selector)).await?.click().await?)
}

async fn text(browser: &Client, script: &str) -> Result<String> {
    match browser.execute(script, Vec::new()).await? {
        Value::String(text) => Ok(text),
        other => Ok(other.to_string()),
    }
}
