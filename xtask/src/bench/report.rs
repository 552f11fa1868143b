//! `docs/benchmarks.md`, `docs/benchmarks.json` and `docs/figures/benchmarks.{png,svg}`.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use noprop_files::write_atomically;
use noprop_plot::{RatioBar, RatioBars, save};

use super::row::{Row, Target};

/// Adds `rows` to the report. Older results that were not measured again stay, with their date and machine.
pub fn write(root: &Path, rows: Vec<Row>) -> Result<()> {
    let docs = root.join("docs");
    let json = docs.join("benchmarks.json");
    let mut all = older(&json)?;
    for row in rows {
        match all.iter_mut().find(|old| old.key == row.key) {
            Some(old) => *old = row,
            None => all.push(row),
        }
    }
    put(&json, &serde_json::to_vec_pretty(&all)?)?;
    put(&docs.join("benchmarks.md"), text(&all)?.as_bytes())?;
    figure(&all, &docs)
}

/// The results of earlier measurements; none if there is no file of them.
fn older(json: &Path) -> Result<Vec<Row>> {
    let bytes = match std::fs::read(json) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", json.display()))?,
    };
    serde_json::from_slice(&bytes).with_context(|| {
        format!("{} was not written by this benchmark: move it away", json.display())
    })
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    write_atomically(path, |file| file.write_all(content))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The page. Its machine is that of the first row; others name theirs, so a few measurements on another machine change their rows alone.
fn text(rows: &[Row]) -> Result<String> {
    let machine = rows.first().map_or("", |row| &row.machine);
    let mut text = format!(
        "# Benchmarks\n\n\
         `cargo xtask bench` writes this page. It measures noprop and a peer in turn (A B A B …), after both gave the same logits for the same\n\
         weights and images. The exact versions of the peer are in [`requirements.txt`](../xtask/peers/requirements.txt), its networks are in\n\
         [`torch_network.py`](../xtask/peers/torch_network.py). Training and inference on the CPU are compared with PyTorch's fastest way of training,\n\
         of eager, channels_last, compiled (torch.compile), and compiled with channels_last; its name is beside the peer. Times without it are older,\n\
         and eager; memory is eager. Measured on {machine}.\n\n\
         | column | meaning |\n\
         | --- | --- |\n\
         | measure | what was measured; MNIST means its 60,000 training images without 5,000 that are held out |\n\
         | ours, peer | the median of the samples, with the smallest and the largest; the peer is PyTorch, or candle's own ops in the same trainer |\n\
         | ratio | our median divided by the peer's: below 1, noprop is faster or smaller |\n\
         | must, aim | the largest value that is accepted, and the one that is hoped for: of the ratio, or of ours where there is no peer |\n\
         | result | `aim met`, `met` (the must alone) or `missed`; empty without a bound |\n\
         | n | the number of samples of each side |\n\
         | date | the day (UTC) of the measurement, and the machine if it was another |\n\n\
         ![Ratios](figures/benchmarks.svg)\n\n\
         | measure | ours | peer | ratio | must | aim | result | n | date |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let peer = row.peer.as_ref().map_or_else(String::new, |(name, samples)| {
            format!("{name} {}", row.unit.summary(samples))
        });
        let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let (must, aim) = row.bounds().unwrap_or_default();
        let note = row.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
        let elsewhere = match row.machine == machine {
            true => String::new(),
            false => format!(" on {}", row.machine),
        };
        writeln!(
            text,
            "| {}{note} | {} | {peer} | {ratio} | {must} | {aim} | {} | {} | {}{elsewhere} |",
            row.what,
            row.unit.summary(&row.ours),
            row.verdict(),
            row.ours.len(),
            row.date
        )?;
    }
    Ok(text)
}

fn figure(rows: &[Row], docs: &Path) -> Result<()> {
    let bars: Vec<RatioBar> = rows
        .iter()
        .filter_map(|row| {
            let Some(Target::Ratio { must, .. }) = row.target else { return None };
            Some(RatioBar { name: row.what.clone(), ratio: row.ratio()?, bound: Some(must) })
        })
        .collect();
    if bars.is_empty() {
        return Ok(());
    }
    let figure = RatioBars {
        title: "noprop, as a share of PyTorch on the same machine".into(),
        other: "the other".into(),
        bound: "the bound".into(),
        bars,
    };
    save(&figure, &docs.join("figures/benchmarks"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page is never edited by hand, and a change of its words is not lost at the next measurement.
    #[test]
    fn the_page_is_the_one_that_is_written() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
        let json = std::fs::read(docs.join("benchmarks.json")).unwrap();
        let rows: Vec<Row> = serde_json::from_slice(&json).unwrap();
        let page = std::fs::read_to_string(docs.join("benchmarks.md")).unwrap();
        assert_eq!(page, text(&rows).unwrap());
    }

    /// Older results that cannot be read must not be replaced by the new ones alone: some took hours, or another machine.
    #[test]
    fn results_that_cannot_be_read_stay() {
        let root = tempfile::tempdir().unwrap();
        let json = root.path().join("docs/benchmarks.json");
        assert!(older(&json).unwrap().is_empty());
        std::fs::create_dir(root.path().join("docs")).unwrap();
        std::fs::write(&json, "[{").unwrap();
        assert!(write(root.path(), Vec::new()).is_err());
        assert_eq!(std::fs::read_to_string(&json).unwrap(), "[{");
        // A folder stands for a disk that fails.
        std::fs::remove_file(&json).unwrap();
        std::fs::create_dir(&json).unwrap();
        let error = write(root.path(), Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read"), "{error}");
    }
}
