//! The numbers that the paper reports: those of `numbers.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::error::{Context, Error, Result};
use crate::paper::PaperData;

const TEXT: &str = include_str!("numbers.toml");

/// The tables and figures of the paper.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// The source of all of them.
    pub source: String,
    table1: Table<Accuracies>,
    quoted: Table<Accuracies>,
    table2: Table<f64>,
    fig3: Table<f64>,
    fig4: Table<f64>,
    fig5: Table<f64>,
}

/// Numbers by the name of their row.
type Table<T> = BTreeMap<String, ByData<T>>;

/// The numbers of a row, where the paper has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByData<T> {
    mnist: Option<T>,
    cifar10: Option<T>,
    cifar100: Option<T>,
}

impl<T> ByData<T> {
    fn get(&self, data: PaperData) -> Option<&T> {
        match data {
            PaperData::Mnist => self.mnist.as_ref(),
            PaperData::Cifar10 => self.cifar10.as_ref(),
            PaperData::Cifar100 => self.cifar100.as_ref(),
        }
    }
}

/// Accuracies as they are printed, training / test: `100.0±0.0 / 99.46±0.06`, or `– / 98.63`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Accuracies {
    pub training: Option<Accuracy>,
    pub test: Option<Accuracy>,
}

/// An accuracy, 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    pub mean: f64,
    /// The number after ±. Its meaning is not known.
    pub spread: Option<f64>,
}

/// The paper's numbers for a row on a data set, as far as it is of interest to a table or a figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Reported {
    /// On training images.
    pub training: Option<Accuracy>,
    /// On test images.
    pub test: Option<Accuracy>,
    /// Memory of a GPU.
    pub gigabytes: Option<f64>,
    /// Training time.
    pub seconds: Option<f64>,
}

impl Numbers {
    pub fn read() -> Result<Self> {
        toml::from_str(TEXT).context("the paper's numbers cannot be read")
    }

    pub fn reported(&self, target: Target, data: PaperData, row: &str) -> Reported {
        let number = |table: &Table<f64>| table.get(row)?.get(data).copied();
        let accuracies = self.table1.get(row).and_then(|row| row.get(data));
        let test = accuracies.and_then(|accuracies| accuracies.test);
        let by_eye = |table| number(table).map(|percent| Accuracy::of(percent, None));
        let none = Reported::default();
        match target {
            Target::Table1 => {
                let training = accuracies.and_then(|accuracies| accuracies.training);
                Reported { training, test, ..none }
            }
            Target::Table2 => Reported { gigabytes: number(&self.table2), ..none },
            Target::Fig2 => none,
            Target::Fig3 => Reported { test, seconds: number(&self.fig3), ..none },
            Target::Fig4 => Reported { test: by_eye(&self.fig4), ..none },
            Target::Fig5 => Reported { test: by_eye(&self.fig5), ..none },
        }
    }

    /// The accuracies of other methods that Table 1 quotes, by their names.
    pub fn quoted(&self, data: PaperData) -> impl Iterator<Item = (&str, Accuracies)> {
        self.quoted.iter().filter_map(move |(name, row)| Some((name.as_str(), *row.get(data)?)))
    }
}

impl Accuracy {
    fn of(percent: f64, spread: Option<f64>) -> Self {
        Self { mean: percent / 100.0, spread: spread.map(|spread| spread / 100.0) }
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", 100.0 * self.mean)?;
        self.spread.map_or(Ok(()), |spread| write!(f, " ± {:.2}", 100.0 * spread))
    }
}

impl FromStr for Accuracy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| {
            text.parse::<f64>().ok().with_context(|| format!("`{text}` is not a number"))
        };
        match text.split_once('±') {
            Some((percent, spread)) => Ok(Self::of(number(percent)?, Some(number(spread)?))),
            None => Ok(Self::of(number(text)?, None)),
        }
    }
}

impl TryFrom<String> for Accuracies {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let (training, test) =
            text.split_once(" / ").with_context(|| format!("`{text}` has no ` / `"))?;
        let half = |text: &str| (text != "–").then(|| text.parse()).transpose();
        Ok(Self { training: half(training)?, test: half(test)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::Row;
    use crate::reproduce::target::Recipe;

    /// Table 1 has 13 rows, three data sets and two halves, each with its ±, and every row of it is trained.
    #[test]
    fn table_1_is_whole() {
        let numbers = Numbers::read().unwrap();
        let mut seen = 0;
        for row in Row::ALL {
            for data in PaperData::ALL {
                let of_row = numbers.reported(Target::Table1, data, &row.name());
                for accuracy in [of_row.training, of_row.test] {
                    let accuracy = accuracy.unwrap();
                    assert!((0.0..=1.0).contains(&accuracy.mean), "{} {data:?}", row.name());
                    assert!(accuracy.spread.is_some_and(|spread| (0.0..0.2).contains(&spread)));
                    seen += 1;
                }
            }
        }
        assert_eq!((seen, numbers.table1.len()), (78, Row::ALL.len()));
    }

    /// A number whose row is not trained would never be seen. A row of the paper without its number would pass for one of ours.
    #[test]
    fn every_number_belongs_to_a_row_of_its_table() {
        let numbers = Numbers::read().unwrap();
        for (target, table) in [
            (Target::Table2, &numbers.table2),
            (Target::Fig3, &numbers.fig3),
            (Target::Fig4, &numbers.fig4),
            (Target::Fig5, &numbers.fig5),
        ] {
            let of_paper = |recipe: &Recipe| !recipe.change.is_ours();
            let rows: Vec<String> =
                target.recipes().into_iter().filter(of_paper).map(|recipe| recipe.name()).collect();
            assert_eq!(table.len(), rows.len(), "{target:?}");
            for row in rows {
                assert!(table.get(&row).is_some_and(|row| row.get(PaperData::Mnist).is_some()));
            }
        }
        let memories = numbers.table2.values().map(|row| PaperData::ALL.map(|data| row.get(data)));
        assert_eq!(memories.flatten().flatten().count(), 15);
    }

    /// The figures repeat Table 1 wherever they show what it has, so a slip of the eye or the pen would be seen here.
    #[test]
    fn figures_agree_with_table_1() {
        let numbers = Numbers::read().unwrap();
        let test = |target, data, row: &str| numbers.reported(target, data, row).test.unwrap().mean;
        for data in PaperData::ALL {
            for row in ["dt-onehot", "dt-learned20", "dt-prototype"] {
                let of_table = test(Target::Table1, data, row);
                assert!((test(Target::Fig4, data, row) - of_table).abs() < 1e-9, "{row}");
            }
            let of_fig4 = test(Target::Fig4, data, "dt-prototype");
            assert!((test(Target::Fig5, data, "dt-prototype") - of_fig4).abs() < 1e-9);
        }
    }

    #[test]
    fn accuracies_are_read_as_printed() {
        let read = |text: &str| Accuracies::try_from(text.to_owned());
        let both = read("100.0±0.0 / 79.3±0.52").unwrap();
        assert_eq!(both.training.unwrap().to_string(), "100.00 ± 0.00");
        assert_eq!(both.test.unwrap().to_string(), "79.30 ± 0.52");
        let one = read("– / 98.63").unwrap();
        assert_eq!((one.training, one.test.unwrap().to_string().as_str()), (None, "98.63"));
        for wrong in ["", "98.63", "– / ", "98,63 / 1", "1±x / 2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
