//! The event file of a run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use noprop_files::{UNFINISHED, open_file};
use noprop_train::RunDirectory;
use prost::Message;

use crate::messages::{
    Content, Dim, Event, Experiment, HparamInfo, Hparams, Image, Metadata, MetricInfo, MetricName,
    PluginData, ProtoKind, ProtoValue, Session, SessionEnd, SessionLog, SessionStart, Status,
    Summary, Tensor, TensorShape, Value, What,
};
use crate::record;

/// The first event of every file.
const VERSION: &str = "brain.Event:2";
/// TensorFlow's number of the type of text.
const TEXT: i32 = 7;
/// The status of a session that starts.
const START: i32 = 1;

/// An event file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct EventFileError {
    /// The file, or the folder that was searched for one.
    pub path: PathBuf,
    /// The reason of the operating system.
    pub source: io::Error,
}

type Result<T, E = EventFileError> = std::result::Result<T, E>;

/// The value of a setting among the hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Hparam {
    /// A number.
    Number(f64),
    /// Words.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
}

/// The event file of a run directory, open at its end. Every call writes whole events.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Returns the event files in `folder`, in the order of their names; none if there is no such folder.
    ///
    /// # Errors
    /// [`EventFileError`] if the folder cannot be read.
    pub fn all_in(folder: &Path) -> Result<Vec<PathBuf>> {
        let at = failed(folder);
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(&at)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(&at)?;
            if RunDirectory::is_event_file(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Creates the event file of `folder` anew, with the events up to `step` of the newest that is there, without those whose tag begins with
    /// one of `again`: they will be written again. From step 0 on all are. The older files are removed once the new one is whole, so that no
    /// event is there twice. A damaged file ends at its damage.
    ///
    /// # Errors
    /// [`EventFileError`]. The older files are then still there.
    pub fn from_step(folder: &Path, step: u64, again: &[&str]) -> Result<Self> {
        let old = Self::all_in(folder)?;
        let mut new = Self::create(folder, step, again, old.last().filter(|_| step > 0))?;
        let path = folder.join(free_name(&old));
        fs::rename(&new.path, &path).map_err(failed(&path))?;
        new.path = path;
        for path in &old {
            fs::remove_file(path).map_err(failed(path))?;
        }
        Ok(new)
    }

    /// Writes the new file under a name that is not that of an event file, and leaves nothing if it cannot be written.
    fn create(folder: &Path, step: u64, again: &[&str], old: Option<&PathBuf>) -> Result<Self> {
        let path = folder.join(format!("{UNFINISHED}events"));
        // One that a kill left.
        let _ = fs::remove_file(&path);
        let opened = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut new = Self { file: opened.map_err(failed(&path))?, path };
        let written = new.begin(step, again, old);
        if written.is_err() {
            let _ = fs::remove_file(&new.path);
        }
        written.map(|()| new)
    }

    fn begin(&mut self, step: u64, again: &[&str], old: Option<&PathBuf>) -> Result<()> {
        self.event(0, What::FileVersion(VERSION.into()))?;
        // A TensorBoard that is open forgets the events of the files before.
        self.event(0, What::SessionLog(SessionLog { status: START }))?;
        if let Some(old) = old {
            self.keep(old, step, again)?;
        }
        self.file.sync_all().map_err(failed(&self.path))
    }

    fn keep(&mut self, old: &Path, step: u64, again: &[&str]) -> Result<()> {
        let at = failed(old);
        let mut reader = BufReader::new(open_file(old).map_err(&at)?);
        while let Some(message) = record::read(&mut reader).map_err(&at)? {
            let Ok(event) = Event::decode(message.as_slice()) else { break };
            let is_early = u64::try_from(event.step).is_ok_and(|of| of <= step);
            let Some(What::Summary(summary)) = event.what else { continue };
            let comes_again = |value: &Value| again.iter().any(|tag| value.tag.starts_with(tag));
            if is_early && !summary.values.iter().any(comes_again) {
                self.append(&message)?;
            }
        }
        Ok(())
    }

    /// Writes numbers of a step.
    ///
    /// # Errors
    /// [`EventFileError`].
    pub fn scalars(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (String, f64)>,
    ) -> Result<()> {
        let value = |(tag, number): (String, f64)| Value {
            tag,
            content: Some(Content::Scalar(number as f32)),
            metadata: None,
        };
        self.summary(step, scalars.into_iter().map(value).collect())
    }

    /// Writes a PNG picture.
    ///
    /// # Errors
    /// [`EventFileError`], also if the bytes are not those of a PNG.
    pub fn image(&mut self, step: u64, tag: &str, png: Vec<u8>) -> Result<()> {
        // The header is the first chunk: width and height follow its name.
        let side = |at: usize| {
            let bytes = png.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).and_then(|side| i32::try_from(side).ok())
        };
        let is_png = png.starts_with(b"\x89PNG\r\n\x1a\n");
        let (Some(width), Some(height), true) = (side(16), side(20), is_png) else {
            let reason = format!("the picture {tag} is not a PNG");
            return Err(failed(&self.path)(io::Error::other(reason)));
        };
        let image = Image { height, width, colorspace: 3, encoded: png };
        let content = Some(Content::Image(image));
        self.summary(step, vec![Value { tag: tag.into(), content, metadata: None }])
    }

    /// Writes text in Markdown.
    ///
    /// # Errors
    /// [`EventFileError`].
    pub fn text(&mut self, step: u64, tag: &str, markdown: &str) -> Result<()> {
        let shape = Some(TensorShape { dims: vec![Dim { size: 1 }] });
        let strings = vec![markdown.as_bytes().to_vec()];
        let content = Some(Content::Tensor(Tensor { data_type: TEXT, shape, strings }));
        let metadata = metadata("text", Vec::new());
        self.summary(step, vec![Value { tag: format!("{tag}/text_summary"), content, metadata }])
    }

    /// Writes the hyperparameters of the run, and the tags of the scalars that runs are compared by.
    ///
    /// # Errors
    /// [`EventFileError`].
    pub fn hparams(&mut self, hparams: Vec<(String, Hparam)>, metrics: &[&str]) -> Result<()> {
        let of_kind = |(name, hparam): &(String, Hparam)| HparamInfo {
            name: name.clone(),
            kind: match hparam {
                Hparam::Text(_) => 1,
                Hparam::Bool(_) => 2,
                Hparam::Number(_) => 3,
            },
        };
        let metric = |tag: &&str| MetricInfo { name: Some(MetricName { tag: (*tag).to_owned() }) };
        let experiment = Experiment {
            hparams: hparams.iter().map(of_kind).collect(),
            metrics: metrics.iter().map(metric).collect(),
        };
        self.session(0, "_hparams_/experiment", Session::Experiment(experiment))?;
        let value = |(name, hparam)| {
            let kind = Some(match hparam {
                Hparam::Number(number) => ProtoKind::Number(number),
                Hparam::Text(text) => ProtoKind::Text(text),
                Hparam::Bool(bool) => ProtoKind::Bool(bool),
            });
            (name, ProtoValue { kind })
        };
        let hparams = hparams.into_iter().map(value).collect();
        let start = SessionStart { hparams, start_time: now() };
        self.session(0, "_hparams_/session_start_info", Session::Start(start))
    }

    /// Records that the training has come to its end.
    ///
    /// # Errors
    /// [`EventFileError`].
    pub fn end(&mut self, step: u64) -> Result<()> {
        let end = SessionEnd { status: Status::Success.into(), end_time: now() };
        self.session(step, "_hparams_/session_end_info", Session::End(end))
    }

    fn session(&mut self, step: u64, tag: &str, session: Session) -> Result<()> {
        let content = Hparams { session: Some(session) }.encode_to_vec();
        let metadata = metadata("hparams", content);
        self.summary(step, vec![Value { tag: tag.into(), metadata, content: None }])
    }

    fn summary(&mut self, step: u64, values: Vec<Value>) -> Result<()> {
        self.event(step, What::Summary(Summary { values }))
    }

    fn event(&mut self, step: u64, what: What) -> Result<()> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.append(&Event { wall_time: now(), step, what: Some(what) }.encode_to_vec())
    }

    fn append(&mut self, message: &[u8]) -> Result<()> {
        // In one write, so that a reader seldom finds half an event.
        let mut framed = Vec::with_capacity(message.len() + 16);
        record::write(&mut framed, message)
            .and_then(|()| self.file.write_all(&framed))
            .map_err(failed(&self.path))
    }
}

/// The name of a file that comes after all of `old`.
fn free_name(old: &[PathBuf]) -> String {
    let (begin, end) = (RunDirectory::EVENTS, RunDirectory::EVENTS_END);
    let name = |number: usize| format!("{begin}{:010}{end}{number}", now() as u64);
    let is_taken = |name: &String| old.iter().any(|path| path.ends_with(name));
    (0..=old.len()).map(name).find(|name| !is_taken(name)).unwrap_or_else(|| name(old.len()))
}

fn metadata(plugin: &str, content: Vec<u8>) -> Option<Metadata> {
    Some(Metadata { plugin: Some(PluginData { name: plugin.into(), content }) })
}

fn failed(path: &Path) -> impl Fn(io::Error) -> EventFileError {
    let path = path.to_owned();
    move |source| EventFileError { path: path.clone(), source }
}

/// Returns the seconds since 1970-01-01 UTC.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
