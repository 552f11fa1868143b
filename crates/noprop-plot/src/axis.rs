//! Axes: the places of values, and the ticks.

/// A map from values to places between two ends.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub label: String,
    scale: Scale,
    /// The ends, on the scale.
    low: f64,
    high: f64,
    /// Places on the scale, and the text at each.
    ticks: Vec<(f64, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Scale {
    Even,
    /// Logarithmic. Zero, which has no logarithm, has a place of its own below all other values.
    Log {
        zero: f64,
    },
}

/// The kind of numbers on an axis.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Plain,
    /// Shares from 0 to 1.
    Percent,
}

/// The smallest span of an axis of shares. Otherwise differences of a few images would fill it.
const LEAST_SPAN: f64 = 0.01;
/// The number of ticks that an axis should not exceed by much.
const TICKS: f64 = 8.0;
/// The least share of an axis between two ticks whose names stand side by side.
const LEAST_GAP: f64 = 0.04;

impl Axis {
    /// Whole numbers. A single one is in the middle.
    pub fn whole(label: &str, first: usize, last: usize) -> Self {
        let (first, last) = (first as f64, last.max(first) as f64);
        let margin = if last > first { 0.0 } else { 0.5 };
        // A step of less than one would name something that does not exist, such as an epoch and a half.
        let most = if last < 1000.0 { 10.0 } else { 6.0 };
        let step = tidy_step((last - first) / most).max(1.0);
        Self::even(label, (first - margin, last + margin), step, Unit::Plain)
    }

    /// From 0 to the largest of `values`.
    pub fn from_zero(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let last = extent(values).map(|(_, last)| last).filter(|last| *last > 0.0).unwrap_or(1.0);
        Self::even(label, (0.0, last * 1.02), tidy_step(last / TICKS), Unit::Plain)
    }

    /// From 0 to 1.
    pub fn whole_share(label: &str) -> Self {
        Self::even(label, (0.0, 1.05), 0.2, Unit::Plain)
    }

    /// Shares around `values`; `None` if none of them is finite.
    pub fn shares(label: &str, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = extent(values.filter(|share| (0.0..=1.0).contains(share)))?;
        let span = (1.2 * (high - low)).max(LEAST_SPAN);
        // Of at least that width around the middle, and moved into 0..=1.
        let low = ((low + high - span) / 2.0).clamp(0.0, (1.0 - span).max(0.0));
        let high = (low + span).min(1.0);
        // Room for half a mark at an end.
        let margin = 0.02 * (high - low);
        Some(Self::even(
            label,
            (low - margin, high + margin),
            tidy_step((high - low) / TICKS),
            Unit::Percent,
        ))
    }

    /// Decades around the `values` that are not negative; `None` if there are none.
    pub fn log(label: &str, values: impl Iterator<Item = f64> + Clone, unit: Unit) -> Option<Self> {
        let has_zero = values.clone().any(|value| value == 0.0);
        let Some((least, most)) = extent(values.filter(|value| *value > 0.0)) else {
            let ticks = vec![(0.0, unit.name(0.0, 0))];
            let scale = Scale::Log { zero: 0.0 };
            let axis = Self { label: label.into(), scale, low: -1.0, high: 1.0, ticks };
            return has_zero.then_some(axis);
        };
        let (low, high) = (least.log10(), most.log10());
        let margin = (0.05 * (high - low)).max(0.05);
        let mut low = low - margin;
        let top = match unit {
            // No share is above 1.
            Unit::Percent if most <= 1.0 => (high + margin).min(0.0),
            Unit::Percent | Unit::Plain => high + margin,
        };
        let mut ticks: Vec<_> = log_ticks(low, top, unit);
        // Room for half a mark at the end.
        let high = top.max(high + 0.01);
        let zero = low - (0.1 * (high - low)).max(0.1);
        if has_zero {
            ticks.insert(0, (zero, unit.name(0.0, 0)));
            low = zero - 0.3 * (low - zero);
        }
        Some(Self { label: label.into(), scale: Scale::Log { zero }, low, high, ticks })
    }

    /// The same for whole numbers, with a tick at each value instead of at round numbers, as long as there are few and each has room.
    pub fn log_whole(label: &str, values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let mut axis = Self::log(label, values.clone(), Unit::Plain)?;
        let mut marks: Vec<f64> = values.filter(|it| it.is_finite() && *it >= 0.0).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        let is_whole = marks.iter().all(|it| it.fract() == 0.0);
        let tick = |it: &f64| Some((axis.on_scale(*it)?, Unit::Plain.name(*it, 0)));
        let ticks: Vec<_> = marks.iter().filter_map(tick).collect();
        let gap = |pair: &[(f64, String)]| axis.part(pair[1].0) - axis.part(pair[0].0);
        let has_room = ticks.windows(2).all(|pair| gap(pair) > LEAST_GAP);
        if is_whole && has_room && ticks.len() as f64 <= TICKS {
            axis.ticks = ticks;
        }
        Some(axis)
    }

    fn even(label: &str, (low, high): (f64, f64), step: f64, unit: Unit) -> Self {
        let ticks = multiples(step, low, high)
            .map(|(value, decimals)| (value, unit.name(value, decimals)))
            .collect();
        Self { label: label.into(), scale: Scale::Even, low, high, ticks }
    }

    /// The place of a value, from 0 at the beginning of the axis to 1 at its end; `None` for a number that is not finite or is
    /// beyond the ends, and for a negative one on a logarithmic axis.
    pub fn place(&self, value: f64) -> Option<f64> {
        let part = self.part(self.on_scale(value)?);
        (0.0..=1.0).contains(&part).then_some(part)
    }

    fn on_scale(&self, value: f64) -> Option<f64> {
        match self.scale {
            Scale::Even => Some(value),
            Scale::Log { zero } if value == 0.0 => Some(zero),
            Scale::Log { .. } if value > 0.0 => Some(value.log10()),
            Scale::Log { .. } => None,
        }
    }

    /// A line across the figure at `value`, for an x axis with even steps.
    pub fn level(&self, value: f64) -> Vec<(f64, f64)> {
        vec![(self.low, value), (self.high, value)]
    }

    /// The places of the ticks, and the text at each.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().map(|(place, name)| (self.part(*place), name.as_str()))
    }

    fn part(&self, on_scale: f64) -> f64 {
        (on_scale - self.low) / (self.high - self.low)
    }
}

impl Unit {
    fn name(self, value: f64, decimals: usize) -> String {
        match self {
            Self::Plain => number(value, decimals),
            // Two decimals fewer.
            Self::Percent => format!("{} %", number(100.0 * value, decimals.saturating_sub(2))),
        }
    }
}

/// Few digits, however large or small the value is.
fn number(value: f64, decimals: usize) -> String {
    if decimals <= 5 && value.abs() < 1e6 {
        return format!("{value:.decimals$}");
    }
    let text = format!("{value:.2e}");
    text.replace("0e", "e").replace(".0e", "e")
}

/// The multiples of `step` between two ends, with the number of decimals that they need.
fn multiples(step: f64, low: f64, high: f64) -> impl Iterator<Item = (f64, usize)> {
    // A small tolerance, because in floating point 0.3 is not three times 0.1.
    let (first, last) = ((low / step - 1e-6).ceil(), (high / step + 1e-6).floor());
    let decimals = decimals(step);
    let count = (last - first).clamp(-1.0, 100.0) as i64 + 1;
    (0..count).map(move |index| ((first + index as f64) * step, decimals))
}

fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).clamp(0.0, 400.0) as usize
}

/// Ticks of a log scale between two powers of ten: decades, or parts of them if there are few.
fn log_ticks(low: f64, high: f64, unit: Unit) -> Vec<(f64, String)> {
    let tick = |(value, decimals)| (f64::log10(value), unit.name(value, decimals));
    let every = ((high - low) / TICKS).ceil().max(1.0);
    let decades = || multiples(every, low, high).map(|(power, _)| power);
    let of_decade = |power: f64| {
        let parts = [1.0, 2.0, 5.0].map(|part| part * 10f64.powf(power));
        parts.map(|value| (value, decimals(10f64.powf(power))))
    };
    let inside = |&(value, _): &(f64, usize)| (low..=high).contains(&value.log10());
    if decades().count() >= 3 {
        return decades()
            .map(|power| tick((10f64.powf(power), decimals(10f64.powf(power)))))
            .collect();
    }
    let around = multiples(1.0, low.floor(), high).map(|(power, _)| power);
    let parts: Vec<_> = around.flat_map(of_decade).filter(inside).collect();
    if parts.len() >= 3 {
        return parts.into_iter().map(tick).collect();
    }
    let (least, most) = (10f64.powf(low), 10f64.powf(high));
    multiples(tidy_step((most - least) / TICKS), least, most).map(tick).collect()
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn tidy_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    // Because of rounding even the last may be slightly too small.
    let step = steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9));
    step.unwrap_or(10.0 * power)
}

/// The smallest and the largest finite value.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |seen, value| match seen {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks().map(|(_, name)| name).collect()
    }

    /// Every tick has a text of its own, in order, within the axis, and there are neither too few nor too many.
    fn check(axis: &Axis) {
        let names = names(axis);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
        assert!((1..=14).contains(&names.len()), "{axis:?}");
        let places: Vec<f64> = axis.ticks().map(|(place, _)| place).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 0.02), "{axis:?}");
    }

    #[test]
    fn whole_numbers_have_whole_ticks() {
        assert_eq!(names(&Axis::whole("epoch", 1, 1)), ["1"]);
        assert_eq!(Axis::whole("epoch", 1, 1).place(1.0), Some(0.5));
        assert_eq!(names(&Axis::whole("epoch", 1, 2)), ["1", "2"]);
        assert_eq!(names(&Axis::whole("level", 0, 1)), ["0", "1"]);
        assert_eq!(names(&Axis::whole("epoch", 1, 5)), ["1", "2", "3", "4", "5"]);
        for last in [1, 2, 3, 9, 10, 11, 12, 40, 99, 100, 1000, 123_456] {
            check(&Axis::whole("block", 1, last));
        }
    }

    /// Widths double: ticks at 5, 10 and 20 would name none of them.
    #[test]
    fn few_whole_numbers_on_a_log_axis_have_their_own_ticks() {
        let axis = Axis::log_whole("", [32.0, 4.0, 8.0, 16.0, 8.0].into_iter()).unwrap();
        assert_eq!(names(&axis), ["4", "8", "16", "32"]);
        check(&axis);
        let of = |values: &[f64]| Axis::log_whole("", values.iter().copied()).unwrap();
        assert_eq!(names(&of(&[64.0, 65.0])), ["64", "65"]);
        assert_eq!(names(&of(&[0.0, 4.0, 64.0])), ["0", "4", "64"]);
        // Too many, not whole, and without room.
        let many: Vec<f64> = (1..100).map(f64::from).collect();
        for others in [&many[..], &[2.5, 5.0, 7.5], &[10.0, 12.0, 1e5]] {
            check(&of(others));
            assert_ne!(names(&of(others)).len(), others.len(), "{others:?}");
        }
        assert!(Axis::log_whole("", [f64::NAN].into_iter()).is_none());
    }

    #[test]
    fn shares_span_a_percent_and_stay_shares() {
        for values in [
            vec![1.0],
            vec![0.0],
            vec![0.5],
            vec![0.98, 0.98001],
            vec![0.0, 1.0],
            vec![0.1, 0.9936],
            vec![0.999, 1.0, f64::NAN],
        ] {
            let axis = Axis::shares("", values.iter().copied()).unwrap();
            check(&axis);
            assert!(axis.high - axis.low >= LEAST_SPAN - 1e-9, "{axis:?}");
            for value in values.iter().filter(|value| value.is_finite()) {
                let place = axis.place(*value).unwrap();
                assert!(place > 0.01 && place < 0.99, "{value}: {axis:?}");
            }
            assert!(axis.place(1.5).is_none() && axis.place(-0.5).is_none());
            assert!(names(&axis).iter().all(|name| !name.starts_with('-') && *name != "101 %"));
        }
        assert!(Axis::shares("", [f64::NAN, f64::INFINITY].into_iter()).is_none());
    }

    #[test]
    fn time_begins_at_zero_however_long_it_takes() {
        for last in [0.0, 1e-9, 0.02, 0.7, 1.0, 3.0, 59.0, 86_400.0, 1e9, 1e300] {
            let axis = Axis::from_zero("seconds", [last, f64::INFINITY].into_iter());
            check(&axis);
            assert_eq!(axis.place(0.0), Some(0.0));
            assert!(last == 0.0 || axis.place(last).unwrap() > 0.9, "{last}: {axis:?}");
        }
    }

    /// Zero has no logarithm, but it is the best of all errors: it is at the bottom and does not move the others.
    #[test]
    fn a_log_axis_has_a_place_for_zero() {
        let errors = [0.02, 0.005, 0.0, f64::NAN];
        let axis = Axis::log("errors", errors.into_iter(), Unit::Percent).unwrap();
        check(&axis);
        assert_eq!(names(&axis), ["0 %", "0.5 %", "1 %", "2 %"]);
        assert!(axis.place(0.0).unwrap() < 0.2 && axis.place(0.005).unwrap() < 0.4, "{axis:?}");
        assert!(axis.place(f64::NAN).is_none() && axis.place(-1.0).is_none());
        let perfect = Axis::log("errors", [0.0].into_iter(), Unit::Percent).unwrap();
        assert_eq!((names(&perfect), perfect.place(0.0)), (vec!["0 %"], Some(0.5)));
        let wrong = Axis::log("errors", [1.0].into_iter(), Unit::Percent).unwrap();
        assert_eq!(names(&wrong).last(), Some(&"100 %"), "no more than all answers are wrong");
        assert!(Axis::log("errors", [f64::NAN, -1.0].into_iter(), Unit::Plain).is_none());
    }

    #[test]
    fn log_ticks_fit_any_range() {
        for (least, most) in [
            (1e-300, 1e300),
            (1e-4, 40.0),
            (1.0, 1000.0),
            (0.4, 2.6),
            (2.0, 2.0),
            (0.0199, 0.0201),
            (1e-12, 2e-12),
            (1e-300, 1e-300),
            (3e8, 4e8),
        ] {
            for unit in [Unit::Plain, Unit::Percent] {
                let axis = Axis::log("", [least, most].into_iter(), unit).unwrap();
                check(&axis);
                assert!(names(&axis).len() >= 2, "{axis:?}");
            }
        }
    }
}
