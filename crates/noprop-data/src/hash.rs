//! The hash of images that are in no file.

use candle_core::DType;
use noprop_files::Hasher;

use crate::error::DataError;
use crate::split::Split;

/// The number of images that are hashed at a time.
const CHUNK: usize = 512;

impl Split {
    /// The SHA-256 over the pixels as they are stored, bytes or little-endian f32, and the labels, little-endian u32, in lower-case
    /// hexadecimal: images that are in no file are recognised by it.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn sha256(&self) -> Result<String, DataError> {
        let mut hasher = Hasher::default();
        for start in (0..self.len()).step_by(CHUNK) {
            let pixels = self.stored_range(start..start + CHUNK)?.flatten_all()?;
            match pixels.dtype() {
                DType::U8 => hasher.update(&pixels.to_vec1::<u8>()?),
                _ => pixels.to_vec1::<f32>()?.iter().for_each(|p| hasher.update(&p.to_le_bytes())),
            }
        }
        self.labels.to_vec1::<u32>()?.iter().for_each(|label| hasher.update(&label.to_le_bytes()));
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use noprop_files::sha256;

    use super::*;

    /// Other images, other labels or another order are other data.
    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let split = |pixels: Vec<u8>| Split::of_bytes(pixels, &[1, 0], (1, 1, 2), 2).unwrap();
        let bytes = split(vec![5, 6, 7, 8]);
        assert_eq!(bytes.sha256().unwrap(), sha256(&[5, 6, 7, 8, 1, 0, 0, 0, 0, 0, 0, 0]));
        let swapped = bytes.select(&[1, 0]).unwrap().sha256().unwrap();
        assert_eq!(swapped, sha256(&[7, 8, 5, 6, 0, 0, 0, 0, 1, 0, 0, 0]));
        let fractions = Tensor::new(&[[[[0.5f32]]]], &Device::Cpu).unwrap();
        let fractions = Split::new(fractions, Tensor::new(&[0u32], &Device::Cpu).unwrap(), 1);
        let expected = [0.5f32.to_le_bytes(), [0; 4]].concat();
        assert_eq!(fractions.unwrap().sha256().unwrap(), sha256(&expected));
    }
}
