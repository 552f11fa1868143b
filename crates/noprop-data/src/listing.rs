//! The files of a data set, by which a run recognises its data and names the first difference.
//!
//! A list is written as `sha256sum` writes it, with one line for each file: the hash, two spaces, the path in the data set's
//! folder. A name with a backslash or a line break is escaped, and its line begins with a backslash.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use noprop_files::{open_file, sha256_of};

use crate::error::DataError;

/// The part of a data set that a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// For training.
    Train,
    /// Held out to choose the epoch.
    Validation,
    /// For testing.
    Test,
}

impl Half {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name, such as `train`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The word before "images", such as `held-out`.
    pub const fn adjective(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "held-out",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "for training",
            Self::Validation => "held out",
            Self::Test => "for testing",
        })
    }
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// The half that it belongs to.
    pub half: Half,
    /// Its path in the folder of the data set.
    pub path: PathBuf,
    /// The SHA-256 of its bytes, unpacked if it is a packed data file, in lower-case hexadecimal.
    pub sha256: String,
}

/// The files of a data set, each once. The bundled sample has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    files: Vec<ListedFile>,
}

impl Listing {
    /// The files, in the order in which they were read.
    pub fn files(&self) -> &[ListedFile] {
        &self.files
    }

    /// The files of one half.
    pub fn half(&self, half: Half) -> impl Iterator<Item = &ListedFile> {
        self.files.iter().filter(move |file| file.half == half)
    }

    pub(crate) fn push(&mut self, half: Half, path: PathBuf, sha256: String) {
        self.files.push(ListedFile { half, path, sha256 });
    }

    /// The indices of the files that are not for testing in `kept`, and of those that are, both in rising order.
    pub(crate) fn divided_as(&self, kept: &Self) -> (Vec<u32>, Vec<u32>) {
        let test: HashSet<&Path> = kept.half(Half::Test).map(|file| &*file.path).collect();
        let places = (0u32..).zip(&self.files);
        let (test, train): (Vec<_>, Vec<_>) =
            places.partition(|(_, file)| test.contains(&*file.path));
        let numbers =
            |files: Vec<(u32, &ListedFile)>| files.into_iter().map(|(at, _)| at).collect();
        (numbers(train), numbers(test))
    }

    /// Moves the files with the indices `test`, in the order of their pushes, to the half for testing.
    pub(crate) fn move_to_test(&mut self, test: &[u32]) {
        for &place in test {
            if let Some(file) = self.files.get_mut(place as usize) {
                file.half = Half::Test;
            }
        }
    }

    /// The lines of one half, as `sha256sum` writes them.
    pub fn lines(&self, half: Half) -> Vec<u8> {
        let mut lines = Vec::new();
        for file in self.half(half) {
            let path = bytes_of(&file.path);
            let escaped = path.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
            if escaped {
                lines.push(b'\\');
            }
            lines.extend(file.sha256.bytes());
            lines.extend(b"  ");
            for byte in path {
                match byte {
                    b'\\' => lines.extend(b"\\\\"),
                    b'\n' => lines.extend(b"\\n"),
                    b'\r' => lines.extend(b"\\r"),
                    plain => lines.push(plain),
                }
            }
            lines.push(b'\n');
        }
        lines
    }

    /// Adds the files of one half, from lines that [`Self::lines`] or `sha256sum` wrote. `path` is used in errors only.
    ///
    /// # Errors
    /// [`DataError::Malformed`] with the number of the first line that cannot be understood.
    pub fn read_lines(&mut self, path: &Path, half: Half, lines: &[u8]) -> Result<(), DataError> {
        let lines = lines.split(|byte| *byte == b'\n').enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let file = parsed(half, line).ok_or_else(|| {
                let reason = format!("line {} is not a SHA-256 and a path", number + 1);
                DataError::malformed(path, reason)
            })?;
            self.files.push(file);
        }
        Ok(())
    }

    /// Returns true if all files of `half` are in the folder `root`, at their places and with their bytes.
    pub fn is_in(&self, root: &Path, half: Half) -> bool {
        let mut files = self.half(half).peekable();
        files.peek().is_some()
            && files.all(|file| {
                let found = open_file(&root.join(&file.path)).and_then(sha256_of);
                found.is_ok_and(|found| found == file.sha256)
            })
    }

    /// The number of files of `half` that have the bytes of one of the files of `other`'s half `theirs`.
    pub fn shared_with(&self, half: Half, other: &Self, theirs: Half) -> usize {
        let hashes: HashSet<&str> = other.half(theirs).map(|file| file.sha256.as_str()).collect();
        self.half(half).filter(|file| hashes.contains(file.sha256.as_str())).count()
    }

    /// The first difference between these files, which a run has kept, and the files `found`, in words, with the number of
    /// differences: a file that is gone, new or changed, or that has moved to another place or another half.
    pub fn difference(&self, found: &Self) -> Option<String> {
        let (kept, now) = (self.by_path(), found.by_path());
        // New files by their bytes: a file that was moved is found among them.
        let mut arrived: HashMap<&str, Vec<&Path>> = HashMap::new();
        for file in found.files.iter().rev().filter(|file| !kept.contains_key(&*file.path)) {
            arrived.entry(&file.sha256).or_default().push(&file.path);
        }
        let mut changes = Vec::new();
        for was in &self.files {
            let path = was.path.display();
            changes.extend(match now.get(&*was.path) {
                None => Some(match arrived.get_mut(&*was.sha256).and_then(Vec::pop) {
                    Some(is) => format!("{path} is now {}", is.display()),
                    None => format!("{path} is gone"),
                }),
                Some(is) if is.sha256 != was.sha256 => Some(format!("{path} has other content")),
                Some(is) if is.half != was.half => {
                    Some(format!("{path} was {} and is now {}", was.half, is.half))
                }
                Some(_) => None,
            });
        }
        let new: HashSet<&Path> = arrived.into_values().flatten().collect();
        let new = found.files.iter().filter(|file| new.contains(&*file.path));
        changes.extend(new.map(|file| format!("{} is new", file.path.display())));
        match changes.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            [first, ..] => Some(format!("{first}, the first of {} changes", changes.len())),
        }
    }

    /// As [`Self::difference`], for the files of one half.
    pub fn difference_of(&self, half: Half, found: &Self) -> Option<String> {
        let only = |listing: &Self| Self { files: listing.half(half).cloned().collect() };
        only(self).difference(&only(found))
    }

    fn by_path(&self) -> HashMap<&Path, &ListedFile> {
        self.files.iter().map(|file| (&*file.path, file)).collect()
    }
}

fn parsed(half: Half, line: &[u8]) -> Option<ListedFile> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let (hash, rest) = line.split_at_checked(64)?;
    // `sha256sum --binary` puts an asterisk in the place of the second space.
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let sha256 = std::str::from_utf8(hash).ok()?.to_owned();
    if name.is_empty() || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let name = if escaped { unescaped(name)? } else { name.to_vec() };
    let path = path_of(name)?;
    // The files of a list are opened, so none may be outside the folder of the data set.
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then_some(ListedFile { half, path, sha256 })
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = name.iter();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(plain)
}

#[cfg(unix)]
fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere a path must be UTF-8")]
fn path_of(bytes: Vec<u8>) -> Option<PathBuf> {
    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
    Some(name.into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> Option<PathBuf> {
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    /// Files `half path digit`, where the digit stands for the bytes.
    fn listing(files: &[(Half, &str, char)]) -> Listing {
        let mut listing = Listing::default();
        for &(half, path, digit) in files {
            listing.push(half, path.into(), hash(digit));
        }
        listing
    }

    /// Each way in which a folder can change is named, with the file.
    #[test]
    fn the_first_difference_is_named() {
        use Half::{Test, Train};
        let (cat_1, cat_2) = ((Train, "cat/1", 'a'), (Train, "cat/2", 'b'));
        let dog = (Test, "dog/1", 'c');
        let run = listing(&[cat_1, cat_2, dog]);
        assert_eq!(run.difference(&listing(&[dog, cat_1, cat_2])), None, "the order is nothing");
        for (now, words) in [
            (vec![cat_1, dog], "cat/2 is gone"),
            (vec![cat_1, cat_2, dog, (Train, "cat/3", 'd')], "cat/3 is new"),
            (vec![cat_1, (Train, "cat/2", 'd'), dog], "cat/2 has other content"),
            (
                vec![cat_1, (Test, "cat/2", 'b'), dog],
                "cat/2 was for training and is now for testing",
            ),
            (vec![cat_1, (Train, "dog/2", 'b'), dog], "cat/2 is now dog/2"),
            (
                vec![(Train, "lion/1", 'a'), (Train, "lion/2", 'b'), dog],
                "cat/1 is now lion/1, the first of 2 changes",
            ),
            (
                vec![cat_1, (Test, "dog/1", 'd'), (Test, "dog/2", 'c')],
                "cat/2 is gone, the first of 3 changes",
            ),
        ] {
            assert_eq!(run.difference(&listing(&now)).unwrap(), words);
        }
        // Files of equal bytes: each goes to one place.
        let twins = listing(&[(Train, "a/1", 'e'), (Train, "a/2", 'e'), (Train, "a/3", 'e')]);
        let now = twins.difference(&listing(&[(Train, "b/1", 'e'), (Train, "b/9", 'f')])).unwrap();
        assert_eq!(now, "a/1 is now b/1, the first of 4 changes");
    }

    /// `eval` must not fail because training pictures have changed.
    #[test]
    fn a_half_is_compared_by_itself() {
        let run = listing(&[(Half::Train, "1", 'a'), (Half::Test, "2", 'b')]);
        let now = listing(&[(Half::Test, "2", 'b')]);
        assert_eq!(run.difference_of(Half::Test, &now), None);
        assert!(run.difference_of(Half::Train, &now).is_some());
        assert_eq!(now.shared_with(Half::Test, &run, Half::Test), 1);
        assert_eq!(now.shared_with(Half::Test, &run, Half::Train), 0);
    }

    /// A person can check a run's pictures with the tool that the format comes from.
    #[test]
    fn lines_are_those_of_sha256sum() {
        let run = listing(&[(Half::Test, "cat/my cat.png", 'a'), (Half::Test, "a\\b\nc", 'b')]);
        let expected = format!("{}  cat/my cat.png\n\\{}  a\\\\b\\nc\n", hash('a'), hash('b'));
        assert_eq!(String::from_utf8(run.lines(Half::Test)).unwrap(), expected);
        let mut read = Listing::default();
        read.read_lines(Path::new("x"), Half::Test, expected.as_bytes()).unwrap();
        assert_eq!(read, run);
        let binary = format!("{} *cat.png\n", hash('a'));
        Listing::default().read_lines(Path::new("x"), Half::Test, binary.as_bytes()).unwrap();
    }

    /// A run directory may have been edited, or may come from a stranger.
    #[test]
    fn a_damaged_list_is_refused_with_its_line() {
        let outside = [format!("{}  /etc/passwd", hash('a')), format!("{}  a/../../b", hash('a'))];
        for wrong in [
            &outside[0],
            &outside[1],
            "x",
            "abc  cat.png",
            &format!("{}  ", hash('a')),
            &format!("{}x", hash('g')),
        ] {
            let text = format!("{}  fine.png\n{wrong}\n", hash('a'));
            let error = Listing::default()
                .read_lines(Path::new("run/test.sha256"), Half::Test, text.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains("run/test.sha256") && error.contains("line 2"), "{error}");
        }
    }

    proptest! {
        /// Any name that a file can have comes back from the list, and no bytes make the reader panic.
        #[test]
        fn any_name_comes_back(name in "[^/\0.][^/\0]{0,19}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let run = listing(&[(Half::Train, &name, 'a')]);
            let mut read = Listing::default();
            read.read_lines(Path::new("x"), Half::Train, &run.lines(Half::Train)).unwrap();
            prop_assert_eq!(read, run);
            let _ = Listing::default().read_lines(Path::new("x"), Half::Train, &bytes);
        }
    }
}
