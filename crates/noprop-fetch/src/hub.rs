//! Models on the Hugging Face hub, in the cache that its own libraries share. With the feature `hub` a model that is not there is
//! downloaded.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The revision where none is named.
const MAIN: &str = "main";
/// The files without which a snapshot is no model.
const NEEDED: [&str; 2] = ["config.toml", "model.safetensors"];
/// The files that are downloaded.
#[cfg(feature = "hub")]
const FILES: [&str; 4] = ["config.toml", "data.toml", "metrics.jsonl", "model.safetensors"];
/// The most bytes that they may have.
#[cfg(feature = "hub")]
const MAX_DOWNLOAD: u64 = 16 << 30;
/// A repository with as many files and folders at its root is not looked at.
#[cfg(feature = "hub")]
const MAX_ENTRIES: usize = 10_000;
/// The beginning of an address.
const SCHEME: &str = "hf://";

/// The address of a model: `hf://OWNER/NAME`, and `hf://OWNER/NAME@REVISION` for a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    owner: String,
    name: String,
    revision: String,
}

impl HubModel {
    /// Returns whether `text` is meant as an address, a good one or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The folder with the files of the model: a snapshot in the cache.
    ///
    /// # Errors
    /// [`HubError::NotCached`] or [`HubError::Download`] if it is not there, and cannot be got; [`HubError::NoCache`] if no variable of the
    /// environment says where the cache is.
    pub fn folder(&self) -> Result<PathBuf, HubError> {
        let cache = cache().ok_or(HubError::NoCache)?;
        match self.cached_in(&cache) {
            Some(folder) => Ok(folder),
            None => self.download(cache),
        }
    }

    /// The newest snapshot of the revision in `cache`.
    fn cached_in(&self, cache: &Path) -> Option<PathBuf> {
        let model = cache.join(format!("models--{}--{}", self.owner, self.name));
        // A branch or a tag is a file with the commit; a commit has none.
        let commit = read_ref(&model.join("refs").join(&self.revision));
        let folder = model.join("snapshots").join(commit.as_deref().unwrap_or(&self.revision));
        // A part of a model may be there: what was cut off, or what somebody else asked for.
        let is_whole = NEEDED.iter().all(|file| folder.join(file).is_file());
        is_whole.then_some(folder)
    }

    #[cfg(feature = "hub")]
    fn download(&self, cache: PathBuf) -> Result<PathBuf, HubError> {
        let client = hf_hub::HFClientSync::new().map_err(|error| error.to_string());
        client.and_then(|client| self.download_with(&client)).map_err(|reason| {
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            HubError::Download { model: self.clone(), cache, reason }
        })
    }

    /// Downloads the files that a run is read from into the cache of `client`: a stranger's repository may hold anything else.
    #[cfg(feature = "hub")]
    fn download_with(&self, client: &hf_hub::HFClientSync) -> Result<PathBuf, String> {
        use hf_hub::repository::RepoTreeEntry;
        let model = client.model(&self.owner, &self.name);
        let said = |error: hf_hub::HFError| error.to_string();
        let tree = model.list_tree().revision(&self.revision).limit(MAX_ENTRIES).send();
        let size = |entry: &RepoTreeEntry| match entry {
            RepoTreeEntry::File { path, size, .. } if FILES.contains(&&**path) => *size,
            _ => 0,
        };
        let tree = tree.map_err(said)?;
        // The list is cut there, and the sizes of what comes after are not known.
        if tree.len() >= MAX_ENTRIES {
            return Err(format!("it has {MAX_ENTRIES} files or more"));
        }
        let bytes = tree.iter().map(size).fold(0, u64::saturating_add);
        if bytes > MAX_DOWNLOAD {
            return Err(format!("its files have more than {} GiB", MAX_DOWNLOAD >> 30));
        }
        let files = FILES.map(str::to_owned).to_vec();
        let snapshot = model.snapshot_download().revision(&self.revision).allow_patterns(files);
        snapshot.send().map_err(said)
    }

    #[cfg(not(feature = "hub"))]
    fn download(&self, cache: PathBuf) -> Result<PathBuf, HubError> {
        Err(HubError::NotCached { model: self.clone(), cache })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.owner, self.name)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

impl FromStr for HubModel {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let parts = || {
            let (id, revision) = match text.strip_prefix(SCHEME)?.split_once('@') {
                Some((id, revision)) => (id, revision),
                None => (text.strip_prefix(SCHEME)?, MAIN),
            };
            let (owner, name) = id.split_once('/')?;
            // Each is a part of a path: none may lead elsewhere.
            let is_plain = |part: &str| {
                let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                (1..=96).contains(&part.len()) && part.chars().all(known) && !part.starts_with('.')
            };
            let plain = [owner, name].into_iter().chain(revision.split('/')).all(is_plain);
            let owned = |part: &str| part.to_owned();
            plain.then(|| Self {
                owner: owned(owner),
                name: owned(name),
                revision: owned(revision),
            })
        };
        parts().ok_or_else(|| HubError::NotAnAddress(text.into()))
    }
}

/// A model on the hub cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The text is no address of a model.
    #[error(
        "`{0}` is not the address of a model: write hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
    )]
    NotAnAddress(String),
    /// The home directory, in which the cache is, is not known.
    #[error("there is no cache of the Hugging Face hub: set HF_HOME to its folder")]
    NoCache,
    /// The model is not in the cache, and this program was built without downloads from the hub.
    #[error("{model} is not whole in the cache {}, and this program was built without downloads: get it with `hf download`", cache.display())]
    NotCached {
        /// The model.
        model: HubModel,
        /// The cache.
        cache: PathBuf,
    },
    /// The model is not in the cache, and could not be downloaded.
    #[error("{model} is not whole in the cache {}, and cannot be downloaded: {reason}", cache.display())]
    Download {
        /// The model.
        model: HubModel,
        /// The cache.
        cache: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// The folder of the cache, as the libraries of the hub find it.
fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("huggingface").join("hub")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
        .or_else(|| set("USERPROFILE").map(|home| home.join(".cache/huggingface/hub")))
}

/// The commit in the file of a branch or tag.
fn read_ref(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(256).read_to_string(&mut text).ok()?;
    let commit = text.trim();
    let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    is_commit.then(|| commit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A part of an address that climbs out of the cache would read any folder.
    #[test]
    fn an_address_is_an_owner_and_a_name() {
        for good in ["hf://a/b", "hf://a-1/b_2.c@v1.0", "hf://a/b@refs/pr/1"] {
            assert_eq!(good.parse::<HubModel>().unwrap().to_string(), good);
        }
        assert_eq!("hf://a/b@main".parse::<HubModel>().unwrap().to_string(), "hf://a/b");
        let bad = [
            "",
            "a/b",
            "hf://",
            "hf://a",
            "hf://a/",
            "hf://a/b/c",
            "hf://../b",
            "hf://a/..",
            "hf://a/b@..",
            "hf://a/b@../x",
            "hf://a/b@",
            "hf://a/b c",
            "hf://a/b\\c",
            "hf:///b",
            "hf://a/.b",
        ];
        for bad in bad {
            assert!(bad.parse::<HubModel>().is_err(), "{bad}");
        }
    }

    /// The layout of the cache is that of the hub's own libraries.
    #[test]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--a--b");
        let snapshot = model.join("snapshots").join(COMMIT);
        let found = |address: &str| address.parse::<HubModel>().unwrap().cached_in(cache.path());
        assert_eq!(found("hf://a/b"), None);
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("config.toml"), "").unwrap();
        assert_eq!(found(&format!("hf://a/b@{COMMIT}")), None, "a part is no model");
        fs::write(snapshot.join("model.safetensors"), "").unwrap();
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::write(model.join("refs/main"), COMMIT).unwrap();
        assert_eq!(found("hf://a/b").as_deref(), Some(&*snapshot));
        assert_eq!(found(&format!("hf://a/b@{COMMIT}")).as_deref(), Some(&*snapshot));
        assert_eq!(found("hf://a/b@v2"), None);
        // A commit from a stranger's file is a part of a path as well.
        fs::write(model.join("refs/main"), "../../..").unwrap();
        assert_eq!(found("hf://a/b"), None);
    }

    /// A hub on this machine, with one model of these files, and a client whose cache is `cache`.
    #[cfg(feature = "hub")]
    fn hub(
        cache: &Path,
        files: &'static [(&'static str, &'static str, u64)],
    ) -> hf_hub::HFClientSync {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                let address = first.split(' ').nth(1).unwrap_or_default();
                let entry = |(path, _, size): &(&str, &str, u64)| {
                    format!(r#"{{"type": "file", "oid": "0", "size": {size}, "path": "{path}"}}"#)
                };
                let body = if address.contains("/tree/") {
                    format!("[{}]", files.iter().map(entry).collect::<Vec<_>>().join(","))
                } else if let Some((_, path)) = address.split_once("/resolve/") {
                    let path = path.split('/').nth(1).unwrap_or_default();
                    let file = files.iter().find(|(name, ..)| *name == path);
                    file.map(|(_, content, _)| (*content).to_owned()).unwrap_or_default()
                } else {
                    format!(r#"{{"id": "a/b", "sha": "{COMMIT}"}}"#)
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nETag: \"{:x}\"\r\nX-Repo-Commit: {COMMIT}",
                    address.len()
                );
                let body_or_none = if first.starts_with("HEAD") { "" } else { &body };
                let _ = write!(
                    stream,
                    "{head}\r\nContent-Length: {}\r\n\r\n{body_or_none}",
                    body.len()
                );
            }
        });
        let client =
            hf_hub::HFClient::builder().endpoint(endpoint).cache_dir(cache).build().unwrap();
        hf_hub::HFClientSync::from_inner(client).unwrap()
    }

    /// What is downloaded must be found again in the cache, and nothing else may come along.
    #[cfg(feature = "hub")]
    #[test]
    fn a_model_is_downloaded_into_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let files = &[
            ("config.toml", "a = 1", 5),
            ("model.safetensors", "weights", 7),
            ("evil.sh", "rm", 2),
        ];
        let model: HubModel = "hf://a/b".parse().unwrap();
        let folder = model.download_with(&hub(cache.path(), files)).unwrap();
        assert_eq!(fs::read_to_string(folder.join("config.toml")).unwrap(), "a = 1");
        assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights");
        assert!(!folder.join("evil.sh").exists());
        assert_eq!(model.cached_in(cache.path()), Some(folder));
    }

    /// A model may be larger than the disk, so its size is known before it is downloaded.
    #[cfg(feature = "hub")]
    #[test]
    fn a_model_that_is_too_large_is_not_downloaded() {
        let cache = tempfile::tempdir().unwrap();
        let files = &[("model.safetensors", "", u64::MAX), ("config.toml", "", 1)];
        let model: HubModel = "hf://a/b".parse().unwrap();
        let refused = model.download_with(&hub(cache.path(), files)).unwrap_err();
        assert!(refused.contains("more than 16 GiB"), "{refused}");
        assert!(!cache.path().join("models--a--b/snapshots").exists());
    }

    /// Behind the end of a list that is cut, a model of any size would be downloaded.
    #[cfg(feature = "hub")]
    #[test]
    fn a_model_among_too_many_files_is_not_downloaded() {
        let cache = tempfile::tempdir().unwrap();
        let mut files = vec![("other", "", 1); MAX_ENTRIES];
        files.extend([("model.safetensors", "", u64::MAX), ("config.toml", "", 1)]);
        let model: HubModel = "hf://a/b".parse().unwrap();
        let refused = model.download_with(&hub(cache.path(), files.leak())).unwrap_err();
        assert!(refused.contains("10000 files"), "{refused}");
        assert!(!cache.path().join("models--a--b/snapshots").exists());
    }
}
