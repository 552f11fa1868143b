//! The sources of a data set.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A source of a data set's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirror {
    /// An http or https address that ends in a slash; the name of a file is added to it.
    Url(String),
    /// A folder on this machine that holds the files, packed or not.
    Folder(PathBuf),
}

/// A text that names neither an address nor a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not a mirror: give a folder, or an address that starts with https:// or http://"
)]
pub struct BadMirror {
    /// The text that was given.
    pub given: String,
}

impl FromStr for Mirror {
    type Err = BadMirror;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let bad = || BadMirror { given: given.into() };
        match given.split_once("://") {
            Some(("http" | "https", host)) if !host.is_empty() => {
                let slash = if given.ends_with('/') { "" } else { "/" };
                Ok(Self::Url(format!("{given}{slash}")))
            }
            Some(_) => Err(bad()),
            None if given.is_empty() => Err(bad()),
            None => Ok(Self::Folder(given.into())),
        }
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address taken for a folder, or the other way round, would be looked for in the wrong place.
    #[test]
    fn addresses_folders_and_neither() {
        let url = |s: &str| Ok(Mirror::Url(s.into()));
        assert_eq!("https://a.b/c".parse(), url("https://a.b/c/"));
        assert_eq!("http://a.b/".parse(), url("http://a.b/"));
        assert_eq!("../x".parse(), Ok(Mirror::Folder("../x".into())));
        for bad in ["", "ftp://a.b/", "https://", "file:///x"] {
            assert!(bad.parse::<Mirror>().is_err(), "{bad}");
        }
    }
}
