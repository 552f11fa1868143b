//! A task with a hundred classes from MNIST: two adjacent digits, read as a number from 00 to 99.
//!
//! `cargo run -p noprop-data --example two_digits -- DATA_DIR OUT` writes 30,000 training and 5,000 test pictures of 56 × 28
//! pixels as a folder data set, `OUT/train/07/00012.png` and so on, for `noprop train --dataset folder:OUT`. Each image of
//! the first half of MNIST is paired with one of the second half, so no image is used twice, and no test image is trained on.

use std::error::Error;
use std::path::Path;

use image::{ExtendedColorType, ImageFormat, save_buffer_with_format};
use noprop_data::{DatasetName, Split, load};

/// The number of images that are converted to bytes at a time.
const CHUNK: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, out] = &arguments[..] else {
        return Err("usage: two_digits DATA_DIR OUT".into());
    };
    let mnist = load(DatasetName::Mnist, Path::new(data))?;
    write(&mnist.train, &Path::new(out).join("train"))?;
    write(&mnist.test, &Path::new(out).join("test"))
}

fn write(split: &Split, folder: &Path) -> Result<(), Box<dyn Error>> {
    for class in 0..100 {
        std::fs::create_dir_all(folder.join(format!("{class:02}")))?;
    }
    let labels = split.labels.to_vec1::<u32>()?;
    let half = split.len() / 2;
    for start in (0..half).step_by(CHUNK) {
        let end = half.min(start + CHUNK);
        let left = bytes(split, start..end)?;
        let right = bytes(split, half + start..half + end)?;
        for (index, (left, right)) in (start..end).zip(left.iter().zip(&right)) {
            let rows = left.chunks(28).zip(right.chunks(28));
            let pixels: Vec<u8> = rows.flat_map(|(left, right)| [left, right].concat()).collect();
            let class = 10 * labels[index] + labels[half + index];
            let path = folder.join(format!("{class:02}/{index:05}.png"));
            save_buffer_with_format(
                path,
                &pixels,
                56,
                28,
                ExtendedColorType::L8,
                ImageFormat::Png,
            )?;
        }
    }
    Ok(())
}

/// The pixels of the images in `range`, 28 · 28 bytes each.
fn bytes(split: &Split, range: std::ops::Range<usize>) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let rows: Vec<Vec<f32>> = split.range(range)?.flatten_from(1)?.to_vec2()?;
    let byte = |value: f32| (255.0 * value).round() as u8;
    Ok(rows.into_iter().map(|row| row.into_iter().map(byte).collect()).collect())
}
