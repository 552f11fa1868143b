//! What the paper reports: the numbers of `numbers.toml`, each with the source it was read in.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

const TEXT: &str = include_str!("numbers.toml");

/// All that was found in a source. A gap says nothing of the paper.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    sources: BTreeMap<String, String>,
    accuracy: Vec<Accuracy>,
    memory: Vec<Memory>,
    remark: Vec<Remark>,
}

/// An accuracy of Table 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    data: String,
    row: String,
    /// Of the test images.
    pub percent: f64,
    /// As the source gives it, after ±.
    pub error: Option<f64>,
    pub source: String,
}

/// A peak of Table 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    data: String,
    row: String,
    /// Of a GPU.
    pub gigabytes: f64,
    pub source: String,
}

/// What belongs to no row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// Without it the remark is of all data sets.
    data: Option<String>,
    table: String,
    pub words: String,
    pub source: String,
}

impl Numbers {
    pub fn read() -> Result<Self> {
        toml::from_str(TEXT).context("the paper's numbers cannot be read")
    }

    pub fn accuracy(&self, data: &str, row: &str) -> Option<&Accuracy> {
        self.accuracy.iter().find(|number| number.data == data && number.row == row)
    }

    pub fn memory(&self, data: &str, row: &str) -> Option<&Memory> {
        self.memory.iter().find(|number| number.data == data && number.row == row)
    }

    /// The remarks on a data set in a table, and with `None` those on all data sets.
    pub fn remarks<'a>(
        &'a self,
        table: &'a str,
        data: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Remark> {
        let fits = move |remark: &&Remark| remark.table == table && remark.data.as_deref() == data;
        self.remark.iter().filter(fits)
    }

    /// What a source is, in words.
    pub fn source(&self, name: &str) -> &str {
        self.sources.get(name).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::reproduce::plan::Target;

    /// A number without a source, or of a row that nobody trains, is none; a source that nothing was read in misleads.
    #[test]
    fn every_number_has_a_source_and_a_row() {
        let numbers = Numbers::read().unwrap();
        let of_accuracy = numbers.accuracy.iter().map(|n| (&n.data, &n.row, &n.source));
        let of_memory = numbers.memory.iter().map(|n| (&n.data, &n.row, &n.source));
        let mut seen = Vec::new();
        for (data, row, source) in of_accuracy.chain(of_memory) {
            assert!(!numbers.source(source).is_empty(), "{data} {row}: no source {source}");
            assert!(matches!(data.as_str(), "mnist" | "cifar10" | "cifar100"), "{data}");
            let known = Target::value_variants().iter().flat_map(|target| target.recipes());
            assert!(known.into_iter().any(|recipe| recipe.name == row), "no row {row}");
            seen.push(source);
        }
        for remark in &numbers.remark {
            assert!(!numbers.source(&remark.source).is_empty(), "{}", remark.words);
            let tables: Vec<_> = Target::value_variants().iter().map(|t| t.name()).collect();
            assert!(tables.contains(&remark.table.as_str()), "{}", remark.table);
            seen.push(&remark.source);
        }
        for number in &numbers.accuracy {
            assert!((0.0..=100.0).contains(&number.percent));
        }
        for source in numbers.sources.keys() {
            assert!(seen.contains(&source), "nothing was read in {source}");
        }
    }

    #[test]
    fn no_number_is_there_twice() {
        let numbers = Numbers::read().unwrap();
        for number in &numbers.accuracy {
            let found = numbers.accuracy(&number.data, &number.row).unwrap();
            assert!(std::ptr::eq(found, number), "{} {}", number.data, number.row);
        }
        for number in &numbers.memory {
            let found = numbers.memory(&number.data, &number.row).unwrap();
            assert!(std::ptr::eq(found, number), "{} {}", number.data, number.row);
        }
    }
}
