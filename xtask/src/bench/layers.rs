//! Single layers of a residual network and of a transformer beside PyTorch's.

use std::process::Command;

use anyhow::Result;

use super::row::{Goal, Row, Unit, median};
use super::side::Side;
use crate::workspace::report;

/// The layers, in the words of the example `layers` of noprop-kernels: a ResNet-9 of width 32 on images of 32×32, its
/// convolutions alone, smaller sides, and a layer of a transformer of width 64 on patches of 4×4 of 28×28 pixels, then its ops alone.
const LAYERS: [&str; 14] = [
    "resnet 32 32",
    "conv 3 32 32",
    "conv 32 64 32",
    "conv 64 64 16",
    "conv 64 128 16",
    "conv 128 256 8",
    "conv 256 256 4",
    "conv 64 128 7",
    "conv 128 128 3",
    "pool 256 4",
    "transformer 64 49",
    "layer_norm 64 49",
    "attention 64 49",
    "gelu 256 49",
];

/// Prints a line for each layer and direction: ours and the peer's in turn, and the ratio of the medians. Without a peer, ours alone.
pub fn run(ours: Command, peer: Option<Command>, threads: usize, rounds: usize) -> Result<()> {
    let mut ours = Side::start("our layers", ours, threads)?;
    let mut peer = peer.map(|peer| Side::start("torch", peer, threads)).transpose()?;
    for layer in LAYERS {
        for passes in ["forward", "backward"] {
            let work = format!("{layer} {passes}");
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                a.extend(ours.seconds(&work, 1)?);
                if let Some(peer) = &mut peer {
                    b.extend(peer.seconds(&work, 1)?);
                }
            }
            let note = gflops(layer, passes, &a);
            let row = Row {
                key: work,
                what: String::new(),
                unit: Unit::Seconds,
                ours: a,
                peer: peer.is_some().then(|| ("torch".into(), b)),
                target: None,
                goal: Goal::Reached,
                note,
                date: String::new(),
                machine: String::new(),
            };
            report(&row.line());
        }
    }
    Ok(())
}

/// Our speed in a convolution, as if it multiplied the nine weights at every pixel. The gradient of images with three channels is not wanted.
fn gflops(layer: &str, passes: &str, seconds: &[f64]) -> Option<String> {
    let numbers: Vec<f64> = layer.split(' ').filter_map(|word| word.parse().ok()).collect();
    // Only a convolution has three numbers.
    let [c_in, c_out, side] = numbers[..] else { return None };
    let products = match passes {
        "forward" => 1.0,
        _ if c_in == 3.0 => 2.0,
        _ => 3.0,
    };
    let operations = products * 2.0 * 9.0 * 128.0 * c_in * c_out * side * side;
    Some(format!("{:.0} GFLOP/s", operations / median(seconds) / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong count of operations would praise or blame every convolution.
    #[test]
    fn operations_are_counted_once_a_product() {
        let speed = |layer, passes| gflops(layer, passes, &[1.0]);
        assert_eq!(speed("conv 64 64 16", "forward"), Some("2 GFLOP/s".into()));
        assert_eq!(speed("conv 64 64 16", "backward"), Some("7 GFLOP/s".into()));
        assert_eq!(speed("pool 64 16", "forward"), None);
        assert_eq!(speed("resnet 32 32", "forward"), None);
    }
}
