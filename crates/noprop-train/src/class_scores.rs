//! Recall, precision and F1 of every class, counted from a confusion matrix.

use serde::Serialize;

/// The scores of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScore {
    /// The share of the class's images that are classified correctly, 0..=1; `None` without images.
    pub recall: Option<f64>,
    /// The share of the images taken for the class that belong to it, 0..=1; `None` if no image is taken for it.
    pub precision: Option<f64>,
    /// The harmonic mean of recall and precision, as 2 · correct / (images + images taken for the class); `None` if both counts
    /// are 0.
    pub f1: Option<f64>,
    /// The images of the class.
    pub support: u64,
}

/// The scores of all classes, and their means.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScores {
    /// The scores of each class, in the order of the classes.
    pub per_class: Vec<ClassScore>,
    /// The mean recall over the classes that have images, 0..=1.
    pub balanced_accuracy: Option<f64>,
    /// The mean F1 over the classes that have an F1, 0..=1.
    pub macro_f1: Option<f64>,
    /// The number of classes that have no images.
    pub without_images: usize,
}

impl ClassScores {
    /// Computes the scores from `confusion`, the images by true class (row) and predicted class (column).
    pub fn of(confusion: &[Vec<u64>]) -> Self {
        let taken_for =
            |class: usize| -> u64 { confusion.iter().filter_map(|row| row.get(class)).sum() };
        let score = |(class, row): (usize, &Vec<u64>)| {
            let correct = row.get(class).copied().unwrap_or_default();
            let (support, taken) = (row.iter().sum(), taken_for(class));
            ClassScore {
                recall: share(correct, support),
                precision: share(correct, taken),
                f1: share(2 * correct, support + taken),
                support,
            }
        };
        let per_class: Vec<ClassScore> = confusion.iter().enumerate().map(score).collect();
        Self {
            balanced_accuracy: mean(per_class.iter().filter_map(|score| score.recall)),
            macro_f1: mean(per_class.iter().filter_map(|score| score.f1)),
            without_images: per_class.iter().filter(|score| score.support == 0).count(),
            per_class,
        }
    }
}

/// Returns `part` / `whole`, or `None` if `whole` is 0.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Returns the mean, or `None` if there are no values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows and columns must not be swapped, and a class with more images must not weigh more in the means.
    #[test]
    fn scores_are_those_computed_by_hand() {
        // Correct are 3 of the 4 images of class 0, 1 of the 2 of class 1 and all 10 of class 2.
        let scores = ClassScores::of(&[vec![3, 1, 0], vec![0, 1, 1], vec![0, 0, 10]]);
        let score = |recall, precision, f1, support| ClassScore {
            recall: Some(recall),
            precision: Some(precision),
            f1: Some(f1),
            support,
        };
        assert_eq!(
            scores.per_class,
            [
                score(0.75, 1.0, 6.0 / 7.0, 4),
                score(0.5, 0.5, 0.5, 2),
                score(1.0, 10.0 / 11.0, 20.0 / 21.0, 10)
            ]
        );
        assert_eq!(scores.balanced_accuracy, Some(0.75));
        let macro_f1 = (6.0 / 7.0 + 0.5 + 20.0 / 21.0) / 3.0;
        assert!((scores.macro_f1.unwrap() - macro_f1).abs() < 1e-15);
        assert_eq!(scores.without_images, 0);
    }

    /// 0 / 0 would make a mean NaN. A 0 in its place would count a class without images as an error of the network.
    #[test]
    fn classes_that_are_absent_have_no_score() {
        // Class 1 is never predicted; class 2 has no images and is predicted once, wrongly; class 3 has neither images nor
        // predictions.
        let confusion = [vec![1, 0, 1, 0], vec![2, 0, 0, 0], vec![0; 4], vec![0; 4]];
        let scores = ClassScores::of(&confusion);
        let score = |recall, precision, f1, support| ClassScore { recall, precision, f1, support };
        assert_eq!(
            scores.per_class,
            [
                score(Some(0.5), Some(1.0 / 3.0), Some(0.4), 2),
                score(Some(0.0), None, Some(0.0), 2),
                score(None, Some(0.0), Some(0.0), 0),
                score(None, None, None, 0),
            ]
        );
        assert_eq!(scores.balanced_accuracy, Some(0.25));
        assert_eq!(scores.macro_f1, Some(0.4 / 3.0));
        assert_eq!(scores.without_images, 2);

        let nothing = ClassScores::of(&[]);
        assert_eq!((nothing.balanced_accuracy, nothing.macro_f1), (None, None));
    }
}
