//! A person's own pictures: `FOLDER/train/<class>/*.png|jpg` and `FOLDER/test/<class>/…`, or `FOLDER/<class>/…` and a share of
//! each class to test on.
//!
//! Classes are folders, in the order of their names, and `test` may have none that `train` lacks. Files whose names begin with
//! a dot are not looked at. Pictures become bytes of one size, of three channels if any of them has colour and of one if none
//! has; 16 bits a channel become 8.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::digest::Hasher;
use crate::picture::{self, PictureFault};
use crate::{DataError, Dataset, Split, TestShare};

/// Pixels that all pictures of a half may take, three planes each, while they are read.
const MAX_BYTES: usize = 16 << 30;

/// Shorter sides are no picture, longer ones no classifier's.
const SIDES: std::ops::RangeInclusive<usize> = 1..=1024;

/// What becomes of a file that is no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadPictures {
    /// The data set is refused.
    #[default]
    Refuse,
    /// It is left out, and named.
    Skip,
}

/// How pictures are read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FolderOptions {
    /// Height and width that all are scaled to; without it they must be of one size, and keep it.
    pub size: Option<(usize, usize)>,
    /// 1 or 3; without it 3 if any picture has colour.
    pub channels: Option<usize>,
    /// What becomes of files that are no pictures.
    pub bad: BadPictures,
    /// For a folder of classes without `train` and `test`.
    pub split: Option<TestShare>,
}

/// A data set from folders, and what was wrong with the files that were left out.
///
/// With [`FolderOptions::split`] each class is divided by a permutation of its pictures, in the order of their names, that
/// depends on nothing but the number of the class and of its pictures. The data's hash covers which they are.
///
/// # Errors
/// [`DataError::Folder`] for fewer than two classes, a class without pictures, a class that only `test` has, a name that is not
/// UTF-8, or pictures of several sizes and no size to scale them to; [`DataError::Picture`] naming the first file that is no
/// picture, unless those are to be skipped.
pub fn open_folder(
    path: &Path,
    options: FolderOptions,
) -> Result<(Dataset, Vec<DataError>), DataError> {
    let refuse = |reason: String| Err(DataError::Folder { path: path.into(), reason });
    if let Some((height, width)) = options.size
        && !(SIDES.contains(&height) && SIDES.contains(&width))
    {
        let (least, most) = (SIDES.start(), SIDES.end());
        return refuse(format!(
            "its pictures cannot be scaled to {height} x {width} pixels: a side has {least} to {most}"
        ));
    }
    if !matches!(options.channels, None | Some(1 | 3)) {
        return refuse("pictures have 1 or 3 channels".into());
    }
    if !path.is_dir() {
        return refuse("there is no such folder".into());
    }
    let missing = ["train", "test"].into_iter().find(|half| !path.join(half).is_dir());
    let mut reader =
        Reader { options, size: options.size, hasher: Hasher::default(), bad: Vec::new() };
    let (train, test, names) = match (options.split, missing) {
        (None, None) => {
            let (train, test) = (classes(&path.join("train"))?, classes(&path.join("test"))?);
            let names = names(&path.join("train"), &train)?;
            for class in &test {
                if !names.contains(&class.name) {
                    let reason = "there is no class of this name in train".into();
                    return Err(DataError::Folder { path: class.path.clone(), reason });
                }
            }
            let train = reader.read(&train, &names, Emptiness::Refused)?;
            let test = reader.read(&test, &names, Emptiness::Allowed)?;
            if test.labels.is_empty() {
                let reason = "it holds no pictures to test on".into();
                return Err(DataError::Folder { path: path.join("test"), reason });
            }
            let channels = options.channels.unwrap_or(train.channels().max(test.channels()));
            let size = reader.size.unwrap_or_default();
            let split = |half: Half| half.split(channels, size, names.len());
            (split(train)?, split(test)?, names)
        }
        (Some(share), Some(_)) => {
            let all = classes(path)?;
            let names = names(path, &all)?;
            let pictures = reader.read(&all, &names, Emptiness::Refused)?;
            let (train, test) = share.divide(&pictures.labels, all.len()).map_err(|number| {
                let class = all.get(number);
                let name = class.map(|class| class.name.as_str()).unwrap_or_default();
                let reason = format!(
                    "class {name} has one picture: --split needs one to train on and one to test on"
                );
                let path = class.map_or(path, |class| &class.path).into();
                DataError::Folder { path, reason }
            })?;
            for row in &test {
                reader.hasher.update(&row.to_le_bytes());
            }
            let channels = options.channels.unwrap_or(pictures.channels());
            let size = reader.size.unwrap_or_default();
            let pictures = pictures.split(channels, size, names.len())?;
            (pictures.select(&train)?, pictures.select(&test)?, names)
        }
        (Some(_), None) => {
            return refuse("it is divided into train and test already: leave out --split".into());
        }
        (None, Some(half)) => {
            return refuse(format!(
                "there is no folder {half} in it; pictures belong in train/<class> and test/<class>, or, to train on them, in \
                 <class> with --split 0.2 to test on a fifth"
            ));
        }
    };
    let name =
        path.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy().into());
    let (classes, sha256) = (names.len(), reader.hasher.finish());
    Ok((Dataset { name, train, test, classes, class_names: names, sha256 }, reader.bad))
}

/// A folder of pictures of one class.
struct Class {
    name: String,
    path: PathBuf,
    /// In the order of their names.
    files: Vec<PathBuf>,
}

/// The folders in `path`, in the order of their names.
fn classes(path: &Path) -> Result<Vec<Class>, DataError> {
    let mut classes = Vec::new();
    for folder in entries(path)? {
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some(name) = name.map(str::to_owned) else {
            let reason = "its name is not UTF-8; give it another".to_owned();
            return Err(DataError::Folder { path: folder, reason });
        };
        let mut files: Vec<_> =
            entries(&folder)?.into_iter().filter(|file| !file.is_dir()).collect();
        files.sort();
        classes.push(Class { name, path: folder, files });
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(classes)
}

/// What the classes of `folder` are called, if a classifier can be trained on them.
fn names(folder: &Path, classes: &[Class]) -> Result<Vec<String>, DataError> {
    if classes.len() < 2 {
        let reason = "it needs a folder a class, and at least two".to_owned();
        return Err(DataError::Folder { path: folder.into(), reason });
    }
    // Said before the first picture is read.
    if let Some(class) = classes.iter().find(|class| class.files.is_empty()) {
        return Err(class.is_empty());
    }
    Ok(classes.iter().map(|class| class.name.clone()).collect())
}

impl Class {
    fn is_empty(&self) -> DataError {
        let reason = format!("class {} has no pictures", self.name);
        DataError::Folder { path: self.path.clone(), reason }
    }
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let reading = |source| DataError::Read { path: path.into(), source };
    let mut all = Vec::new();
    for entry in fs::read_dir(path).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            all.push(entry.path());
        }
    }
    Ok(all)
}

/// Whether a class may be without pictures.
#[derive(Clone, Copy, PartialEq)]
enum Emptiness {
    Refused,
    Allowed,
}

/// What is the same for all pictures.
struct Reader {
    options: FolderOptions,
    /// The first picture's, unless one was asked for.
    size: Option<(usize, usize)>,
    hasher: Hasher,
    bad: Vec<DataError>,
}

/// Pictures for training, or for testing, or for both.
struct Half {
    /// Three planes a picture.
    pixels: Vec<u8>,
    labels: Vec<u32>,
    colour: bool,
}

impl Reader {
    fn read(
        &mut self,
        classes: &[Class],
        names: &[String],
        emptiness: Emptiness,
    ) -> Result<Half, DataError> {
        let mut half = Half { pixels: Vec::new(), labels: Vec::new(), colour: false };
        for class in classes {
            // Every class was looked for among the names before.
            let label = names.iter().position(|name| *name == class.name).unwrap_or(usize::MAX);
            let before = half.labels.len();
            for file in &class.files {
                match self.picture(file) {
                    Ok((pixels, colour)) => {
                        within_memory(file, half.pixels.len() + pixels.len())?;
                        half.pixels.extend(pixels);
                        half.labels.push(u32::try_from(label).unwrap_or(u32::MAX));
                        half.colour |= colour;
                    }
                    Err(bad @ (DataError::Picture { .. } | DataError::Read { .. }))
                        if self.options.bad == BadPictures::Skip =>
                    {
                        self.bad.push(bad);
                    }
                    Err(error) => return Err(error),
                }
            }
            if half.labels.len() == before && emptiness == Emptiness::Refused {
                return Err(class.is_empty());
            }
        }
        Ok(half)
    }

    /// Three planes of bytes, and whether they differ.
    fn picture(&mut self, path: &Path) -> Result<(Vec<u8>, bool), DataError> {
        let (picture, bytes) = picture::read(path)?;
        let own = (picture.height() as usize, picture.width() as usize);
        let size = match (self.size, self.options.size) {
            (Some(size), Some(_)) => size,
            (Some(size), None) if size == own => size,
            (Some((height, width)), None) => {
                let reason = format!(
                    "it is {} x {} pixels and others {height} x {width}: say with --image-size what to scale them to",
                    own.0, own.1
                );
                return Err(DataError::Folder { path: path.into(), reason });
            }
            (None, _) => own,
        };
        if !(SIDES.contains(&size.0) && SIDES.contains(&size.1)) {
            let reason = format!(
                "{} x {} pixels are too many to learn from: use --image-size",
                size.0, size.1
            );
            return Err(DataError::Folder { path: path.into(), reason });
        }
        self.size = Some(size);
        self.hasher.update(&bytes);
        let colour = picture.pixels().any(|pixel| pixel.0.iter().any(|shade| *shade != pixel.0[0]));
        let fault = |fault: PictureFault| DataError::Picture { path: path.into(), fault };
        let pixels = picture::fit(&picture, (3, size.0, size.1)).map_err(fault)?;
        Ok((pixels, colour))
    }
}

/// Refuses a folder that would need so many `bytes` of pixels.
fn within_memory(path: &Path, bytes: usize) -> Result<(), DataError> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let reason = format!(
        "with it the pictures need more than {} GiB of memory: scale them down with --image-size, or take fewer",
        MAX_BYTES >> 30
    );
    Err(DataError::Folder { path: path.into(), reason })
}

impl Half {
    /// 3 if any picture has colour.
    fn channels(&self) -> usize {
        if self.colour { 3 } else { 1 }
    }

    fn split(
        self,
        channels: usize,
        (height, width): (usize, usize),
        classes: usize,
    ) -> Result<Split, DataError> {
        let (count, plane) = (self.labels.len(), height * width);
        let pixels = match channels {
            3 => self.pixels,
            // Without colour the three planes are alike.
            _ => self.pixels.chunks_exact(3 * plane).flat_map(|p| p[..plane].to_vec()).collect(),
        };
        let images = Tensor::from_vec(pixels, (count, channels, height, width), &Device::Cpu)?;
        Split::new(images, Tensor::from_vec(self.labels, count, &Device::Cpu)?, classes)
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    /// A folder must not take all of the machine's memory before anybody is told.
    #[test]
    fn a_folder_that_is_too_large_is_refused_with_what_to_do() {
        let path = Path::new("train/cat/1.png");
        within_memory(path, MAX_BYTES).unwrap();
        let error = within_memory(path, MAX_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("train/cat/1.png") && error.contains("--image-size"), "{error}");
    }

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

    fn open(root: &Path) -> Result<(Dataset, Vec<DataError>), DataError> {
        open_folder(root, FolderOptions::default())
    }

    #[test]
    fn folders_are_classes_and_pixels_arrive() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        fs::write(dir.path().join("train/.hidden"), "x").unwrap();
        let (data, bad) = open(dir.path()).unwrap();
        assert!(bad.is_empty());
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
        assert_eq!(open(dir.path()).unwrap().0.image_shape().unwrap(), (3, 16, 16));
    }

    /// Cutting 16 bits to their lower byte would be noise, and another scale another picture.
    #[test]
    fn sixteen_bits_become_eight() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path());
        let deep = image::ImageBuffer::from_pixel(16, 16, Luma([257u16 * 77]));
        deep.save(dir.path().join("test/dog/4.png")).unwrap();
        let (data, _) = open(dir.path()).unwrap();
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
        let (data, _) = open_folder(dir.path(), options).unwrap();
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
            let split = Some(TestShare::new(share).unwrap());
            let options = FolderOptions { split, ..FolderOptions::default() };
            open_folder(dir.path(), options).unwrap().0
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
        let split = Some(TestShare::new(0.5).unwrap());
        let options = FolderOptions { split, ..FolderOptions::default() };
        let refused = |path: &Path| open_folder(path, options).unwrap_err().to_string();
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
        let (data, bad) = open_folder(dir.path(), options).unwrap();
        assert_eq!((data.train.len(), bad.len()), (3, 1));
        assert!(bad[0].to_string().contains("x.png"));
    }
}
