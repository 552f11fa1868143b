//! Pictures that look like the opposite of those that a run learned: dark ink on light paper for light ink on a dark ground.

use std::fmt;
use std::path::{Path, PathBuf};

use noprop_data::picture::Polarity;

/// Grounds up to this shade are dark, and from its opposite on light. A photograph is often neither.
const DARK: u8 = 85;

/// The ground of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// Light ink stands on it.
    Dark,
    /// Dark ink stands on it.
    Light,
}

/// The pictures of one call whose ground is the opposite of the run's.
#[derive(Debug)]
pub(crate) struct Opposites {
    /// The ground of the run's training images, if it is known and dark or light.
    learned: Option<Ground>,
    first: Option<PathBuf>,
    count: usize,
}

/// Pictures that look like the opposite of those that a run learned.
#[derive(Debug, Clone)]
pub struct Opposite {
    /// The first of them.
    pub first: PathBuf,
    /// The number of the others.
    pub others: usize,
    /// The ground of the pictures that the run learned.
    pub learned: Ground,
    /// The way in which they were read.
    pub polarity: Polarity,
}

impl Ground {
    pub(crate) fn of(shade: u8) -> Option<Self> {
        match shade {
            ..=DARK => Some(Self::Dark),
            shade if shade >= 255 - DARK => Some(Self::Light),
            _ => None,
        }
    }

    /// The opposite and this one, in words.
    pub(crate) fn opposite_and_own(self) -> (&'static str, &'static str) {
        match self {
            Self::Dark => ("dark ink on a light ground", "light ink on a dark one"),
            Self::Light => ("light ink on a dark ground", "dark ink on a light one"),
        }
    }
}

impl Opposites {
    /// Begins to count. `shade` is the middle shade of the borders of the run's training images, if it is known.
    pub(crate) fn to(shade: Option<u8>) -> Self {
        Self { learned: shade.and_then(Ground::of), first: None, count: 0 }
    }

    /// Looks at the ground of a picture as the network sees it.
    pub(crate) fn look(&mut self, path: &Path, ground: u8) {
        if let (Some(learned), Some(seen)) = (self.learned, Ground::of(ground))
            && learned != seen
        {
            self.first.get_or_insert_with(|| path.into());
            self.count += 1;
        }
    }

    /// The pictures of the other ground, if there were any.
    pub(crate) fn found(self, polarity: Polarity) -> Option<Opposite> {
        let (first, learned) = (self.first?, self.learned?);
        Some(Opposite { first, others: self.count.saturating_sub(1), learned, polarity })
    }
}

impl fmt::Display for Opposite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = match self.others {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let (seen, learned) = self.learned.opposite_and_own();
        let first = self.first.display();
        write!(f, "{first}{others}: this looks like {seen}, and the run learned {learned}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scan of a page is the opposite of MNIST; a photograph is neither, and is not remarked upon.
    #[test]
    fn only_opposites_are_counted() {
        let count = |learned: Option<u8>, grounds: &[u8]| {
            let mut opposites = Opposites::to(learned);
            grounds.iter().for_each(|&ground| opposites.look(Path::new("x"), ground));
            opposites.count
        };
        assert_eq!(count(Some(0), &[0, 20, 128, 200, 255]), 2);
        assert_eq!(count(Some(250), &[0, 20, 128, 200, 255]), 2);
        assert_eq!(count(Some(120), &[0, 255]), 0);
        assert_eq!(count(None, &[0, 255]), 0);
    }
}
