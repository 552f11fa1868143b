//! Data sets of pictures on the Hugging Face Hub, loaded through `candle_datasets`.
//!
//! The hub keeps a copy of each public data set as Parquet files, `<config>/<split>/0000.parquet`, in the revision
//! `refs/convert/parquet`. A row has a picture (a group with `bytes`) and a label (an integer).
//!
//! `candle_datasets::hub` downloads all of these files, opens them and keeps them in the cache of the hub. The rows are read
//! here: `candle_datasets::vision::mnist::load` panics on a picture that is damaged and leaves out rows that cannot be read,
//! and the loader of CIFAR-10 turns its pictures on their side. A data set comes from strangers, so its size is limited
//! before it is downloaded, every picture and label is checked, and a panic of the Parquet reader is caught.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_datasets::hub::{FileReader, from_hub};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClientSync, HFRepositorySync, RepoTypeDataset};
use noprop_files::Hasher;
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::listing::{Half, Listing};
use crate::picture;
use crate::pictures::Pictures;

/// The revision of a data set that holds Parquet files.
const REVISION: &str = "refs/convert/parquet";
/// The most bytes that are downloaded: a hundred times MNIST.
const MAX_DOWNLOAD: u64 = 2 << 30;
/// The most bytes that the files may have when they are unpacked, and the pictures when they are decoded.
const MAX_BYTES: u64 = 4 << 30;
/// The longest side of a picture.
const MAX_SIDE: u32 = 1024;
/// The most entries of a data set that are listed.
const MAX_ENTRIES: usize = 10_000;
const MAX_CLASSES: usize = 1 << 16;
/// The columns that are taken for the label where a row has several integers.
const LABELS: [&str; 3] = ["label", "fine_label", "labels"];

impl Dataset {
    /// Loads a data set of pictures of one size from the Hugging Face Hub, such as `ylecun/mnist`. It needs the splits
    /// `train` and `test`, and may have `validation`. Files that are in the cache of the hub are not downloaded again. The
    /// hash is over the bytes of the pictures and the labels, in the order of the files.
    ///
    /// ```no_run
    /// let mnist = noprop_data::Dataset::from_hub("ylecun/mnist")?;
    /// assert_eq!(mnist.train.len(), 60_000);
    /// # Ok::<(), noprop_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Hub`] if the hub cannot be reached or does not have the data set, for several configurations, for a
    /// missing split, for more than 2 GiB of files, or naming the first row that cannot be used.
    pub fn from_hub(id: &str) -> Result<Self, DataError> {
        let client = HFClientSync::new().map_err(|error| fault(id, error))?;
        load(&client, id)
    }
}

/// The error for the data set `id`, on one line.
fn fault(id: &str, reason: impl Display) -> DataError {
    let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    DataError::Hub { id: id.into(), reason }
}

fn load(client: &HFClientSync, id: &str) -> Result<Dataset, DataError> {
    let fault = |reason: String| fault(id, reason);
    let (owner, name) = hf_hub::split_id(id);
    let repository = client.dataset(owner, name);
    let contents = Contents::of(&repository).map_err(fault)?;
    contents.check(&repository).map_err(fault)?;
    let images = guarded(|| {
        let files = from_hub(client, id.into()).map_err(|error| error.to_string())?;
        // The files come without their names, in the order of the list.
        if files.len() != contents.files.len() || Contents::of(&repository)? != contents {
            return Err("it changed while it was loaded".into());
        }
        let mut images = Images::default();
        for (path, file) in contents.files.iter().zip(files) {
            if let Some(half) = half_of(path) {
                images.read(half, path, &file)?;
            }
        }
        Ok(images)
    });
    images.map_err(fault)?.dataset(id)
}

/// Runs `read`. The Parquet reader panics on some files that are damaged, which becomes an error here.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing that `read` has begun is used after a panic.
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err("one of its Parquet files is damaged".into()))
}

/// The Parquet files of a data set at one time.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    commit: Option<String>,
    /// The paths of the files, in the order in which the hub lists them.
    files: Vec<String>,
}

impl Contents {
    fn of(repository: &HFRepositorySync<RepoTypeDataset>) -> Result<Self, String> {
        let info = repository.info().revision(REVISION).send().map_err(|e| e.to_string())?;
        let files = info.siblings.unwrap_or_default().into_iter().map(|file| file.rfilename);
        // As `from_hub` chooses them.
        let files = files.filter(|path| path.ends_with(".parquet")).collect();
        Ok(Self { commit: info.sha, files })
    }

    /// Checks that the splits are there, that there is one configuration, and that the files are not too large.
    fn check(&self, repository: &HFRepositorySync<RepoTypeDataset>) -> Result<(), String> {
        let config = |path: &String| path.split_once('/').map(|(config, _)| config.to_owned());
        let mut configs: Vec<_> = self.files.iter().map(config).collect();
        configs.dedup();
        if configs.len() > 1 {
            return Err(format!("it has {} configurations, and one is needed", configs.len()));
        }
        for half in [Half::Train, Half::Test] {
            if !self.files.iter().any(|path| half_of(path) == Some(half)) {
                return Err(format!("it has no complete split {}", half.name()));
            }
        }
        let entries =
            repository.list_tree().revision(REVISION).recursive(true).limit(MAX_ENTRIES).send();
        let sizes: BTreeMap<String, u64> = entries
            .map_err(|error| error.to_string())?
            .into_iter()
            .filter_map(|entry| match entry {
                RepoTreeEntry::File { path, size, .. } => Some((path, size)),
                RepoTreeEntry::Directory { .. } => None,
            })
            .collect();
        let size = |path: &String| sizes.get(path).copied().unwrap_or(u64::MAX);
        let total = self.files.iter().map(size).fold(0, u64::saturating_add);
        if total > MAX_DOWNLOAD {
            return Err(format!("its files have more than {} GiB", MAX_DOWNLOAD >> 30));
        }
        Ok(())
    }
}

/// The half that the file at `<config>/<split>/<number>.parquet` belongs to.
fn half_of(path: &str) -> Option<Half> {
    let split = path.split('/').nth(1)?;
    Half::ALL.into_iter().find(|half| half.name() == split)
}

/// Pictures of one size and their labels, as they are read.
#[derive(Default)]
struct Images {
    /// (H, W) of the first picture.
    size: Option<(u32, u32)>,
    /// The pictures of each half, as three planes.
    halves: [Pictures; 3],
    class_names: Option<Vec<String>>,
    hasher: Hasher,
}

impl Images {
    /// Reads the rows of the file at `path`.
    fn read(
        &mut self,
        half: Half,
        path: &str,
        file: &SerializedFileReader<File>,
    ) -> Result<(), String> {
        let groups = file.metadata().row_groups().iter();
        let sizes = groups.map(|group| u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX));
        if sizes.fold(0, u64::saturating_add) > MAX_BYTES {
            return Err(format!("{path} unpacks to more than {} GiB", MAX_BYTES >> 30));
        }
        let rows = file.get_row_iter(None).map_err(|error| format!("{path}: {error}"))?;
        for (number, row) in rows.enumerate() {
            let at = |reason: String| format!("row {number} of {path}: {reason}");
            let row = row.map_err(|error| at(error.to_string()))?;
            let (bytes, column, label) = cells(&row).map_err(|reason| at(reason.into()))?;
            // The rows of a file share one note.
            if number == 0
                && let Some(names) = class_names(file, column)
            {
                let known = self.class_names.get_or_insert_with(|| names.clone());
                if *known != names {
                    return Err(format!("{path} has other classes than the files before it"));
                }
            }
            self.push(half, bytes, label).map_err(at)?;
        }
        Ok(())
    }

    fn push(&mut self, half: Half, bytes: &[u8], label: i64) -> Result<(), String> {
        let classes = self.class_names.as_ref().map_or(MAX_CLASSES, Vec::len);
        let label = u32::try_from(label).ok().filter(|&label| (label as usize) < classes);
        let label = label.ok_or_else(|| format!("its label is not below {classes}"))?;
        let picture = picture::decode(bytes).map_err(|fault| fault.to_string())?;
        let own = (picture.height(), picture.width());
        let (height, width) = *self.size.get_or_insert(own);
        if own != (height, width) {
            let (h, w) = own;
            return Err(format!("it is {h} x {w} pixels and others {height} x {width}"));
        }
        if height.max(width) > MAX_SIDE {
            return Err(format!("{height} x {width} pixels are too many to learn from"));
        }
        let shape = (3, height as usize, width as usize);
        let added = self.halves[half as usize].push(&picture, shape, label);
        added.map_err(|fault| fault.to_string())?;
        if self.halves.iter().map(Pictures::bytes).sum::<u64>() > MAX_BYTES {
            return Err(format!("with it the pictures need more than {} GiB", MAX_BYTES >> 30));
        }
        self.hasher.update(bytes);
        self.hasher.update(&label.to_le_bytes());
        Ok(())
    }

    fn dataset(self, id: &str) -> Result<Dataset, DataError> {
        let labels = self.halves.iter().flat_map(|pictures| &pictures.labels);
        let count = labels.max().map_or(0, |&label| label as usize + 1);
        let numbers = || (0..count).map(|class| class.to_string()).collect();
        let class_names: Vec<String> = self.class_names.unwrap_or_else(numbers);
        let classes = class_names.len();
        let (height, width) = self.size.unwrap_or_default();
        let channels = if self.halves.iter().any(|pictures| pictures.colour) { 3 } else { 1 };
        let split = |pictures: Pictures| {
            pictures.split((3, height as usize, width as usize), channels, classes)
        };
        let [train, validation, test] = self.halves;
        let validation = Some(validation).filter(|pictures| !pictures.labels.is_empty());
        Ok(Dataset {
            name: id.into(),
            train: split(train)?,
            validation: validation.map(split).transpose()?,
            test: split(test)?,
            classes,
            class_names,
            sha256: self.hasher.finish(),
            listing: Listing::default(),
            notices: Vec::new(),
        })
    }
}

/// The bytes of the picture in a row, and the name and the value of its label.
fn cells(row: &Row) -> Result<(&[u8], &str, i64), &'static str> {
    let picture = row.get_column_iter().find_map(|(_, field)| match field {
        Field::Group(group) => group.get_column_iter().find_map(|(name, field)| match field {
            Field::Bytes(bytes) if name == "bytes" => Some(bytes.data()),
            _ => None,
        }),
        _ => None,
    });
    let integers: Vec<(&str, i64)> = row
        .get_column_iter()
        .filter_map(|(name, field)| Some((name.as_str(), integer(field)?)))
        .collect();
    let named = |name: &str| integers.iter().find(|(column, _)| *column == name);
    let label = match integers.as_slice() {
        [only] => Some(only),
        _ => LABELS.into_iter().find_map(named),
    };
    let &(column, label) = label.ok_or("it has no label")?;
    Ok((picture.ok_or("it has no picture")?, column, label))
}

fn integer(field: &Field) -> Option<i64> {
    match *field {
        Field::Byte(value) => Some(value.into()),
        Field::Short(value) => Some(value.into()),
        Field::Int(value) => Some(value.into()),
        Field::Long(value) => Some(value),
        Field::UByte(value) => Some(value.into()),
        Field::UShort(value) => Some(value.into()),
        Field::UInt(value) => Some(value.into()),
        Field::ULong(value) => value.try_into().ok(),
        _ => None,
    }
}

/// The names of the classes that the label `column` has, if the hub has noted them in the file.
fn class_names(file: &SerializedFileReader<File>, column: &str) -> Option<Vec<String>> {
    let notes = file.metadata().file_metadata().key_value_metadata()?;
    let note = notes.iter().find(|note| note.key == "huggingface")?.value.as_ref()?;
    let note: serde_json::Value = serde_json::from_str(note).ok()?;
    let names = note.get("info")?.get("features")?.get(column)?.get("names")?.as_array()?;
    let names = names.iter().map(|name| name.as_str().map(str::to_owned));
    names.collect::<Option<Vec<_>>>().filter(|names| (1..=MAX_CLASSES).contains(&names.len()))
}

#[cfg(test)]
mod tests;
