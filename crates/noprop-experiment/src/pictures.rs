//! The pictures that some paths name: files one by one, and those of folders.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result, ensure};
use crate::shell::shown_path;

/// The endings of files that are pictures, in lower case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// The way in which a picture was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By its own path.
    Named,
    /// By the path of its folder.
    InFolder,
}

/// A file to be opened as a picture.
#[derive(Debug, PartialEq)]
pub struct Picture {
    /// The file.
    pub path: PathBuf,
    /// The way in which it was named.
    pub origin: Origin,
}

/// The pictures that some paths name.
#[derive(Debug, Default, PartialEq)]
pub struct Pictures {
    /// In the order of the paths, those of a folder in the order of their names.
    pub files: Vec<Picture>,
    /// Everything else in the folders, except hidden files.
    pub passed_over: Vec<PathBuf>,
}

impl Pictures {
    /// Lists the folders among `paths`, but not the folders in them.
    ///
    /// # Errors
    /// If a folder cannot be read or holds no pictures.
    pub fn named_by(paths: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for path in paths {
            if path.is_dir() {
                all.add_folder(path)?;
            } else {
                all.files.push(Picture { path: path.clone(), origin: Origin::Named });
            }
        }
        Ok(all)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        let reading = || format!("cannot read {}", shown_path(folder));
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                found.push(entry.path());
            }
        }
        found.sort();
        let (pictures, others): (Vec<_>, _) =
            found.into_iter().partition(|path| path.is_file() && has_ending(path));
        ensure!(
            !pictures.is_empty(),
            "{} holds no pictures: no file in it ends in .png, .jpg or .jpeg, and folders in it are not looked into",
            shown_path(folder)
        );
        let files = pictures.into_iter().map(|path| Picture { path, origin: Origin::InFolder });
        self.files.extend(files);
        self.passed_over.extend(others);
        Ok(())
    }
}

fn has_ending(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_pictures_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("sub.png")).unwrap();
        for file in ["b.PNG", "a.jpeg", "10.jpg", "2.jpg", "notes.txt", "png", ".hidden.png"] {
            fs::write(root.join(file), "").unwrap();
        }
        fs::write(root.join("sub.png/deep.png"), "").unwrap();
        let (folder, named) = (root.to_path_buf(), PathBuf::from("anything"));
        let found = Pictures::named_by(&[named.clone(), folder]).unwrap();
        let in_folder = |name| Picture { path: root.join(name), origin: Origin::InFolder };
        let mut files = vec![Picture { path: named, origin: Origin::Named }];
        files.extend(["10.jpg", "2.jpg", "a.jpeg", "b.PNG"].map(in_folder));
        let passed_over = ["notes.txt", "png", "sub.png"].map(|name| root.join(name)).to_vec();
        assert_eq!(found, Pictures { files, passed_over });

        fs::remove_file(root.join("sub.png/deep.png")).unwrap();
        let error = Pictures::named_by(&[root.join("sub.png")]).unwrap_err().to_string();
        assert!(error.contains("sub.png holds no pictures"), "{error}");
    }
}
