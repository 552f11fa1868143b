//! One result: the samples of both sides, and the target.

use serde::{Deserialize, Serialize};

/// The unit of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Seconds,
    Bytes,
}

/// Upper bounds: `must` is required, `aim` is hoped for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Bounds of our median divided by the peer's.
    Ratio { must: f64, aim: f64 },
    /// Bounds of our median.
    Ours { must: f64, aim: f64 },
}

/// Says if the work reached its goal, such as an accuracy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// It did, or nothing but the time or the memory counts.
    #[default]
    Reached,
    /// It did not, so no time is good enough.
    Missed,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The name among all results, for example `step against torch`.
    pub key: String,
    /// The description in the report.
    pub what: String,
    pub unit: Unit,
    pub ours: Vec<f64>,
    /// The peer's name and samples.
    pub peer: Option<(String, Vec<f64>)>,
    pub target: Option<Target>,
    #[serde(default)]
    pub goal: Goal,
    /// A remark.
    pub note: Option<String>,
    /// The day, UTC.
    pub date: String,
    /// Processor, threads, system.
    pub machine: String,
}

impl Row {
    /// The ratio of the medians, ours over the peer's.
    pub fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        Some(median(&self.ours) / median(peer))
    }

    /// The value that is compared with the target, with must and aim.
    fn reached(&self) -> Option<(f64, f64, f64)> {
        match self.target? {
            Target::Ratio { must, aim } => Some((self.ratio()?, must, aim)),
            Target::Ours { must, aim } => Some((median(&self.ours), must, aim)),
        }
    }

    /// `aim met`, `met` or `missed`; empty without a target.
    pub fn verdict(&self) -> &'static str {
        match self.reached() {
            None => "",
            Some(_) if self.goal == Goal::Missed => "missed",
            Some((value, _, aim)) if value <= aim => "aim met",
            Some((value, must, _)) if value <= must => "met",
            Some(_) => "missed",
        }
    }

    /// Must and aim, in the units of the result.
    pub fn bounds(&self) -> Option<(String, String)> {
        Some(match self.target? {
            Target::Ratio { must, aim } => (format!("≤ {must:.2}"), format!("≤ {aim:.2}")),
            Target::Ours { must, aim } => {
                (format!("≤ {}", self.unit.show(must)), format!("≤ {}", self.unit.show(aim)))
            }
        })
    }

    /// The result as one line.
    pub fn line(&self) -> String {
        let mut line = self.key.clone();
        if let Some(ratio) = self.ratio() {
            line += &format!(" ratio {ratio:.3}");
        }
        line += &format!("  ours {}", self.unit.summary(&self.ours));
        if let Some((name, samples)) = &self.peer {
            line += &format!("  {name} {}", self.unit.summary(samples));
        }
        line += &format!("  n {}", self.ours.len());
        if let Some((must, aim)) = self.bounds() {
            line += &format!("  must {must}, aim {aim}: {}", self.verdict());
        }
        if let Some(note) = &self.note {
            line += &format!("  ({note})");
        }
        line
    }
}

impl Unit {
    /// A value in a convenient unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 1.0 => format!("{:.1} ms", 1e3 * value),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{:.0} MB", value / 1e6),
        }
    }

    /// Median and extremes.
    pub fn summary(self, samples: &[f64]) -> String {
        let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} ({} to {})", self.show(median(samples)), self.show(low), self.show(high))
    }
}

/// The middle sample, or the mean of the two in the middle; NaN of none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(upper), 1) => *upper,
        (Some(upper), _) => f64::midpoint(*upper, sorted[middle - 1]),
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], peer: &[f64], target: Target) -> Row {
        Row {
            key: "step".into(),
            what: "one step".into(),
            unit: Unit::Seconds,
            ours: ours.to_vec(),
            peer: Some(("torch".into(), peer.to_vec())),
            target: Some(target),
            goal: Goal::Reached,
            note: None,
            date: "2026-01-01".into(),
            machine: "here".into(),
        }
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    /// A missed target must not be reported as met.
    #[test]
    fn verdicts_are_those_of_the_medians() {
        let target = Target::Ratio { must: 0.6, aim: 0.35 };
        let verdict = |ours: f64| row(&[ours], &[10.0], target).verdict();
        assert_eq!([verdict(3.0), verdict(5.0), verdict(7.0)], ["aim met", "met", "missed"]);
        let line = row(&[0.027], &[0.0523], target).line();
        assert!(line.starts_with("step ratio 0.516  ours 27.0 ms"), "{line}");
        let ours = row(&[7.0], &[1.0], Target::Ours { must: 8.0, aim: 5.0 });
        assert_eq!(ours.verdict(), "met");
    }

    /// A training that is fast and learns too little must not be reported as met, nor without its bounds.
    #[test]
    fn a_missed_goal_is_a_missed_target() {
        let fast = row(&[1.0], &[1.0], Target::Ours { must: 8.0, aim: 5.0 });
        assert_eq!(fast.verdict(), "aim met");
        let missed = Row { goal: Goal::Missed, ..fast };
        assert_eq!(missed.verdict(), "missed");
        assert!(missed.bounds().is_some());
    }
}
