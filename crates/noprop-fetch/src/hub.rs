//! Models on the Hugging Face hub, in the cache that its own libraries share. With the feature `hub` a model that is not there is
//! downloaded.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The revision where none is named.
const MAIN: &str = "main";
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
    /// [`HubError::NotCached`] if it is not there, and could not be downloaded either; [`HubError::NoCache`] if no variable of the
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
        folder.is_dir().then_some(folder)
    }

    #[cfg(feature = "hub")]
    fn download(&self, cache: PathBuf) -> Result<PathBuf, HubError> {
        use hf_hub::HFClientSync;
        // What a run is read from; a stranger's repository may hold anything else.
        let wanted = ["config.toml", "data.toml", "metrics.jsonl", "model.safetensors"];
        let wanted = wanted.map(str::to_owned).to_vec();
        let model = HFClientSync::new().and_then(|client| {
            client
                .model(&self.owner, &self.name)
                .snapshot_download()
                .revision(self.revision.as_str())
                .allow_patterns(wanted)
                .send()
        });
        let reason = |error| format!("{error}");
        model.map_err(|error| HubError::NotCached {
            model: self.clone(),
            cache,
            reason: reason(error),
        })
    }

    #[cfg(not(feature = "hub"))]
    fn download(&self, cache: PathBuf) -> Result<PathBuf, HubError> {
        let reason = "this program was built without downloads from the hub".into();
        Err(HubError::NotCached { model: self.clone(), cache, reason })
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
    /// The model is not in the cache.
    #[error("{model} is not in the cache {}, and cannot be downloaded: {reason}", cache.display())]
    NotCached {
        /// The model.
        model: HubModel,
        /// The cache.
        cache: PathBuf,
        /// The reason why it is not downloaded.
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
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::write(model.join("refs/main"), COMMIT).unwrap();
        assert_eq!(found("hf://a/b").as_deref(), Some(&*snapshot));
        assert_eq!(found(&format!("hf://a/b@{COMMIT}")).as_deref(), Some(&*snapshot));
        assert_eq!(found("hf://a/b@v2"), None);
        // A commit from a stranger's file is a part of a path as well.
        fs::write(model.join("refs/main"), "../../..").unwrap();
        assert_eq!(found("hf://a/b"), None);
    }
}
