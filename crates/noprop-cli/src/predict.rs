//! `noprop predict`: which class a picture belongs to, and what each block thought on the way.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use candle_core::{D, Device, Tensor};
use noprop_data::DataError;
use noprop_data::picture::{self, Polarity};
use noprop_kernels::threads::{Workers, side_by_side};
use noprop_method::{Sampler, Seed, classify};
use noprop_train::RunDirectory;

use crate::args::{Form, Predict};
use crate::ink::Opposites;
use crate::kept::Record;
use crate::output::{Incomplete, answer, note};
use crate::pictures::{Origin, Pictures};
use crate::shell::{shown, shown_path};
use crate::trained::Trained;

/// Pictures that are held in memory at a time.
const AT_ONCE: usize = 32;
/// Classes whose probabilities are in the readable answer; JSON has all.
const CLASSES_SHOWN: usize = 3;
/// Files of folders that are named one by one when they are passed over.
const NAMED: usize = 10;

pub fn run(args: &Predict) -> Result<()> {
    let (run, paths) = run_and_pictures(args)?;
    let device = args.compute.device.open()?;
    let trained = Trained::open(run, &device)?;
    let images = trained.config.images()?;
    let wanted = (images.channels, images.height, images.width);
    let normalization = trained.config.normalization()?;
    let polarity = if args.invert { Polarity::Inverted } else { Polarity::AsIs };
    let (kind, runs, seed) = (args.sampler, args.runs, Seed(args.seed));
    let integration = trained.config.integration_of(args.solver, args.steps)?;
    let sampler = Sampler { kind, runs, seed, integration };
    // The picture as the network sees it, and the shade of its ground.
    let open = |path: &Path| -> Result<(Tensor, u8), DataError> {
        let picture = picture::open(path, wanted, polarity)?;
        let shades = picture.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = shades.iter().map(|shade| (255.0 * shade).round() as u8).collect();
        let ground = picture::ground(&bytes, wanted);
        let seen = match &normalization {
            Some(normalization) => normalization.apply(&picture)?,
            None => picture,
        };
        Ok((seen.to_device(&device)?, ground))
    };
    let mut opposites = Opposites::to(Record::read(&trained.run)?.as_ref());

    let Pictures { files, passed_over } = Pictures::named_by(paths)?;
    // A bad picture among those that were named must not leave half a list of answers. The first pictures are opened before the
    // first answer in any case.
    for file in files.iter().skip(AT_ONCE).filter(|file| file.origin == Origin::Named) {
        open(&file.path)?;
    }
    name_passed_over(&passed_over);
    let workers = match device {
        Device::Cpu => Workers::Auto,
        Device::Cuda(_) | Device::Metal(_) => Workers::Exactly(NonZeroUsize::MIN),
    };
    let mut left_out = 0;
    for some in files.chunks(AT_ONCE) {
        let mut opened = Vec::with_capacity(some.len());
        for file in some {
            match open(&file.path) {
                Ok((picture, ground)) => {
                    opposites.look(&file.path, ground);
                    opened.push((&file.path, picture));
                }
                Err(fault @ (DataError::Picture { .. } | DataError::Read { .. }))
                    if file.origin == Origin::InFolder =>
                {
                    note!("left out: {}", shown(&fault.to_string()));
                    left_out += 1;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        let answers = side_by_side(workers, opened, |(path, picture)| {
            Answer::to(path, &picture, &trained, &sampler)
        });
        for answer in answers {
            match Form::of(args.json) {
                Form::Json => answer!("{}", answer?.json(&images.class_names))?,
                Form::Words => answer!("{}", answer?.words(&images.class_names))?,
            }
        }
    }
    opposites.warn(args.invert);
    if left_out > 0 {
        let all = files.len();
        return Err(Incomplete(format!("{left_out} of {all} pictures were left out")).into());
    }
    Ok(())
}

fn name_passed_over(files: &[PathBuf]) {
    for path in files.iter().take(NAMED) {
        note!("passed over: {}", shown_path(path));
    }
    if files.len() > NAMED {
        note!("passed over: {} more", files.len() - NAMED);
    }
}

/// Returns the run, and the paths of pictures and of folders of pictures.
fn run_and_pictures(args: &Predict) -> Result<(&Path, &[PathBuf])> {
    let paths = args.paths.as_slice();
    let (run, pictures) = match (&args.run, paths.split_first()) {
        (Some(run), _) => {
            let second = paths.iter().find(|path| RunDirectory::open(path).is_ok());
            if let Some(second) = second {
                bail!("{} is a run, and --run names one already", shown_path(second));
            }
            (run.as_path(), paths)
        }
        (None, Some((run, pictures))) => {
            ensure!(
                !run.is_file(),
                "{} is not a run: name the run before the pictures, as in noprop predict RUN PICTURE",
                shown_path(run)
            );
            (run.as_path(), pictures)
        }
        // clap requires at least one path.
        (None, None) => (Path::new(""), paths),
    };
    ensure!(!pictures.is_empty(), "name at least one picture after the run {}", shown_path(run));
    Ok((run, pictures))
}

/// The answer to one picture.
struct Answer<'a> {
    path: &'a Path,
    /// The most probable class.
    label: u32,
    /// Of all classes.
    probabilities: Vec<f32>,
    /// Each block's own answer.
    per_block: Vec<u32>,
}

impl<'a> Answer<'a> {
    /// Classifies one picture by itself, as image number 0, so that its answer does not depend on the other pictures. In a batch it
    /// would, in its last bits: products of matrices of another size are summed in another order.
    fn to(path: &'a Path, picture: &Tensor, trained: &Trained, sampler: &Sampler) -> Result<Self> {
        let answer = classify(&trained.network, &*trained.objective, picture, &[0], sampler)?;
        Ok(Self {
            path,
            label: top(&answer.probabilities)?,
            probabilities: answer.probabilities.squeeze(0)?.to_vec1()?,
            per_block: answer.per_block.iter().map(top).collect::<Result<_>>()?,
        })
    }

    fn json(&self, names: &[String]) -> serde_json::Value {
        serde_json::json!({
            "path": self.path.to_string_lossy(),
            "label": self.label,
            "class": name(names, self.label),
            "probabilities": self.probabilities,
            "per_block": self.per_block,
        })
    }

    fn words(&self, names: &[String]) -> String {
        let name = |class: u32| shown(name(names, class));
        let mut ranked: Vec<(u32, f32)> = (0..).zip(self.probabilities.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let ranked: Vec<String> = ranked
            .iter()
            .take(CLASSES_SHOWN)
            .map(|&(class, p)| format!("{} {:.1} %", name(class), 100.0 * p))
            .collect();
        let mut lines = vec![
            format!("{}: {}", shown_path(self.path), name(self.label)),
            format!("  probabilities {}", ranked.join(", ")),
        ];
        let blocks: Vec<_> = self.per_block.iter().map(|&label| name(label)).collect();
        if blocks.len() > 1 {
            lines.push(format!("  blocks 1 to {}: {}", blocks.len(), blocks.join(" ")));
        }
        lines.join("\n")
    }
}

fn name(names: &[String], class: u32) -> &str {
    names.get(class as usize).map_or("?", String::as_str)
}

fn top(probabilities: &Tensor) -> Result<u32> {
    Ok(probabilities.argmax(D::Minus1)?.squeeze(0)?.to_scalar()?)
}
