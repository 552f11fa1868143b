//! The values of flags, as they are typed.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use noprop_data::Half;
use noprop_experiment::reproduce::Target;
use noprop_experiment::{Normalize, Order, Precision};
use noprop_method::MethodKind;

/// The most threads of a process: each takes memory before it does anything.
const MAX_THREADS: usize = 512;
/// The longest span of time in hours: a year.
const MOST_HOURS: f64 = 8760.0;

/// Reads one of a few names, each with a line of help.
fn choice<T: Copy + Send + Sync + 'static>(
    choices: impl IntoIterator<Item = (T, &'static str, &'static str)>,
) -> impl TypedValueParser<Value = T> {
    let choices: Vec<_> = choices.into_iter().collect();
    let possible = choices.clone().into_iter().map(|(_, name, help)| match help {
        "" => PossibleValue::new(name),
        help => PossibleValue::new(name).help(help),
    });
    PossibleValuesParser::new(possible).try_map(move |given| {
        let known = choices.iter().find(|(_, name, _)| *name == given);
        known.map(|(value, ..)| *value).ok_or("this value is not known")
    })
}

/// Reads a method.
pub fn methods() -> impl TypedValueParser<Value = MethodKind> {
    choice(MethodKind::ALL.iter().map(|&method| (method, method.name, method.summary)))
}

/// Reads the order of blocks.
pub fn orders() -> impl TypedValueParser<Value = Order> {
    choice([
        (Order::Batch, "batch", "All blocks from every mini-batch"),
        (
            Order::Paper,
            "paper",
            "Algorithm 1: a pass over the images for each block in every epoch",
        ),
    ])
}

/// Reads a precision.
pub fn precisions() -> impl TypedValueParser<Value = Precision> {
    choice([
        (Precision::F32, "f32", "Factors as they are"),
        (
            Precision::Bf16,
            "bf16",
            "Factors rounded to bf16, on CUDA products too; other sums and parameters f32: faster on GPUs, and where the processor has AVX-512 BF16",
        ),
        (
            Precision::Tf32,
            "tf32",
            "On CUDA factors rounded to TF32, f32 with 11 bits; anywhere else as f32",
        ),
    ])
}

/// Reads a normalisation.
pub fn normalizations() -> impl TypedValueParser<Value = Normalize> {
    choice([
        (Normalize::None, "none", "Nothing: pixels are 0 to 1"),
        (
            Normalize::Channel,
            "channel",
            "Each channel gets mean 0 and deviation 1, as measured on the training images",
        ),
    ])
}

/// Reads a part of the paper.
pub fn targets() -> impl TypedValueParser<Value = Target> {
    let help = |target| match target {
        Target::Table1 => "Training and test accuracy of every method and embedding",
        Target::Table2 => "Peak memory of training",
        Target::Fig2 => "Class embeddings that start as images, before and after training",
        Target::Fig3 => "Accuracy against training time, where time is continuous",
        Target::Fig4 => "Ablation: the readouts, and one of ours",
        Target::Fig5 => "Ablation: where class embeddings of an image's size start",
    };
    choice(Target::ALL.map(|target| (target, target.name(), help(target))))
}

/// Reads the half of a data set.
pub fn half() -> impl TypedValueParser<Value = Half> {
    choice(Half::ALL.map(|half| (half, half.name(), "")))
}

/// Reads a whole number above 0.
pub fn count<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "a whole number is expected, above 0 and not too large")
}

/// Reads a number of threads.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MAX_THREADS);
    number.ok_or_else(|| format!("a number of threads is between 1 and {MAX_THREADS}"))
}

/// Reads a path from the command line, unchanged. A path that begins with `~/` is refused unless something is called `~` here: it was
/// quoted, and a shell replaces `~` by the home directory outside of quotes only.
pub fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        let is_unexpanded = path.starts_with("~") && !Path::new("~").exists();
        match is_unexpanded {
            true => Err(
                "the shell does not replace ~ inside quotes: type it outside of them, or use $HOME",
            ),
            false => Ok(path),
        }
    })
}

/// The most seeds of one command.
const MOST_SEEDS: u64 = 1000;

/// Seeds as a person names them: `0..4` without its end, `0..=4` with it, and single ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |part: &str| {
            format!(
                "`{part}` is no seed: give numbers and ranges such as 0..4 (0 to 3), 0..=4 (0 to 4) or 3,5,7"
            )
        };
        let number = |text: &str| {
            text.trim().parse::<u64>().ok().filter(|&seed| i64::try_from(seed).is_ok())
        };
        let mut seeds = BTreeSet::new();
        for part in text.split(',') {
            let (first, end) = match (part.split_once("..="), part.split_once("..")) {
                (Some((first, last)), _) => (number(first), number(last).map(|last| last + 1)),
                (None, Some((first, end))) => (number(first), number(end)),
                (None, None) => (number(part), number(part).map(|seed| seed + 1)),
            };
            let (Some(first), Some(end)) = (first, end) else { return Err(wrong(part)) };
            if first >= end {
                return Err(wrong(part));
            }
            if end - first > MOST_SEEDS || seeds.len() as u64 + (end - first) > MOST_SEEDS {
                return Err(format!("these are more than {MOST_SEEDS} seeds"));
            }
            seeds.extend(first..end);
        }
        Ok(Self(seeds.into_iter().collect()))
    }
}

/// A span of time above 0, such as `30m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "give a time above 0 such as 90s, 30m or 2h, a year at most".to_owned();
        let (number, unit) =
            text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refused)?;
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refused()),
        };
        let number: f64 = number.parse().map_err(|_| refused())?;
        let time = number * seconds;
        if !(time > 0.0 && time <= MOST_HOURS * 3600.0) {
            return Err(refused());
        }
        Duration::try_from_secs_f64(time).map(Self).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range without its end must not train a seed more than its writer meant, and a typing error not a million.
    #[test]
    fn seeds_are_read_as_rust_writes_ranges() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("0..4").unwrap(), [0, 1, 2, 3]);
        assert_eq!(seeds("0..=4").unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(seeds("7, 3,3..5").unwrap(), [3, 4, 7]);
        assert_eq!(seeds("9223372036854775807").unwrap(), [i64::MAX as u64]);
        let bad = [
            "",
            "a",
            "4..0",
            "4..4",
            "..4",
            "0..",
            "0..1001",
            "0..=9223372036854775808",
            "-1",
            "1,,2",
            "0..4..8",
        ];
        for text in bad {
            assert!(seeds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_above_nothing() {
        assert_eq!("30m".parse(), Ok(Time(Duration::from_secs(1800))));
        assert_eq!("1.5h".parse(), Ok(Time(Duration::from_secs(5400))));
        let bad = ["", "s", "0m", "-1h", "banana", "30", "1d", "NaNs", "infh", "1e300h", "µ", "3µ"];
        for text in bad {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
