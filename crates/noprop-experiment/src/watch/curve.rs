//! The losses of a training's steps as a curve with a bounded number of points.

use serde::{Serialize, Serializer};

/// The most points of a curve.
const MOST: usize = 600;

/// Mean losses over groups of steps. When there are too many points, each two become one.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Steps that a point stands for.
    stride: u64,
    points: Vec<Point>,
    /// The sum and the number of losses since the last point, for each block.
    sums: Vec<(f64, u32)>,
    steps: u64,
}

/// The step at the end of a point's steps, and the mean loss of each block; none where a block made no step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point(pub u64, pub Vec<Option<f32>>);

impl Default for Curve {
    fn default() -> Self {
        Self { stride: 1, points: Vec::new(), sums: Vec::new(), steps: 0 }
    }
}

impl Curve {
    /// Begins with the points of the epochs before; `blocks` blocks have losses.
    pub fn begin(&mut self, blocks: usize, points: Vec<Point>) {
        *self = Self { points, sums: vec![(0.0, 0); blocks], ..Self::default() };
        self.thin();
    }

    /// Adds the losses of blocks, which count from 0, in step `step`.
    pub fn push(&mut self, step: u64, losses: impl Iterator<Item = (usize, f64)>) {
        for (block, loss) in losses {
            if let Some((sum, count)) = self.sums.get_mut(block) {
                *sum += loss;
                *count += 1;
            }
        }
        self.steps += 1;
        if self.steps >= self.stride {
            let mean =
                |&(sum, count): &(f64, u32)| (count > 0).then(|| rounded(sum / f64::from(count)));
            self.points.push(Point(step, self.sums.iter().map(mean).collect()));
            self.sums.fill((0.0, 0));
            self.steps = 0;
            self.thin();
        }
    }

    fn thin(&mut self) {
        while self.points.len() > MOST {
            self.stride *= 2;
            self.points = self.points.chunks(2).map(joined).collect();
        }
    }
}

/// The mean of two points, at the step of the second.
fn joined(points: &[Point]) -> Point {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Point(0, Vec::new());
    };
    let mean = |(block, &loss): (usize, &Option<f32>)| {
        let before = first.1.get(block).copied().flatten();
        match (before, loss) {
            (Some(a), Some(b)) => Some(rounded(f64::from(a + b) / 2.0)),
            (a, b) => a.or(b),
        }
    };
    Point(last.0, last.1.iter().enumerate().map(mean).collect())
}

/// Five decimals are more than a curve shows.
fn rounded(loss: f64) -> f32 {
    ((loss * 1e5).round() / 1e5) as f32
}

impl Serialize for Curve {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.points.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long training must not make messages that grow without end, nor lose its last steps or a block.
    #[test]
    fn points_stay_few_and_are_means() {
        let mut curve = Curve::default();
        curve.begin(2, Vec::new());
        for step in 1..=100_000_u64 {
            curve.push(step, [(0, 1.0), (1, step as f64)].into_iter());
        }
        assert!((MOST / 2..=MOST).contains(&curve.points.len()), "{}", curve.points.len());
        let Point(step, losses) = curve.points.last().unwrap();
        assert!(*step > 99_000);
        assert_eq!(losses[0], Some(1.0));
        let middle = *step as f64 - (curve.stride - 1) as f64 / 2.0;
        assert!((f64::from(losses[1].unwrap()) - middle).abs() < 1.0, "{losses:?} {middle}");
        let mut paused = Curve::default();
        paused.begin(3, Vec::new());
        paused.push(1, [(1, 0.5)].into_iter());
        assert_eq!(paused.points, [Point(1, vec![None, Some(0.5), None])]);
    }
}
