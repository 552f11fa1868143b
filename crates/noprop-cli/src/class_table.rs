//! The scores of classes as lines of text.

use noprop_experiment::shell::shown;
use noprop_train::{ClassScore, ClassScores};

/// The most classes that are listed one by one.
const LISTED: usize = 20;
/// The number of classes that are listed where there are more.
const WORST: usize = 10;
/// The most characters of a class name that are shown.
const NAME: usize = 24;

/// Returns a heading and a line for each class. Of many classes only those with the lowest F1 are listed, the lowest first, below a
/// line that names this choice.
pub fn class_table(names: &[String], scores: &ClassScores) -> String {
    let mut classes: Vec<(&String, &ClassScore)> = names.iter().zip(&scores.per_class).collect();
    let mut lines = Vec::new();
    if classes.len() > LISTED {
        lines.push(format!("the {WORST} classes of {} with the lowest F1:", classes.len()));
        // A class without F1 has no images and was never predicted, so it comes last.
        classes.sort_by(|(_, a), (_, b)| f1_or_last(a).total_cmp(&f1_or_last(b)));
        classes.truncate(WORST);
    }
    let cells: Vec<(String, &ClassScore)> =
        classes.into_iter().map(|(name, score)| (cut(&shown(name)), score)).collect();
    let width = cells.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(5);
    lines.push(format!("{:<width$}  recall %  precision %    F1 %  images", "class"));
    for (name, ClassScore { recall, precision, f1, support }) in cells {
        let [recall, precision, f1] = [recall, precision, f1].map(|share| percent(*share));
        lines.push(format!("{name:<width$}  {recall:>8}  {precision:>11}  {f1:>6}  {support:>6}"));
    }
    lines.join("\n")
}

fn f1_or_last(score: &ClassScore) -> f64 {
    score.f1.unwrap_or(f64::INFINITY)
}

/// Returns the share in per cent, without the sign; `–` for `None`.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |share| format!("{:.2}", 100.0 * share))
}

/// Returns the name, or its beginning and `…` if it is long.
fn cut(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of any length, with anything in it, must leave the columns where they are.
    #[test]
    fn columns_stand_below_their_heading() {
        let names =
            ["cat", "a\nb\u{1b}[2J", "a name that is much longer than the table has room for"];
        let names = names.map(str::to_owned);
        let scores = ClassScores::of(&[vec![1, 1, 0], vec![0, 2, 0], vec![0; 3]]);
        assert_eq!(
            class_table(&names, &scores),
            "class                     recall %  precision %    F1 %  images\n\
             cat                          50.00       100.00   66.67       2\n\
             a\\nb\\u{1b}[2J               100.00        66.67   80.00       2\n\
             a name that is much lon…         –            –       –       0"
        );
    }

    #[test]
    fn of_many_classes_the_worst_are_listed() {
        let names: Vec<String> = (0..30).map(|class| format!("class {class}")).collect();
        // Of 40 images of class n, n + 1 are right and the others taken for class 0; the last class has no images.
        let mut confusion = vec![vec![0; 30]; 30];
        for (class, row) in confusion.iter_mut().enumerate().take(29) {
            row[class] = class as u64 + 1;
            row[0] += 39 - class as u64;
        }
        let table = class_table(&names, &ClassScores::of(&confusion));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "the 10 classes of 30 with the lowest F1:");
        assert_eq!(lines.len(), 12);
        let first: Vec<&str> = lines[2..].iter().map(|line| &line[..8]).collect();
        let expected = ["class 1 ", "class 0 ", "class 2 "];
        assert_eq!(first[..3], expected, "{table}");
        assert!(!table.contains("class 29"), "{table}");
    }
}
