//! A request for a training: its settings, known to be allowed, and the run that it will write.

use std::path::{Path, PathBuf};

use noprop_data::{DatasetName, Presence};
use noprop_experiment::watch::{Training, settings};
use noprop_experiment::{Existing, Layers, NewRun, Preset, Source, free_run};

use crate::error::Refusal;

/// The data that trainings may use.
pub(crate) struct Data {
    /// The folder that holds the data sets.
    pub dir: PathBuf,
    /// Folders of pictures.
    pub folders: Vec<PathBuf>,
}

impl Data {
    /// The data sets that are there, in words as settings have them.
    pub fn names(&self) -> Vec<String> {
        let known = DatasetName::ALL.into_iter().filter(|&name| self.has(name));
        let known = known.map(|name| name.to_string());
        let folders = self.folders.iter().map(|path| Source::Folder(path.clone()).to_string());
        known.chain(folders).collect()
    }

    fn has(&self, name: DatasetName) -> bool {
        !matches!(name.presence(&self.dir), Presence::Incomplete { .. })
    }

    /// Refuses a folder that was not given: no path from a request is opened.
    fn check(&self, source: &Source) -> Result<(), Refusal> {
        match source {
            Source::Folder(path) if !self.folders.contains(path) => Err(Refusal::bad(
                "this folder is not one of those that the server was started with",
            )),
            Source::Known(name) if !self.has(*name) => Err(Refusal::bad(format!(
                "the data set {name} is not there; `noprop fetch {name}` gets it"
            ))),
            Source::Memory => Err(Refusal::bad("the images of `memory` are those of a program")),
            Source::Folder(_) | Source::Known(_) => Ok(()),
        }
    }
}

/// The new run that the settings in `json` ask for, in the folder `runs`, and what it is shown as.
pub(crate) fn new_run(
    json: &[u8],
    data: &Data,
    runs: &Path,
) -> Result<(Box<NewRun>, Training), Refusal> {
    let mut settings = settings(json)?;
    let mnist = || match data.has(DatasetName::Mnist) {
        true => DatasetName::Mnist,
        false => DatasetName::MnistSample,
    };
    let dataset = settings.dataset.get_or_insert_with(|| Source::Known(mnist())).clone();
    data.check(&dataset)?;
    let layers = Layers { settings, ..Layers::default() };
    let setup = layers.resolve(|_| Ok(Preset::suiting(&dataset)))?.setup;
    let out = free_run(runs, &setup);
    let id = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let training = Training::of(Some(&id), &setup, Vec::new());
    let data_dir = Some(data.dir.clone());
    Ok((
        Box::new(NewRun { layers, data_dir, out: Some(out), existing: Existing::Refuse }),
        training,
    ))
}
