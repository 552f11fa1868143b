//! Models on the Hugging Face hub, in the cache that its own libraries share. With the feature `hub` a model that is not there is
//! downloaded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use noprop_files::read_text;

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
        let model = self.place_in(cache);
        // A branch or a tag is a file with the commit; a commit has none.
        let commit = read_ref(&model.join("refs").join(&self.revision));
        let folder = model.join("snapshots").join(commit.as_deref().unwrap_or(&self.revision));
        // A part of a model may be there: what was cut off, or what somebody else asked for.
        let is_whole = NEEDED.iter().all(|file| folder.join(file).is_file());
        is_whole.then_some(folder)
    }

    /// The folder of the model in `cache`, with all its snapshots.
    fn place_in(&self, cache: &Path) -> PathBuf {
        cache.join(format!("models--{}--{}", self.owner, self.name))
    }

    #[cfg(feature = "hub")]
    fn download(&self, cache: PathBuf) -> Result<PathBuf, HubError> {
        // The client's own rule for the place of the cache is another one on some systems.
        let client = hf_hub::HFClient::builder().cache_dir(&cache).build();
        let client = client.and_then(hf_hub::HFClientSync::from_inner);
        let client = client.map_err(|error| error.to_string());
        client.and_then(|client| self.download_with(&client, &cache)).map_err(|reason| {
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            HubError::Download { model: self.clone(), cache, reason }
        })
    }

    /// Downloads the files that a run is read from into `cache`, which is that of `client`: a stranger's repository may hold
    /// anything else.
    #[cfg(feature = "hub")]
    fn download_with(
        &self,
        client: &hf_hub::HFClientSync,
        cache: &Path,
    ) -> Result<PathBuf, String> {
        use hf_hub::repository::RepoTreeEntry;
        let model = client.model(&self.owner, &self.name);
        let said = |error: hf_hub::HFError| error.to_string();
        // A branch may move between the list and the files, so both are those of one commit.
        let commit = model.info().revision(&self.revision).send().map_err(said)?.sha;
        let commit = commit.filter(|sha| is_commit(sha)).ok_or("the hub names no commit of it")?;
        let tree = model.list_tree().revision(&commit).limit(MAX_ENTRIES).send().map_err(said)?;
        // The list is cut there, and the sizes of what comes after are not known.
        if tree.len() >= MAX_ENTRIES {
            return Err(format!("it has {MAX_ENTRIES} files or more"));
        }
        let files = tree.iter().filter_map(|entry| match entry {
            RepoTreeEntry::File { path, size, .. } => Some((path.as_str(), *size)),
            RepoTreeEntry::Directory { .. } => None,
        });
        let files: Vec<(&str, u64)> = files.filter(|(path, _)| FILES.contains(path)).collect();
        let bytes = files.iter().map(|&(_, size)| size).fold(0, u64::saturating_add);
        if bytes > MAX_DOWNLOAD {
            return Err(format!("its files have more than {} GiB", MAX_DOWNLOAD >> 30));
        }
        // One by one: the client's download of a snapshot first lists every file of the repository, however many there are.
        for (file, _) in files {
            model.download_file().filename(file).revision(&commit).send().map_err(said)?;
        }
        self.note(&commit, cache).map_err(|error| error.to_string())?;
        let whole = self.cached_in(cache);
        whole.ok_or_else(|| format!("it does not have both {}", NEEDED.join(" and ")))
    }

    /// Notes in `cache` that the revision is `commit`, without which the branch or tag would not be found there.
    #[cfg(feature = "hub")]
    fn note(&self, commit: &str, cache: &Path) -> std::io::Result<()> {
        if self.revision == commit {
            return Ok(());
        }
        let name = self.place_in(cache).join("refs").join(&self.revision);
        std::fs::create_dir_all(noprop_files::folder_of(&name))?;
        std::fs::write(name, commit)
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
    cache_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

/// The folder of the cache, where `set` finds the values of variables of the environment.
fn cache_by(set: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("huggingface").join("hub")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
        .or_else(|| set("USERPROFILE").map(|home| home.join(".cache/huggingface/hub")))
}

/// The commit in the file of a branch or tag.
fn read_ref(path: &Path) -> Option<String> {
    let text = read_text(path, 256).ok()?;
    let commit = text.trim();
    is_commit(commit).then(|| commit.to_owned())
}

/// Returns true for the name of a commit, which can be a part of a path.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    /// A model would be downloaded into one folder and looked for in another.
    #[test]
    fn the_cache_is_where_the_libraries_of_the_hub_have_it() {
        let variables = [
            ("HF_HUB_CACHE", "a", "a"),
            ("HUGGINGFACE_HUB_CACHE", "b", "b"),
            ("HF_HOME", "c", "c/hub"),
            ("XDG_CACHE_HOME", "d", "d/huggingface/hub"),
            ("HOME", "e", "e/.cache/huggingface/hub"),
            ("USERPROFILE", "f", "f/.cache/huggingface/hub"),
        ];
        // The first of them counts that is set.
        for (first, (.., expected)) in variables.iter().enumerate() {
            let set = |name: &str| {
                let mut later = variables[first..].iter();
                let found = later.find(|(variable, ..)| *variable == name);
                found.map(|(_, value, _)| PathBuf::from(value))
            };
            assert_eq!(cache_by(set), Some(PathBuf::from(expected)));
        }
        assert_eq!(cache_by(|_| None), None);
    }

    /// A hub on this machine, with one model of these files, and a client whose cache is `cache`. It answers for one commit, and refuses a
    /// list of all files.
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
                let is_of_commit = address.contains(COMMIT) && !address.contains("recursive");
                let status = match is_of_commit || address.contains("/revision/") {
                    true => "200 OK",
                    false => "400 Bad Request",
                };
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
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nETag: \"{:x}\"\r\nX-Repo-Commit: {COMMIT}",
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

    /// What is downloaded must be found again in the cache by the name that it was asked for, and nothing else may come along.
    #[cfg(feature = "hub")]
    #[test]
    fn a_model_is_downloaded_into_the_cache() {
        let files = &[
            ("config.toml", "a = 1", 5),
            ("model.safetensors", "weights", 7),
            ("evil.sh", "rm", 2),
        ];
        for address in ["hf://a/b", "hf://a/b@refs/pr/1", &format!("hf://a/b@{COMMIT}")] {
            let cache = tempfile::tempdir().unwrap();
            let model: HubModel = address.parse().unwrap();
            let client = hub(cache.path(), files);
            let folder = model.download_with(&client, cache.path()).unwrap();
            assert_eq!(fs::read_to_string(folder.join("config.toml")).unwrap(), "a = 1");
            assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights");
            assert!(!folder.join("evil.sh").exists());
            assert_eq!(model.cached_in(cache.path()), Some(folder));
        }
    }

    /// Another repository must not look like a model that is there.
    #[cfg(feature = "hub")]
    #[test]
    fn what_is_no_model_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        let model: HubModel = "hf://a/b".parse().unwrap();
        let client = hub(cache.path(), &[("config.toml", "a = 1", 5)]);
        let refused = model.download_with(&client, cache.path()).unwrap_err();
        assert!(refused.contains("both config.toml and model.safetensors"), "{refused}");
    }

    /// A model may be larger than the disk, so its size is known before it is downloaded.
    #[cfg(feature = "hub")]
    #[test]
    fn a_model_that_is_too_large_is_not_downloaded() {
        let cache = tempfile::tempdir().unwrap();
        let files = &[("model.safetensors", "", u64::MAX), ("config.toml", "", 1)];
        let model: HubModel = "hf://a/b".parse().unwrap();
        let client = hub(cache.path(), files);
        let refused = model.download_with(&client, cache.path()).unwrap_err();
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
        let client = hub(cache.path(), files.leak());
        let refused = model.download_with(&client, cache.path()).unwrap_err();
        assert!(refused.contains("10000 files"), "{refused}");
        assert!(!cache.path().join("models--a--b/snapshots").exists());
    }
}
