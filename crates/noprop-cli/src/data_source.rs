//! From a data set's name to its images.

use std::path::Path;

use anyhow::Result;
use noprop_data::Dataset;

use crate::args::DatasetName;

/// Loads a data set from `data_dir`.
pub fn load(name: DatasetName, data_dir: &Path) -> Result<Dataset> {
    match name {
        DatasetName::MnistSample => Ok(Dataset::mnist_sample()?),
        DatasetName::Mnist => Ok(Dataset::mnist(&data_dir.join("mnist"))?),
    }
}

/// MNIST if it is there, else the bundled sample, with a notice that nobody can miss.
pub fn find(data_dir: &Path) -> DatasetName {
    let folder = data_dir.join("mnist");
    let is_there = |name: &str| folder.join(name).exists();
    if is_there("train-images-idx3-ubyte") || is_there("train-images-idx3-ubyte.gz") {
        return DatasetName::Mnist;
    }
    eprintln!(
        "NOTICE: there is no MNIST in {}: this trains on the bundled sample of 5,000 images.\n\
         NOTICE: for the real thing run `cargo xtask fetch-mnist` first.",
        folder.display()
    );
    DatasetName::MnistSample
}
