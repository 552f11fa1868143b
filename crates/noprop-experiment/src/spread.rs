//! Mean and spread of several measurements of one thing.

use serde::Serialize;

/// Mean and spread of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    /// The standard deviation (n − 1 in its denominator); a single measurement has none.
    pub deviation: Option<f64>,
    pub n: usize,
}

impl Spread {
    /// The spread of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { mean, deviation, n })
    }

    /// `mean ± deviation` in units of `unit`.
    pub fn text(&self, unit: f64, decimals: usize) -> String {
        let spread = self.deviation.map(|deviation| format!(" ± {:.decimals$}", deviation / unit));
        format!("{:.decimals$}{}", self.mean / unit, spread.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_samples() {
        assert_eq!(Spread::of(&[]), None);
        let one = Spread::of(&[0.5]).unwrap();
        assert_eq!((one.deviation, one.text(0.01, 2).as_str()), (None, "50.00"));
        let three = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((three.mean, three.deviation, three.n), (2.0, Some(1.0), 3));
        assert_eq!(three.text(1.0, 1), "2.0 ± 1.0");
    }
}
