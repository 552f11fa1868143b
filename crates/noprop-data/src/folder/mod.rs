//! A person's own pictures: `FOLDER/train/<class>/*.png|jpg` and `FOLDER/test/<class>/…`, perhaps `FOLDER/val/<class>/…`, or
//! `FOLDER/<class>/…` and a share of each class to test on.
//!
//! Classes are folders, in the order of their names, and `test` and `val` may have none that `train` lacks. Files whose names begin
//! with a dot are not looked at. Pictures become bytes of one size, of three channels if any of them has colour and of one if none
//! has; 16 bits a channel become 8.

mod reader;
mod tree;

use std::path::Path;
use std::sync::Arc;

use self::reader::{Emptiness, Pictures, Reader};
use self::tree::{Class, Tree};
use crate::listing::{Half, Listing};
use crate::{DataError, Dataset, Notice, Split, TestShare};

/// Shorter sides hold nothing to see, longer ones are too many pixels for a classifier.
const SIDES: std::ops::RangeInclusive<usize> = 1..=1024;

/// The treatment of a file that is not a usable picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum BadPictures {
    /// The data set is refused.
    #[default]
    Refuse,
    /// The file is left out, and named.
    Skip,
}

/// The pictures to test on, in a folder of classes without `train` and `test`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum TestPictures {
    /// The folder must be divided into `train` and `test`.
    #[default]
    OwnFolder,
    /// A share of each class.
    Share(TestShare),
    /// Those that a run has kept a list of, in a folder that had a share of each class for testing.
    Kept(Listing),
}

/// The way in which pictures are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FolderOptions {
    /// Height and width that all are scaled to; without it they must be of one size, and keep it.
    pub size: Option<(usize, usize)>,
    /// 1 or 3; without it 3 if any picture has colour.
    pub channels: Option<usize>,
    /// The treatment of files that are not usable pictures.
    pub bad: BadPictures,
    /// The pictures to test on, for a folder of classes without `train` and `test`.
    pub test: TestPictures,
}

impl FolderOptions {
    fn check(&self, path: &Path) -> Result<(), DataError> {
        let refuse = |reason: String| Err(DataError::Folder { path: path.into(), reason });
        if let Some((height, width)) = self.size
            && !(SIDES.contains(&height) && SIDES.contains(&width))
        {
            let (least, most) = (SIDES.start(), SIDES.end());
            return refuse(format!(
                "its pictures cannot be scaled to {height} x {width} pixels: a side has {least} to {most}"
            ));
        }
        if !matches!(self.channels, None | Some(1 | 3)) {
            return refuse("pictures have 1 or 3 channels".into());
        }
        Ok(())
    }
}

/// A data set from folders.
///
/// With [`TestPictures::Share`] each class is divided by a permutation of its pictures, in the order of their names, that
/// depends on nothing but the number of the class and of its pictures. The data's hash covers which they are.
///
/// # Errors
/// [`DataError::Folder`] for fewer than two classes, a class without pictures, a class that only `test` or `val` has, a name that is
/// not UTF-8, or pictures of several sizes and no size to scale them to; [`DataError::Picture`] naming the first file that is not a
/// usable picture, unless those are to be left out.
pub fn open_folder(path: &Path, options: &FolderOptions) -> Result<Dataset, DataError> {
    options.check(path)?;
    let mut notices = Vec::new();
    let tree = tree::read(path, &mut notices)?;
    let mut reader = Reader::new(options);
    let (train, validation, test, class_names) = match (tree, &options.test) {
        (Tree::Halves { train, validation, test }, TestPictures::OwnFolder) => {
            let names = names(&path.join("train"), &train)?;
            for class in test.iter().chain(validation.iter().flatten()) {
                if !names.contains(&class.name) {
                    let reason = "there is no class of this name in train".into();
                    return Err(DataError::Folder { path: class.path.clone(), reason });
                }
            }
            let train = reader.read(Half::Train, &train, &names, Emptiness::Refused)?;
            let held = match validation {
                Some(held) => {
                    let at = held.first().and_then(|class| class.path.parent());
                    let at = at.unwrap_or(path).to_path_buf();
                    let held = reader.read(Half::Validation, &held, &names, Emptiness::Allowed)?;
                    Some(held.not_empty(&at, "it holds no pictures to choose the epoch with")?)
                }
                None => None,
            };
            let test = reader.read(Half::Test, &test, &names, Emptiness::Allowed)?;
            let test = test.not_empty(&path.join("test"), "it holds no pictures to test on")?;
            let all = [Some(&train), held.as_ref(), Some(&test)];
            let channels = options.channels.unwrap_or(channels(all.into_iter().flatten()));
            let split = |pictures: Pictures| reader.split(pictures, channels, names.len());
            (split(train)?, held.map(split).transpose()?, split(test)?, names)
        }
        (Tree::Halves { .. }, _) => {
            let reason = "it is divided into train and test already, so no share of it can be split off: leave out --split".into();
            return Err(DataError::Folder { path: path.into(), reason });
        }
        (Tree::Flat(_), TestPictures::OwnFolder) => return tree::undivided(path),
        (Tree::Flat(all), test) => {
            let names = names(path, &all)?;
            let pictures = reader.read(Half::Train, &all, &names, Emptiness::Refused)?;
            let (train, test) = match test {
                TestPictures::Kept(listing) => reader.listing.divided_as(listing),
                TestPictures::Share(share) => {
                    let labels = &pictures.labels;
                    share
                        .divide(labels, all.len())
                        .map_err(|class| too_few(path, all.get(class)))?
                }
                TestPictures::OwnFolder => (Vec::new(), Vec::new()),
            };
            reader.divided(&test);
            for (rows, use_) in [(&train, "trained"), (&test, "tested")] {
                if rows.is_empty() {
                    let reason =
                        format!("none of the pictures that the run is {use_} on are there");
                    return Err(DataError::Folder { path: path.into(), reason });
                }
            }
            let channels = options.channels.unwrap_or(channels([&pictures]));
            let pictures = reader.split(pictures, channels, names.len())?;
            (pictures.select(&train)?, None, pictures.select(&test)?, names)
        }
    };
    notices.extend(reader.bad.into_iter().map(|bad| Notice::LeftOut(Arc::new(bad))));
    Ok(Dataset {
        name: name(path),
        train,
        validation,
        test,
        classes: class_names.len(),
        class_names,
        sha256: reader.hasher.finish(),
        listing: reader.listing,
        notices,
    })
}

/// One half of a folder, for a trained network, which may know more classes.
#[derive(Debug)]
pub struct FolderHalf {
    /// A short name.
    pub name: String,
    /// The pictures, with labels that count in the order of the network's classes.
    pub images: Split,
    /// The files.
    pub listing: Listing,
    /// Remarks on the folder.
    pub notices: Vec<Notice>,
}

/// The pictures of one half, for a network that tells the classes `names` apart: those in `FOLDER/train/<class>`, in
/// `FOLDER/val/<class>`, or in `FOLDER/test/<class>` or else in `FOLDER/<class>`. Classes are matched by name.
///
/// # Errors
/// As [`open_folder`], and [`DataError::Folder`] for a class that is not among `names` or a half that is not there.
pub fn open_half(
    path: &Path,
    half: Half,
    names: &[String],
    options: &FolderOptions,
) -> Result<FolderHalf, DataError> {
    options.check(path)?;
    let mut notices = Vec::new();
    let classes = tree::read_half(path, half, &mut notices)?;
    for class in classes.iter().filter(|class| !class.files.is_empty()) {
        if !names.contains(&class.name) {
            let known = names.iter().take(KNOWN_NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(KNOWN_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let reason = format!("the network knows no class of this name, only {known}{more}");
            return Err(DataError::Folder { path: class.path.clone(), reason });
        }
    }
    let mut reader = Reader::new(options);
    let pictures = reader.read(half, &classes, names, Emptiness::Allowed)?;
    let pictures =
        pictures.not_empty(path, &format!("it holds no {} pictures", half.adjective()))?;
    let channels = options.channels.unwrap_or(channels([&pictures]));
    let images = reader.split(pictures, channels, names.len())?;
    notices.extend(reader.bad.into_iter().map(|bad| Notice::LeftOut(Arc::new(bad))));
    Ok(FolderHalf { name: name(path), images, listing: reader.listing, notices })
}

/// Known classes that an error names.
const KNOWN_NAMED: usize = 10;

/// The folder's own name.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy().into())
}

/// The names of the classes of `folder`, if a classifier can be trained on them.
fn names(folder: &Path, classes: &[Class]) -> Result<Vec<String>, DataError> {
    if classes.len() < 2 {
        let reason = "it needs a folder a class, and at least two".to_owned();
        return Err(DataError::Folder { path: folder.into(), reason });
    }
    // Known before the first picture is read.
    if let Some(class) = classes.iter().find(|class| class.files.is_empty()) {
        return Err(class.is_empty());
    }
    Ok(classes.iter().map(|class| class.name.clone()).collect())
}

/// The error for a class that cannot be divided.
fn too_few(path: &Path, class: Option<&Class>) -> DataError {
    let name = class.map(|class| class.name.as_str()).unwrap_or_default();
    let reason =
        format!("class {name} has one picture: --split needs one to train on and one to test on");
    DataError::Folder { path: class.map_or(path, |class| &class.path).into(), reason }
}

/// 3 if any picture has colour.
fn channels<'a>(pictures: impl IntoIterator<Item = &'a Pictures>) -> usize {
    if pictures.into_iter().any(|pictures| pictures.colour) { 3 } else { 1 }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn grey(path: &Path, side: u32, shade: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(side, side, Luma([shade])).save(path).unwrap();
    }

    /// Two classes, of two pictures and one to train on, one each to test on.
    fn tiny(root: &Path) {
        for (file, shade) in [
            ("train/cat/1.png", 10),
            ("train/cat/2.png", 20),
            ("train/dog/1.png", 200),
            ("test/cat/3.png", 30),
            ("test/dog/4.png", 210),
        ] {
            grey(&root.join(file), 16, shade);
        }
    }

    /// Of the test below: two cats, four dogs and an eel.
    const SPLIT_SHADES: [u32; 7] = [11, 31, 16, 21, 31, 61, 6];

    fn open(root: &Path) -> Result<Dataset, DataError> {
        open_folder(root, &FolderOptions::default())
    }

    #[test]
    fn folders_are_classes_and_pixels_arrive() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        fs::write(dir.path().join("train/.hidden"), "x").unwrap();
        let data = open(dir.path()).unwrap();
        assert!(data.notices.is_empty(), "{:?}", data.notices);
        assert_eq!(data.class_names, ["cat", "dog"]);
        assert_eq!(data.image_shape().unwrap(), (1, 16, 16), "grey pictures have one channel");
        assert_eq!(data.train.labels.to_vec1::<u32>().unwrap(), [0, 0, 1]);
        let pixels = data.test.images().unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        assert!((pixels[1][0] * 255.0 - 210.0).abs() < 1e-3);
    }

    #[test]
    fn one_picture_of_colour_makes_all_three_channels() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        RgbImage::from_pixel(16, 16, Rgb([1, 2, 3]))
            .save(dir.path().join("train/dog/c.png"))
            .unwrap();
        assert_eq!(open(dir.path()).unwrap().image_shape().unwrap(), (3, 16, 16));
    }

    /// Cutting 16 bits to their lower byte would be noise, and another scale another picture.
    #[test]
    fn sixteen_bits_become_eight() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        let deep = image::ImageBuffer::from_pixel(16, 16, Luma([257u16 * 77]));
        deep.save(dir.path().join("test/dog/4.png")).unwrap();
        let data = open(dir.path()).unwrap();
        assert_eq!(data.test.picture(1).unwrap(), [77; 256]);
    }

    #[test]
    fn other_sizes_need_a_size() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        grey(&dir.path().join("train/dog/large.png"), 40, 7);
        let refused = open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("large.png") && refused.contains("--image-size"), "{refused}");
        let options = FolderOptions { size: Some((20, 24)), ..FolderOptions::default() };
        let data = open_folder(dir.path(), &options).unwrap();
        assert_eq!(data.image_shape().unwrap(), (1, 20, 24));
    }

    #[test]
    fn each_fault_is_said() {
        let fault = |spoil: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            tiny(dir.path());
            spoil(dir.path());
            open(dir.path()).unwrap_err().to_string()
        };
        let text = fault(&|root| fs::write(root.join("train/cat/x.png"), "text").unwrap());
        assert!(text.contains("x.png"), "{text}");
        let text = fault(&|root| fs::remove_dir_all(root.join("train/cat")).unwrap());
        assert!(text.contains("at least two"), "{text}");
        let text = fault(&|root| fs::create_dir(root.join("train/bird")).unwrap());
        assert!(text.contains("class bird has no pictures"), "{text}");
        assert!(text.contains("train/bird cannot be used"), "{text}");
        let text = fault(&|root| grey(&root.join("test/fish/1.png"), 16, 1));
        assert!(text.contains("fish") && text.contains("train"), "{text}");
        let text = fault(&|root| fs::remove_dir_all(root.join("test")).unwrap());
        assert!(text.contains("test"), "{text}");
        let text = fault(&|root| {
            fs::remove_dir_all(root.join("test")).unwrap();
            fs::create_dir_all(root.join("test/cat")).unwrap();
        });
        assert!(text.contains("no pictures to test on"), "{text}");
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(b"train/\xff");
            let text = fault(&|root| fs::create_dir(root.join(name)).unwrap());
            assert!(text.contains("not UTF-8"), "{text}");
        }
    }

    /// The same pictures are for testing whoever asks, in the share that was asked for and from every class; another share is
    /// other data.
    #[test]
    fn a_split_is_fixed_and_stratified() {
        let dir = tempfile::tempdir().unwrap();
        for (class, count) in [("cat", 10), ("dog", 20), ("eel", 2)] {
            for number in 0..count {
                grey(&dir.path().join(format!("{class}/{number:02}.png")), 16, 5 * number + 1);
            }
        }
        let split = |share| {
            let test = TestPictures::Share(TestShare::new(share).unwrap());
            let options = FolderOptions { test, ..FolderOptions::default() };
            open_folder(dir.path(), &options).unwrap()
        };
        let counts = |split: &Split| {
            let labels = split.labels.to_vec1::<u32>().unwrap();
            [0, 1, 2].map(|class| labels.iter().filter(|label| **label == class).count())
        };
        let fifth = split(0.2);
        assert_eq!((counts(&fifth.train), counts(&fifth.test)), ([8, 16, 1], [2, 4, 1]));
        let shades = |split: &Split| {
            let images = split.images().unwrap().flatten_from(1).unwrap();
            let images = images.to_vec2::<f32>().unwrap().into_iter();
            images.map(|image| (255.0 * image[0]).round() as u32).collect::<Vec<_>>()
        };
        // Part of the promise that published accuracies rest on: the rule may not change unnoticed.
        assert_eq!(shades(&fifth.test), SPLIT_SHADES);
        assert_eq!(shades(&fifth.test), shades(&split(0.2).test));
        let mut all = [shades(&fifth.train), shades(&fifth.test)].concat();
        all.sort_unstable();
        let mut expected: Vec<u32> = (0..10).chain(0..20).chain(0..2).map(|n| 5 * n + 1).collect();
        expected.sort_unstable();
        assert_eq!(all, expected, "every picture is in one half");
        assert_ne!(fifth.sha256, split(0.5).sha256);
        assert_eq!(counts(&split(0.01).test), [1, 1, 1]);
        assert_eq!(counts(&split(0.99).train), [1, 1, 1]);
        for share in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(TestShare::new(share).is_err(), "{share}");
        }
    }

    #[test]
    fn a_split_needs_something_to_split() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        let test = TestPictures::Share(TestShare::new(0.5).unwrap());
        let options = FolderOptions { test, ..FolderOptions::default() };
        let refused = |path: &Path| open_folder(path, &options).unwrap_err().to_string();
        assert!(refused(dir.path()).contains("leave out --split"), "{}", refused(dir.path()));
        let train = dir.path().join("train");
        assert!(refused(&train).contains("class dog has one picture"), "{}", refused(&train));
        let text = open(&train).unwrap_err().to_string();
        assert!(text.contains("--split 0.2"), "{text}");
    }

    #[test]
    fn bad_pictures_are_skipped_and_named_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        fs::write(dir.path().join("train/cat/x.png"), "text").unwrap();
        let options = FolderOptions { bad: BadPictures::Skip, ..FolderOptions::default() };
        let data = open_folder(dir.path(), &options).unwrap();
        assert_eq!((data.train.len(), data.notices.len()), (3, 1));
        assert!(data.notices[0].to_string().contains("x.png"));
    }
}
