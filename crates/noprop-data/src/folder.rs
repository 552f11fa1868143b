//! A person's own pictures: `FOLDER/train/<class>/*.png|jpg` and `FOLDER/test/<class>/…`.
//!
//! Classes are the folders under `train`, in the order of their names, and `test` may have no others. Files whose names begin
//! with a dot are not looked at. Pictures become bytes of one size; if none of them has colour, of one channel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::digest::Hasher;
use crate::picture::{self, PictureFault};
use crate::{DataError, Dataset, Split};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderOptions {
    /// Height and width that all are scaled to; without it they must be of one size, and keep it.
    pub size: Option<(usize, usize)>,
    /// 1 or 3; without it 3 if any picture has colour.
    pub channels: Option<usize>,
    /// What becomes of files that are no pictures.
    pub bad: BadPictures,
}

/// A data set from folders, and what was wrong with the files that were left out.
///
/// # Errors
/// [`DataError::Folder`] for fewer than two classes, a class without pictures, a class that only `test` has, a name that is not
/// UTF-8, or pictures of several sizes and no size to scale them to; [`DataError::Picture`] naming the first file that is no
/// picture, unless those are to be skipped.
pub fn open_folder(
    path: &Path,
    options: FolderOptions,
) -> Result<(Dataset, Vec<DataError>), DataError> {
    for half in ["train", "test"] {
        if !path.join(half).is_dir() {
            let reason = format!(
                "there is no folder {half} in it; pictures belong in train/<class> and test/<class>"
            );
            return Err(DataError::Folder { path: path.into(), reason });
        }
    }
    let train = classes(&path.join("train"))?;
    if train.len() < 2 {
        let reason = "it needs a folder a class, and at least two".to_owned();
        return Err(DataError::Folder { path: path.join("train"), reason });
    }
    let test = classes(&path.join("test"))?;
    let class_names: Vec<String> = train.keys().cloned().collect();
    let mut reader =
        Reader { options, size: options.size, hasher: Hasher::default(), bad: Vec::new() };
    let train = reader.read(&train, &class_names, Emptiness::Refused)?;
    let test = reader.read(&test, &class_names, Emptiness::Allowed)?;
    if test.labels.is_empty() {
        let reason = "it holds no pictures to test on".to_owned();
        return Err(DataError::Folder { path: path.join("test"), reason });
    }
    let channels = match options.channels {
        Some(channels @ (1 | 3)) => channels,
        Some(_) => {
            return Err(DataError::Folder {
                path: path.into(),
                reason: "pictures have 1 or 3 channels".into(),
            });
        }
        None if train.colour || test.colour => 3,
        None => 1,
    };
    // Both read at least one picture, or it would have been an error.
    let size = reader.size.unwrap_or_default();
    let split = |half: Half| half.split(channels, size, class_names.len());
    let (train, test) = (split(train)?, split(test)?);
    let name =
        path.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy().into());
    let (classes, sha256) = (class_names.len(), reader.hasher.finish());
    Ok((Dataset { name, train, test, classes, class_names, sha256 }, reader.bad))
}

/// The folders in `path` with the files in each, both in the order of their names.
fn classes(path: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, DataError> {
    let mut classes = BTreeMap::new();
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
        classes.insert(name, files);
    }
    Ok(classes)
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

/// Pictures for training, or for testing.
struct Half {
    /// Three planes a picture.
    pixels: Vec<u8>,
    labels: Vec<u32>,
    colour: bool,
}

impl Reader {
    fn read(
        &mut self,
        classes: &BTreeMap<String, Vec<PathBuf>>,
        names: &[String],
        emptiness: Emptiness,
    ) -> Result<Half, DataError> {
        let mut half = Half { pixels: Vec::new(), labels: Vec::new(), colour: false };
        for (class, files) in classes {
            let Some(label) = names.iter().position(|name| name == class) else {
                let path = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(class));
                let reason = "there is no class of this name in train".to_owned();
                return Err(DataError::Folder { path: path.into(), reason });
            };
            let before = half.labels.len();
            for file in files {
                match self.picture(file) {
                    Ok((pixels, colour)) => {
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
                let reason = format!("class {class} has no pictures");
                return Err(DataError::Folder { path: PathBuf::from(class), reason });
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

impl Half {
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
