//! The record that a run keeps of its data, to recognise them later: `data.toml`, and a list of files for each half, as
//! `sha256sum` writes it.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use noprop_data::{BadPictures, DataError, Dataset, FolderOptions, Half, Listing, picked, picture};
use noprop_files::open_file;
use noprop_train::RunDirectory;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result, bail};
use crate::source::Source;

/// Larger lists are not read: ten million files take less.
const MAX_LIST: u64 = 2 << 30;
/// A record is a few lines.
const MAX_RECORD: u64 = 1 << 20;
/// Training images whose ground is measured.
const GROUND_IMAGES: usize = 200;

/// The place of the data, and their ground.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DataRecord {
    /// The folder of the pictures, or the one that holds the data sets, from the root of the file system.
    pub folder: PathBuf,
    /// The middle shade of the training images' borders, 0 for black.
    pub ground: u8,
}

impl DataRecord {
    /// Reads the record of `run`.
    pub fn read(run: &RunDirectory) -> Result<Option<Self>> {
        let file = run.data();
        let Some(text) = read(&file, MAX_RECORD)? else { return Ok(None) };
        let wrong = || format!("{} is not the record of a run's data", file.display());
        let text = String::from_utf8(text).ok().with_context(wrong)?;
        toml::from_str(&text).with_context(wrong)
    }
}

/// The record of a run. Runs of the first versions have none.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub record: Option<DataRecord>,
    /// The files, where the data set has any.
    pub listing: Option<Listing>,
}

impl Kept {
    /// Reads the record of `run`.
    pub fn read(run: &RunDirectory) -> Result<Self> {
        let Some(record) = DataRecord::read(run)? else { return Ok(Self::default()) };
        let mut listing = Listing::default();
        for half in Half::ALL {
            let file = run.files(half);
            if let Some(lines) = read(&file, MAX_LIST)? {
                listing.read_lines(&file, half, &lines)?;
            }
        }
        // If a list is gone the data are compared by one hash.
        let has = |half| listing.half(half).next().is_some();
        let whole = has(Half::Train) && has(Half::Test);
        let listing = whole.then_some(listing);
        Ok(Self { record: Some(record), listing })
    }

    /// The first difference between the files that the run was started with and those of `data`, if it has a list of them.
    pub fn difference(&self, data: &Dataset) -> Option<String> {
        self.listing.as_ref()?.difference(&data.listing)
    }
}

/// The place of a run's own data now, where it is not the one that the run recorded, and the way to read them.
#[derive(Debug, Clone, Default)]
pub struct Moved {
    /// Their data set: a folder, if they were moved there.
    pub dataset: Option<Source>,
    /// The folder that holds the data sets.
    pub data_dir: Option<PathBuf>,
    /// The treatment of a folder's files that are not pictures.
    pub bad: BadPictures,
}

/// The place of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub source: Source,
    /// The folder that holds the data sets.
    pub data_dir: PathBuf,
}

/// The folder of data sets where none is named.
pub(crate) const DATA_DIR: &str = "data";

impl Place {
    /// The place that a call names.
    pub fn new(source: Source, data_dir: Option<&Path>) -> Self {
        Self { source, data_dir: data_dir.unwrap_or(Path::new(DATA_DIR)).into() }
    }

    /// The place of a run's own data: as named now, else as recorded, else as the settings have it.
    pub fn of_run(own: &Source, kept: &Kept, moved: &Moved) -> Result<Self> {
        let (dataset, data_dir) = (moved.dataset.as_ref(), moved.data_dir.as_deref());
        let recorded = kept.record.as_ref().map(|record| &*record.folder);
        let recorded = recorded.filter(|folder| folder.is_dir());
        Ok(match (own, dataset) {
            (Source::Folder(_), Some(Source::Folder(path))) => {
                Self::new(Source::Folder(path.clone()), data_dir)
            }
            (own, Some(other)) if other != own => {
                bail!("the data of this run are {own}, which {other} cannot be")
            }
            (Source::Folder(path), _) => {
                Self::new(Source::Folder(recorded.unwrap_or(path).into()), data_dir)
            }
            (known, _) => Self::new(known.clone(), data_dir.or(recorded)),
        })
    }

    /// Loads the data; `options` are for a folder.
    pub fn load(&self, options: &FolderOptions) -> Result<Dataset> {
        self.source.load(&self.data_dir, options)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Folder(path) => write!(f, "{}", path.display()),
            Source::Known(name) => write!(f, "{}", self.data_dir.join(name.as_str()).display()),
            Source::Memory => self.source.fmt(f),
        }
    }
}

/// The files that a run keeps of `data`, which came from `place`: names and content.
pub(crate) fn files(data: &Dataset, place: &Place) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = match &place.source {
        Source::Known(_) | Source::Memory => &place.data_dir,
        Source::Folder(path) => path,
    };
    let folder = match std::path::absolute(folder) {
        // A browser has no folders.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => folder.clone(),
        absolute => absolute
            .with_context(|| format!("cannot find the absolute path of {}", folder.display()))?,
    };
    // If its name is not text the folder is not found again, and must be named.
    let folder = PathBuf::from(folder.to_string_lossy().into_owned());
    let record = DataRecord { folder, ground: ground(data)? };
    let text = toml::to_string(&record).context("cannot write the record of the data as TOML")?;
    let mut files = Vec::new();
    for half in Half::ALL {
        let lines = data.listing.lines(half);
        if !lines.is_empty() {
            files.push((RunDirectory::list_name(half), lines));
        }
    }
    // Last: where the record is, the lists are whole.
    files.push((RunDirectory::DATA.to_owned(), text.into_bytes()));
    Ok(files)
}

/// The middle ground of the training images.
fn ground(data: &Dataset) -> Result<u8> {
    let shape = data.image_shape()?;
    let mut grounds = picked(0, data.train.len(), GROUND_IMAGES)
        .into_iter()
        .map(|image| Ok(picture::ground(&data.train.picture(image)?, shape)))
        .collect::<Result<Vec<u8>, DataError>>()?;
    grounds.sort_unstable();
    Ok(grounds.get(grounds.len() / 2).copied().unwrap_or_default())
}

/// The bytes of a file of fewer than `most`, if it is there.
fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match open_file(path) {
        Ok(file) => file.take(most).read_to_end(&mut bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 == most {
        bail!("{} is too large to be the record of a run's data", path.display());
    }
    Ok(Some(bytes))
}
