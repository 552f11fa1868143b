//! Kills, after which no code of the program runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use noprop_files::UNFINISHED;

use super::MOST_FAULTS;
use super::lab::{Lab, Plant, Reference, Training, Way, all_files, files, last_line, start};
use crate::workspace::{report, signal};

/// Kills of one training, after which it is let through.
const MOST: u32 = 8;

/// Kills trainings at random moments, `times` in all unless too many trials fail, and returns the number of trainings that came to another end.
pub fn at_random(lab: &Lab, times: u32, seed: u64, plant: Plant) -> Result<u32> {
    let mut rng = Rng::with_seed(seed);
    let trainings: Vec<_> = lab.trainings().collect();
    let references = trainings.iter().map(|training| lab.reference(training));
    let references = references.collect::<Result<Vec<_>>>()?;
    let (mut kills, mut faults, mut trials) = (0, 0, 0);
    let mut moments = BTreeMap::new();
    for (training, reference) in trainings.iter().zip(&references).cycle() {
        let run = lab.place(training.name);
        let mut trial = Trial { lab, training, reference, run, plant, kills: 0 };
        trials += 1;
        let seed = rng.u64(..);
        if let Err(error) = trial.make(&mut Rng::with_seed(seed), &mut moments) {
            report(&format!(
                "FAILED  {}, trial {trials}, after {} kills: {error:#}",
                training.name, trial.kills
            ));
            faults += 1;
        } else {
            fs::remove_dir_all(&trial.run)?;
        }
        kills += trial.kills;
        if kills >= times || faults == MOST_FAULTS {
            break;
        }
    }
    report(&format!("{kills} kills in {trials} trainings, {faults} of which came to another end"));
    for (moment, count) in moments {
        report(&format!("  {count:5}  {moment}"));
    }
    Ok(faults)
}

/// One training that is killed several times.
struct Trial<'a> {
    lab: &'a Lab,
    training: &'static Training,
    reference: &'a Reference,
    run: PathBuf,
    plant: Plant,
    kills: u32,
}

impl Trial<'_> {
    fn make(&mut self, rng: &mut Rng, moments: &mut BTreeMap<&'static str, u32>) -> Result<()> {
        for part in 0..self.training.parts() {
            while self.is_killed(part, rng)? {
                self.kills += 1;
                *moments.entry(moment(&self.run)?).or_default() += 1;
                self.plant()?;
            }
        }
        self.plant_at_end()?;
        self.reference.compare(&self.run)
    }

    /// Runs a part until a random moment, and returns whether it was killed then, because it had not ended.
    fn is_killed(&self, part: usize, rng: &mut Rng) -> Result<bool> {
        let mut child = start(&mut self.lab.command(self.training, part, &self.run, &[]))?;
        let share = self.reference.took.div_f64(self.training.parts() as f64);
        let moment = Instant::now() + share.mul_f64(1.1 * rng.f64());
        let killed = loop {
            if child.try_wait()?.is_some() {
                break false;
            }
            if Instant::now() >= moment && self.kills < MOST {
                break self.kill(&mut child, rng)?;
            }
            sleep(Duration::from_millis(1));
        };
        let status = child.wait()?;
        ensure!(killed || status.success(), "{status}: {}", last_line(&mut child));
        Ok(killed)
    }

    /// Kills the process, or one of two ranks.
    fn kill(&self, child: &mut Child, rng: &mut Rng) -> Result<bool> {
        if self.training.way != Way::TwoRanks {
            child.kill()?;
            // A process that ended in this moment has a code, and was not killed.
            return Ok(child.wait()?.code().is_none());
        }
        let ranks = Command::new("pgrep").args(["-P", &child.id().to_string()]).output()?;
        let ranks = String::from_utf8_lossy(&ranks.stdout);
        let ranks: Vec<u32> = ranks.lines().filter_map(|id| id.parse().ok()).collect();
        let Some(rank) = rng.choice(ranks) else { return Ok(false) };
        Ok(signal("-9", rank).is_ok() && !child.wait()?.success())
    }

    /// Plants a fault in a finished run.
    fn plant_at_end(&self) -> Result<()> {
        match self.plant {
            Plant::LostFigure => {
                let figure = files(&self.run)?.into_iter().find(|file| file.ends_with(".svg"));
                fs::remove_file(self.run.join(figure.context("a run has figures")?))?;
            }
            Plant::OtherBit => {
                let weights = self.run.join("model.safetensors");
                let mut bytes = fs::read(&weights)?;
                *bytes.last_mut().context("weights have bytes")? ^= 1;
                fs::write(weights, bytes)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Plants a fault after a kill.
    fn plant(&self) -> Result<()> {
        let config = self.run.join("config.toml");
        match self.plant {
            Plant::AnotherSeed if config.is_file() => {
                let text = fs::read_to_string(&config)?.replace("seed = 3", "seed = 4");
                fs::write(config, text)?;
            }
            Plant::HalfAFile if self.run.join("state/progress.json").is_file() => {
                let path = self.run.join("state/progress.json");
                let text = fs::read(&path)?;
                fs::write(path, &text[..text.len() / 2])?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the moment in which a training was killed, by the files that it left.
fn moment(run: &Path) -> Result<&'static str> {
    if !run.is_dir() {
        return Ok("before there was a run");
    }
    let all = all_files(run)?;
    let there = |name: &str| all.iter().any(|file| file == name);
    Ok(match () {
        () if all.iter().any(|file| file.contains(UNFINISHED)) => "while a file was written",
        () if there("README.md") => "after the model card",
        () if there("model.safetensors") || there("state/progress.json") => {
            "after an epoch was saved, before the model card"
        }
        () => "before an epoch was saved",
    })
}
