//! A split in batches, in a given order.

use candle_core::Tensor;

use crate::{DataError, Split};

/// What becomes of the images that do not fill a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastBatch {
    /// They are a smaller batch: every image is seen.
    Keep,
    /// They are left out: every batch has the same size.
    Drop,
}

/// Some images with their labels.
#[derive(Debug, Clone)]
pub struct Batch {
    /// [n, C, H, W], f32 in 0..=1.
    pub images: Tensor,
    /// `[n]`, u32.
    pub labels: Tensor,
    /// Their rows in the split.
    pub indices: Vec<u32>,
}

/// An iterator over a split; each batch is gathered on the device where the split lies, when it is asked for.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    split: &'a Split,
    order: &'a [u32],
    size: usize,
    last: LastBatch,
}

impl<'a> Batches<'a> {
    /// Batches of `size` images of `split`, visited in `order` (rows; [`epoch_order`](crate::epoch_order) gives a
    /// shuffled one).
    ///
    /// # Errors
    /// [`DataError::BatchSize`] unless 1 ≤ `size` ≤ N.
    pub fn new(
        split: &'a Split,
        order: &'a [u32],
        size: usize,
        last: LastBatch,
    ) -> Result<Self, DataError> {
        if size == 0 || size > split.len() {
            return Err(DataError::BatchSize { asked: size, max: split.len() });
        }
        Ok(Self { split, order, size, last })
    }

    fn left(&self) -> usize {
        match self.last {
            LastBatch::Keep => self.order.len().div_ceil(self.size),
            LastBatch::Drop => self.order.len() / self.size,
        }
    }
}

impl Iterator for Batches<'_> {
    /// An error for a row that the split does not have.
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left() == 0 {
            return None;
        }
        let (rows, rest) = self.order.split_at(self.size.min(self.order.len()));
        self.order = rest;
        let batch = self.split.batch(rows);
        Some(batch.map(|(images, labels)| Batch { images, labels, indices: rows.to_vec() }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left(), Some(self.left()))
    }
}

impl ExactSizeIterator for Batches<'_> {}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn split() -> Split {
        let images = Tensor::arange(0f32, 5.0, &Device::Cpu).unwrap();
        let labels = Tensor::arange(0u32, 5, &Device::Cpu).unwrap();
        Split::new(images.reshape((5, 1, 1, 1)).unwrap(), labels, 5).unwrap()
    }

    /// Images and labels gathered in different orders would train on wrong labels.
    #[test]
    fn batches_follow_the_order_with_images_and_labels_together() {
        let split = split();
        let order = [3, 0, 4, 1, 2];
        for (last, expected) in [
            (LastBatch::Keep, vec![vec![3, 0], vec![4, 1], vec![2]]),
            (LastBatch::Drop, vec![vec![3, 0], vec![4, 1]]),
        ] {
            let batches = Batches::new(&split, &order, 2, last).unwrap();
            assert_eq!(batches.len(), expected.len());
            let seen: Vec<Vec<u32>> = batches
                .map(|batch| {
                    let batch = batch.unwrap();
                    let labels = batch.labels.to_vec1::<u32>().unwrap();
                    let images = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert_eq!(labels, batch.indices);
                    assert!(images.iter().zip(&labels).all(|(&i, &l)| i == l as f32));
                    labels
                })
                .collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn impossible_sizes_and_rows_are_errors() {
        let split = split();
        for size in [0, 6] {
            assert!(matches!(
                Batches::new(&split, &[0], size, LastBatch::Keep),
                Err(DataError::BatchSize { max: 5, .. })
            ));
        }
        let mut batches = Batches::new(&split, &[9], 1, LastBatch::Keep).unwrap();
        assert!(batches.next().unwrap().is_err());
        assert!(batches.next().is_none());
    }
}
