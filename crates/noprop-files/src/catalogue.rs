//! The parts of each data set: files, exact sizes, hashes, mirrors, class names.
//!
//! Hashes are of the *unpacked* files, because mirrors pack the same bytes differently. Those of MNIST, Fashion-MNIST and CIFAR-10
//! were each found in several independent public projects, those of CIFAR-100 in the Ruby port of torchvision.

use std::path::{Path, PathBuf};

use crate::name::DatasetName;

/// One unpacked file of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFile {
    /// The name of the file.
    pub name: &'static str,
    /// The exact size in bytes.
    pub bytes: u64,
    /// The SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// The way in which the mirrors pack the files of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Each file by itself, as `<name>.gz`.
    Gzip,
    /// All files in one archive, inside a folder.
    TarGz {
        /// The name of the archive.
        archive: &'static str,
        /// The folder inside it.
        folder: &'static str,
    },
}

/// The entry of a data set in the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The unpacked files.
    pub files: &'static [RawFile],
    /// The way in which the mirrors pack them.
    pub packing: Packing,
    /// The addresses of folders, in the order in which they are tried. Each ends in a slash.
    pub mirrors: &'static [&'static str],
}

const fn file(name: &'static str, bytes: u64, sha256: &'static str) -> RawFile {
    RawFile { name, bytes, sha256 }
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";
/// 16 bytes of header, then one byte for each pixel.
const TRAIN_IMAGES_BYTES: u64 = 16 + 60_000 * 28 * 28;
const TEST_IMAGES_BYTES: u64 = 16 + 10_000 * 28 * 28;
const TRAIN_LABELS_BYTES: u64 = 8 + 60_000;
const TEST_LABELS_BYTES: u64 = 8 + 10_000;

#[rustfmt::skip]
static MNIST: Entry = Entry {
    files: &[
        file(TRAIN_IMAGES, TRAIN_IMAGES_BYTES, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        file(TRAIN_LABELS, TRAIN_LABELS_BYTES, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        file(TEST_IMAGES, TEST_IMAGES_BYTES, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        file(TEST_LABELS, TEST_LABELS_BYTES, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ],
    packing: Packing::Gzip,
    mirrors: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ],
};

#[rustfmt::skip]
static FASHION_MNIST: Entry = Entry {
    files: &[
        file(TRAIN_IMAGES, TRAIN_IMAGES_BYTES, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        file(TRAIN_LABELS, TRAIN_LABELS_BYTES, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        file(TEST_IMAGES, TEST_IMAGES_BYTES, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        file(TEST_LABELS, TEST_LABELS_BYTES, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ],
    packing: Packing::Gzip,
    mirrors: &[
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ],
};

const CIFAR_MIRRORS: &[&str] = &[
    "https://www.cs.toronto.edu/~kriz/",
    "https://cave.cs.toronto.edu/kriz/",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
];
/// 10,000 records of one label byte and 32 × 32 pixels in three planes.
const CIFAR10_BYTES: u64 = 10_000 * (1 + 3 * 32 * 32);

#[rustfmt::skip]
static CIFAR10: Entry = Entry {
    files: &[
        file("data_batch_1.bin", CIFAR10_BYTES, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        file("data_batch_2.bin", CIFAR10_BYTES, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        file("data_batch_3.bin", CIFAR10_BYTES, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        file("data_batch_4.bin", CIFAR10_BYTES, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        file("data_batch_5.bin", CIFAR10_BYTES, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        file("test_batch.bin", CIFAR10_BYTES, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ],
    packing: Packing::TarGz { archive: "cifar-10-binary.tar.gz", folder: "cifar-10-batches-bin" },
    mirrors: CIFAR_MIRRORS,
};

#[rustfmt::skip]
static CIFAR100: Entry = Entry {
    files: &[
        file("train.bin", 50_000 * (2 + 3 * 32 * 32), "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
        file("test.bin", 10_000 * (2 + 3 * 32 * 32), "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
    ],
    packing: Packing::TarGz { archive: "cifar-100-binary.tar.gz", folder: "cifar-100-binary" },
    mirrors: CIFAR_MIRRORS,
};

impl DatasetName {
    /// The entry in the catalogue; `None` for the bundled sample, which has no files.
    pub fn entry(self) -> Option<&'static Entry> {
        match self {
            Self::Mnist => Some(&MNIST),
            Self::FashionMnist => Some(&FASHION_MNIST),
            Self::Cifar10 => Some(&CIFAR10),
            Self::Cifar100 => Some(&CIFAR100),
            Self::MnistSample => None,
        }
    }

    /// The names of the classes, in the order of the labels.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Self::Mnist | Self::MnistSample => DIGITS,
            Self::FashionMnist => CLOTHES,
            Self::Cifar10 => CIFAR10_CLASSES,
            Self::Cifar100 => CIFAR100_CLASSES,
        }
    }

    /// Looks for the files of the data set in `data_dir/<name>/`, by their names alone: nothing is read.
    pub fn presence(self, data_dir: &Path) -> Presence {
        let Some(entry) = self.entry() else {
            return Presence::Bundled;
        };
        let folder = data_dir.join(self.as_str());
        let missing: Vec<_> = entry
            .files
            .iter()
            .filter(|file| entry.find(&folder, file.name).is_none())
            .map(|file| file.name.to_owned())
            .collect();
        if missing.is_empty() {
            Presence::Complete { folder }
        } else {
            Presence::Incomplete { folder, missing }
        }
    }
}

/// The files of a data set that were found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The data set is part of the program and needs no files.
    Bundled,
    /// Every file is there.
    Complete {
        /// The folder that holds them.
        folder: PathBuf,
    },
    /// At least one file is missing.
    Incomplete {
        /// The folder where they should be.
        folder: PathBuf,
        /// The names of the missing files.
        missing: Vec<String>,
    },
}

impl Entry {
    /// The path of the file `name` in `folder`, or of its gzipped form where the mirrors pack it so.
    pub fn find(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let plain = folder.join(name);
        if plain.is_file() {
            return Some(plain);
        }
        let packed = folder.join(format!("{name}.gz"));
        (self.packing == Packing::Gzip && packed.is_file()).then_some(packed)
    }
}

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[rustfmt::skip]
const CLOTHES: &[&str] = &[
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
];

#[rustfmt::skip]
const CIFAR10_CLASSES: &[&str] = &[
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
];

#[rustfmt::skip]
const CIFAR100_CLASSES: &[&str] = &[
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A slip in the tables would make a good download look bad, or give a class the name of another.
    #[test]
    fn the_tables_are_well_formed() {
        for name in DatasetName::ALL {
            let classes = name.class_names();
            let expected = if name == DatasetName::Cifar100 { 100 } else { 10 };
            assert_eq!(classes.len(), expected, "{name}");
            let mut unique = classes.to_vec();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), expected, "{name}");
            let Some(entry) = name.entry() else { continue };
            assert!(entry.mirrors.len() >= 2, "{name}");
            assert!(entry.mirrors.iter().all(|mirror| mirror.ends_with('/')));
            for file in entry.files {
                assert_eq!(file.sha256.len(), 64, "{}", file.name);
                assert!(file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            }
        }
        // CIFAR-100's labels are the classes in alphabetical order.
        assert!(CIFAR100_CLASSES.is_sorted());
    }
}
