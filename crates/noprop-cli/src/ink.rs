//! Pictures that look like the opposite of those that a run learned: dark ink on light paper for light ink on a dark ground.

use std::path::{Path, PathBuf};

use crate::kept::Record;
use crate::output::note;
use crate::shell::shown_path;

/// Grounds up to this shade are dark, and from its opposite on light. A photograph is often neither.
const DARK: u8 = 85;

/// The pictures of one call whose ground is the opposite of the run's.
pub struct Opposites {
    /// The middle shade of the borders of the run's training images, if it is known and dark or light.
    learned: Option<Ground>,
    first: Option<PathBuf>,
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ground {
    Dark,
    Light,
}

impl Ground {
    fn of(shade: u8) -> Option<Self> {
        match shade {
            ..=DARK => Some(Self::Dark),
            shade if shade >= 255 - DARK => Some(Self::Light),
            _ => None,
        }
    }
}

impl Opposites {
    pub fn to(record: Option<&Record>) -> Self {
        let learned = record.and_then(|record| Ground::of(record.ground));
        Self { learned, first: None, count: 0 }
    }

    /// Looks at the ground of a picture as the network sees it.
    pub fn look(&mut self, path: &Path, ground: u8) {
        if let (Some(learned), Some(seen)) = (self.learned, Ground::of(ground))
            && learned != seen
        {
            self.first.get_or_insert_with(|| path.into());
            self.count += 1;
        }
    }

    /// Prints what was seen. `inverted` is whether light and dark were exchanged already.
    pub fn warn(&self, inverted: bool) {
        let (Some(first), Some(learned)) = (&self.first, self.learned) else { return };
        let others = match self.count {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let (seen, learned) = match learned {
            Ground::Dark => ("dark ink on a light ground", "light ink on a dark one"),
            Ground::Light => ("light ink on a dark ground", "dark ink on a light one"),
        };
        let advice = if inverted { "leave --invert out" } else { "try --invert" };
        note!(
            "warning: {}{others}: this looks like {seen}, and the run learned {learned}; {advice}",
            shown_path(first)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scan of a page is the opposite of MNIST; a photograph is neither, and is not remarked upon.
    #[test]
    fn only_opposites_are_counted() {
        let record = |ground| Record { folder: PathBuf::new(), ground };
        let count = |learned: Option<Record>, grounds: &[u8]| {
            let mut opposites = Opposites::to(learned.as_ref());
            grounds.iter().for_each(|&ground| opposites.look(Path::new("x"), ground));
            opposites.count
        };
        assert_eq!(count(Some(record(0)), &[0, 20, 128, 200, 255]), 2);
        assert_eq!(count(Some(record(250)), &[0, 20, 128, 200, 255]), 2);
        assert_eq!(count(Some(record(120)), &[0, 255]), 0);
        assert_eq!(count(None, &[0, 255]), 0);
    }
}
