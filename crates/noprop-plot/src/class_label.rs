//! Labels for the names of classes and runs, which come from users: they can be drawn and told apart.

use std::collections::HashSet;

use crate::font::Face;

/// The number of the first class.
pub(crate) const CLASSES: usize = 0;
/// The number of the first series.
pub(crate) const SERIES: usize = 1;

/// A label for each name, at most `room` pixels wide.
///
/// Names that are all different and can be drawn whole are their own labels. Otherwise each name gets its number, counted from
/// `first`, followed by as much of the name as can be drawn. All names get one, because otherwise a class called "7" could be
/// mistaken for the class of that number.
pub(crate) fn labels<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    first: usize,
    face: Face,
    room: f64,
) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut is_label =
        |name: &'a str| !name.is_empty() && seen.insert(name) && face.fit(name, room) == name;
    if names.clone().all(&mut is_label) {
        return names.map(str::to_owned).collect();
    }
    (first..).zip(names).map(|(number, name)| numbered(number, name, face, room)).collect()
}

fn numbered(number: usize, name: &str, face: Face, room: f64) -> String {
    let number = number.to_string();
    let name = face.fit(name, room - face.width(&format!("{number} ")));
    if name.chars().all(|character| matches!(character, ' ' | '…')) {
        number
    } else {
        format!("{number} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::font::LABEL;

    fn labelled(names: &[&str]) -> Vec<String> {
        labels(names.iter().copied(), CLASSES, LABEL, 100.0)
    }

    #[test]
    fn names_that_fit_are_their_own_labels() {
        assert_eq!(labelled(&["cat", "Größe", "7"]), ["cat", "Größe", "7"]);
    }

    /// If one name does not fit, a number on it alone could be mistaken for the name of another class.
    #[test]
    fn otherwise_all_have_their_number() {
        assert_eq!(labelled(&["1", "猫"]), ["0 1", "1"]);
        assert_eq!(labelled(&["猫 cat", "dog\u{1b}[0m", ""]), ["0 … cat", "1 dog…[0m", "2"]);
        assert_eq!(labelled(&["same", "same"]), ["0 same", "1 same"]);
        assert_eq!(labelled(&["same", "same "]), ["0 same", "1 same"]);
    }

    #[test]
    fn names_that_are_cut_to_the_same_text_stay_apart() {
        let long: Vec<String> = (0..1000).map(|i| format!("{}{i}", "long".repeat(50))).collect();
        let names: Vec<&str> = long.iter().map(String::as_str).collect();
        let labels = labelled(&names);
        assert!(labels.iter().all(|label| LABEL.width(label) <= 100.0));
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(labels[17].starts_with("17 longlo") && labels[17].ends_with('…'), "{}", labels[17]);
    }
}
