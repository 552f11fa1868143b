//! The page that computes in the browser, in Chromium: it classifies as the program does, trains, and hands out weights that the program
//! can open.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use noprop_web::Answers;
use serde_json::{Value, json};

use super::{build, served, site};
use crate::workspace::{self, report};

/// Test images that are classified in the browser and here, one of each class: every hundredth, because they are sorted by class.
const IMAGES: usize = 10;
/// The largest difference between a probability in the browser and one here.
const MOST: f64 = 1e-4;
/// The time that the page may take for something. It is long, because a machine that tests is often busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// Builds the page, opens it in Chromium and uses it.
pub fn test(model: &Path) -> Result<()> {
    let folder = workspace::fresh_folder(workspace::root()?, "test-web", &[model])?;
    let site = folder.join("site");
    build::run(&site, model)?;
    let weights = fs::read(site.join("model.safetensors"))?;
    let address = site::serve(site)?;
    let driver = Driver::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let browser = driver.browser(&folder, Window::Wide).await?;
        let phone = driver.browser(&folder, Window::Phone).await?;
        let downloads = folder.join("downloads");
        let done = async {
            checks(&browser, address, &weights, &downloads).await?;
            served::checks(&browser, &phone, &folder).await
        };
        let done = done.await;
        phone.close().await?;
        browser.close().await?;
        done
    })?;
    report("the page classifies as the program does, trains, and its weights open here");
    Ok(())
}

async fn checks(
    browser: &Client,
    site: SocketAddr,
    weights: &[u8],
    downloads: &Path,
) -> Result<()> {
    let here = Answers::open(weights)?;

    // A test image, as a person chooses it by an address.
    browser.goto(&format!("http://{site}/#classify?sample=0")).await?;
    let answer = here.classify("sample", &[], r#"{"index": 0}"#)?.walk;
    let shown = "return document.getElementById('answer').textContent";
    wait(browser, "the program's answer", shown, |text| text == answer.class).await?;

    // The module itself, on some images.
    let there = browser.execute_async(CLASSIFY, vec![json!(IMAGES)]).await?;
    ensure!(there.get("error").is_none(), "the module: {there}");
    let mut slowest = 0.0_f64;
    for index in 0..IMAGES {
        let walk = &there["walks"][index];
        let answer =
            here.classify("sample", &[], &json!({ "index": 100 * index }).to_string())?.walk;
        let found = walk["probabilities"].as_array().context("a walk has probabilities")?;
        ensure!(found.len() == answer.probabilities.len(), "image {index}: {walk}");
        for (found, expected) in found.iter().zip(&answer.probabilities) {
            let difference = found.as_f64().unwrap_or(f64::NAN) - f64::from(*expected);
            ensure!(difference.abs() <= MOST, "image {index}: {found} for {expected}");
        }
        slowest = slowest.max(walk["milliseconds"].as_f64().unwrap_or_default());
    }
    report(&format!("{IMAGES} images have the same answers; the slowest took {slowest:.0} ms"));

    // A training: its curves grow, and its weights open.
    browser.goto(&format!("http://{site}/#train?epochs=2")).await?;
    browser.wait().for_element(Locator::Id("begin")).await?.click().await?;
    let more = |than: usize| move |text: &str| text.parse::<usize>().is_ok_and(|it| it > than);
    let first = wait(browser, "the curves of the blocks", POINTS, more(0)).await?.parse()?;
    wait(browser, "longer curves", POINTS, more(first)).await?;
    let title = "return document.getElementById('training-title').textContent";
    wait(browser, "the end of the training", title, |text| text.starts_with("Finished")).await?;
    browser.find(Locator::Id("download")).await?.click().await?;
    let file = wait_for_file(downloads).await?;
    let trained = Answers::open(&fs::read(&file)?).context("the weights of the page")?;
    let right = (0..100)
        .map(|image| {
            let index = 10 * image;
            let image = trained.sample(index)?;
            let answer = trained.classify("sample", &[], &json!({ "index": index }).to_string())?;
            Ok(image.label == answer.walk.label)
        })
        .collect::<Result<Vec<bool>>>()?;
    let right = right.into_iter().filter(|&right| right).count();
    report(&format!("the downloaded weights get {right} of 100 test images right"));
    ensure!(right > 50, "the training learned nothing");
    Ok(())
}

/// Classifies test images with the module, and returns their walks.
const CLASSIFY: &str = r#"
const [images, done] = arguments;
(async () => {
  const web = await import(new URL("noprop_web.js", document.baseURI));
  await web.default();
  const bytes = await (await fetch("model.safetensors")).arrayBuffer();
  const model = web.Model.open(new Uint8Array(bytes));
  const asked = (image) => JSON.stringify({ index: 100 * image });
  const walk = (image) => JSON.parse(model.classify("sample", new Uint8Array(), asked(image)));
  return { walks: Array.from({ length: images }, (_, image) => walk(image)) };
})().then(done, (error) => done({ error: String(error) }));
"#;

/// The number of points of a block's curve, as a text; 0 without a curve.
pub const POINTS: &str = r##"
const line = document.querySelector("#loss-chart polyline");
return line ? String(line.getAttribute("points").split(" ").length) : "0";
"##;

/// Waits until the page shows something: until a text that `script` returns is `wanted`.
pub async fn wait(
    browser: &Client,
    what: &str,
    script: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    let refused =
        "const it = document.getElementById('message'); return it.hidden ? '' : it.textContent";
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Value::String(text) = browser.execute(script, Vec::new()).await?
            && wanted(&text)
        {
            return Ok(text);
        }
        if let Value::String(refused) = browser.execute(refused, Vec::new()).await?
            && !refused.is_empty()
        {
            bail!("the page shows an error instead of {what}: {refused}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the page does not show {what} within {PATIENCE:?}")
}

/// Waits for a whole file in the folder of downloads.
async fn wait_for_file(folder: &Path) -> Result<PathBuf> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
        // A file that is not whole has another ending.
        let whole = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors");
        if let Some(file) = files.into_iter().find(whole) {
            return Ok(file);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("nothing was downloaded within {PATIENCE:?}")
}

/// The kind of a window of Chromium.
#[derive(Debug, PartialEq)]
enum Window {
    /// As on a laptop.
    Wide,
    /// 320 pixels wide, as on a phone, and as on a laptop at a zoom of 400 %.
    Phone,
}

/// ChromeDriver, until it is dropped.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    fn start() -> Result<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver (packages chromium and chromium-driver) cannot be started")?;
        let output = process.stdout.take().context("chromedriver has an output")?;
        let port = BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_suffix('.')?.rsplit_once("on port ")?.1.parse().ok());
        match port {
            Some(port) => Ok(Self { process, port }),
            None => {
                process.kill()?;
                bail!("chromedriver names no port")
            }
        }
    }

    /// A window of Chromium that keeps its files in `folder`.
    async fn browser(&self, folder: &Path, window: Window) -> Result<Client> {
        let profile = folder.join(format!("{window:?}"));
        let profile = format!("--user-data-dir={}", profile.display());
        let mut options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", profile,
            ],
            "prefs": { "download.default_directory": folder.join("downloads") },
        });
        if window == Window::Phone {
            // Without touch, because the tests draw with a mouse.
            let metrics = json!({ "width": 320, "height": 640, "pixelRatio": 2.0, "touch": false });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let capabilities = serde_json::Map::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let driver = format!("http://127.0.0.1:{}", self.port);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let browser = builder.capabilities(capabilities).connect(&driver).await;
        let browser = browser.context("Chromium cannot be started")?;
        let timeouts =
            fantoccini::wd::TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), None);
        browser.update_timeouts(timeouts).await?;
        Ok(browser)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends its browser.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
