//! A span of time on the command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest in hours: a year.
const MOST_HOURS: f64 = 8760.0;

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

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration(self.0.as_secs_f64()))
    }
}

/// Seconds, as a person would say it.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 600.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
