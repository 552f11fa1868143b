//! The most typical image of each class.

use crate::error::DataError;
use crate::order::{Purpose, of_class};
use crate::split::Split;

/// Images of a class that are compared with each other: the work grows with the square of their number, and among a thousand
/// the middle of a class is well represented.
const COMPARED: usize = 1000;
/// The number of independent sums, chosen for the vectors of a processor. It fixes the order of additions, and so is part of
/// the promise that results can be reproduced.
const LANES: usize = 16;

/// The prototype of each of `classes` classes, as the number of an image of `split`: the image with the smallest median
/// Euclidean distance to the others of its class; of several the first.
///
/// Where a class has more than 1,000 images, 1,000 picked by `seed` are compared. Of an even number of distances the median
/// is the lower one in the middle.
///
/// # Errors
/// [`DataError::EmptyClass`] for a class without an image.
pub fn prototypes(split: &Split, classes: usize, seed: u64) -> Result<Vec<u32>, DataError> {
    let labels = split.labels.to_vec1::<u32>()?;
    (0..classes)
        .map(|class| {
            let mut rows = of_class(Purpose::Prototype, seed, &labels, class);
            rows.truncate(COMPARED);
            rows.sort_unstable();
            let images = split.batch(&rows).map(|(images, _)| images.flatten_from(1))??;
            let middle = medoid(&images.to_vec2::<f32>()?);
            let middle = middle.and_then(|middle| rows.get(middle).copied());
            middle.ok_or(DataError::EmptyClass { class })
        })
        .collect()
}

/// The index of the point with the smallest median distance to the others, if there is a point.
fn medoid(points: &[Vec<f32>]) -> Option<usize> {
    let count = points.len();
    // Row by row; each distance is computed once.
    let mut squares = vec![vec![0f32; count]; count];
    for (i, a) in points.iter().enumerate() {
        for (j, b) in points.iter().enumerate().skip(i + 1) {
            squares[i][j] = square_distance(a, b);
            squares[j][i] = squares[i][j];
        }
    }
    let median = |(i, mut others): (usize, Vec<f32>)| {
        others.swap_remove(i);
        let middle = others.len().checked_sub(1)? / 2;
        Some(*others.select_nth_unstable_by(middle, f32::total_cmp).1)
    };
    // A root changes no order, so squares will do; of equals `min_by` takes the first. A single point has no distance.
    let medians = squares.into_iter().enumerate().map(median).map(Option::unwrap_or_default);
    medians.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
}

fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// Images of 1 x 1 pixel.
    fn points(values: &[f32], labels: &[u32], classes: usize) -> Split {
        let images = Tensor::from_slice(values, (values.len(), 1, 1, 1), &Device::Cpu).unwrap();
        Split::new(images, Tensor::new(labels, &Device::Cpu).unwrap(), classes).unwrap()
    }

    /// An outlier moves a mean, and with it the image nearest to the mean; the median stays.
    #[test]
    fn it_has_the_smallest_median_distance() {
        let values = [0.0, 0.5, 0.1, 0.2, 0.9, 0.15, 1.0, 0.5];
        let labels = [0, 1, 0, 0, 0, 0, 0, 1];
        // Class 0: 0, 0.1, 0.2, 0.9, 0.15, 1. Medians of distances to the others, the third of five: 0.2, 0.1, 0.2, 0.75,
        // 0.15, 0.85.
        assert_eq!(prototypes(&points(&values, &labels, 2), 2, 0).unwrap(), [2, 1]);
    }

    #[test]
    fn one_image_is_its_own_prototype_and_none_is_refused() {
        let split = points(&[0.3, 0.7], &[1, 0], 3);
        assert_eq!(prototypes(&split, 2, 5).unwrap(), [1, 0]);
        let error = prototypes(&split, 3, 5).unwrap_err().to_string();
        assert!(error.starts_with("class number 2 has no training image"), "{error}");
    }

    /// Beyond the bound the seed decides who is compared, and nothing else does.
    #[test]
    fn a_large_class_is_sampled_by_seed() {
        let count = 2 * COMPARED;
        let values: Vec<f32> = (0..count).map(|i| i as f32 / count as f32).collect();
        let split = points(&values, &vec![0; count], 1);
        let found = |seed| prototypes(&split, 1, seed).unwrap()[0];
        assert_eq!(found(1), found(1));
        assert_ne!(found(1), found(2));
        // Of a uniform stretch every point of the middle half has the same median distance, a quarter, but for chance.
        assert!((2 * count / 10..8 * count / 10).contains(&(found(1) as usize)));
    }
}
