//! The page of `noprop serve` in Chromium: a digit is drawn and read, the chain is changed, a training is watched, stopped and resumed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use fantoccini::actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
use fantoccini::{Client, Locator};
use serde::Deserialize;
use serde_json::Value;

use super::browser::{POINTS, wait};
use crate::workspace::{self, report};

/// The side of the page's pad in the units of the drawings.
const SIDE: f64 = 280.0;
/// The digits that are drawn; the tests of noprop-serve read all of them.
const DRAWN: [usize; 3] = [4, 16, 28];

/// A digit as a person drew it.
#[derive(Deserialize)]
struct Drawing {
    label: u32,
    strokes: Vec<Vec<(f64, f64)>>,
}

const ANSWER: &str = "return document.getElementById('answer').textContent";
const TITLE: &str = "return document.getElementById('training-title').textContent";

/// Uses the page of a server that keeps its runs in `folder`.
pub async fn checks(browser: &Client, folder: &Path) -> Result<()> {
    let root = workspace::root()?;
    let drawings = fs::read(root.join("crates/noprop-serve/tests/drawings.json"))?;
    let drawings: Vec<Drawing> = serde_json::from_slice(&drawings)?;
    let server = Server::start(root, folder)?;
    browser.goto(&format!("{}#classify?sampler=mean", server.address)).await?;
    browser.wait().for_element(Locator::Css("#chain .column")).await?;
    for drawing in DRAWN.iter().filter_map(|&index| drawings.get(index)) {
        click(browser, "#clear").await?;
        draw(browser, drawing).await?;
        let label = drawing.label.to_string();
        wait(browser, "the digit that was drawn", ANSWER, |answer| answer == label).await?;
    }
    let answer = text(browser, ANSWER).await?;

    // One step back, and a block less: the address holds both, and the drawing.
    click(browser, "#back").await?;
    let place = "return document.getElementById('at-text').textContent";
    wait(browser, "the last step but one", place, |text| text.contains("9 of 10")).await?;
    click(browser, "#chain .column:nth-child(4) .switch").await?;
    let address = "return location.href";
    let holds = |address: &str| address.contains("off=3") && address.contains("ink=");
    let lesson = wait(browser, "an address with the change", address, holds).await?;
    browser.goto("about:blank").await?;
    browser.goto(&lesson).await?;
    wait(browser, "the same answer from the address", ANSWER, |text| text == answer).await?;
    let off =
        "return String(document.querySelectorAll('#chain .switch[aria-checked=\"false\"]').length)";
    wait(browser, "the block that was taken out", off, |text| text == "1").await?;
    report("the page reads what is drawn, and its address holds the whole state");

    // A training: it is watched, stopped, resumed, and goes on although the page is closed.
    browser.goto(&format!("{}#train?dataset=mnist-sample&epochs=50", server.address)).await?;
    browser.wait().for_element(Locator::Css("#begin")).await?;
    click(browser, "#begin").await?;
    let more = |than: usize| move |text: &str| text.parse::<usize>().is_ok_and(|it| it > than);
    let first = wait(browser, "the curves of the blocks", POINTS, more(0)).await?.parse()?;
    wait(browser, "longer curves", POINTS, more(first)).await?;
    click(browser, "#stop").await?;
    wait(browser, "the stopped training", TITLE, |title| title.starts_with("Stopped")).await?;
    click(browser, "#resume").await?;
    wait(browser, "the resumed training", TITLE, |title| title.starts_with("Training")).await?;
    browser.goto("about:blank").await?;
    browser.goto(&format!("{}#train", server.address)).await?;
    wait(browser, "the training of before", TITLE, |title| title.starts_with("Training")).await?;
    click(browser, "#stop").await?;
    wait(browser, "the end", TITLE, |title| title.starts_with("Stopped")).await?;

    let foreign = "return String(performance.getEntriesByType('resource').filter((it) => !it.name.startsWith(location.origin) && !it.name.startsWith('blob:')).length)";
    ensure!(text(browser, foreign).await? == "0", "the page asks another machine");
    report("a training is watched, stopped and resumed from the page");
    Ok(())
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

/// `noprop serve`, until it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(root: &Path, folder: &Path) -> Result<Self> {
        let mut process = Command::new(workspace::noprop(root, "")?)
            .args(["serve", "--port", "0", "--runs"])
            .arg(folder.join("runs"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = process.stderr.take().context("the server has an output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("noprop is at ").map(str::to_owned));
        // Its later lines are read too, because a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.context("noprop serve names no address")?;
        Ok(Self { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
