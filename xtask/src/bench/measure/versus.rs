//! Ours and a peer in turn: the processes of both sides, and the check that they compute the same.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Bench, Network, Peer, STEPS, repeated};
use crate::bench::Device;
use crate::bench::row::{Row, Target, Unit, median};
use crate::bench::side::Side;
use crate::workspace::report;

/// PyTorch's ways on the CPU. The fastest is measured.
const CPU_WAYS: [&str; 4] = ["eager", "channels-last", "compiled", "compiled-channels-last"];

/// The largest difference of logits, due to rounding.
const TOLERANCE: f64 = 1e-4;
/// The same if both sides round factors of products to TF32 or bf16, each in different places.
const ROUNDED_TOLERANCE: f64 = 5e-2;

/// A measurement of both sides.
pub(super) struct Versus<'a> {
    /// The beginning of its key.
    pub name: &'a str,
    pub what: &'a str,
    pub network: Network,
    pub rounds: usize,
    pub target: Target,
}

impl Bench {
    /// Measures ours and every peer in turn.
    pub(super) fn against_all(
        &self,
        versus: &Versus<'_>,
        work: impl Fn(&mut Side) -> Result<Vec<f64>>,
    ) -> Result<Vec<Row>> {
        if self.peers.is_empty() {
            let mut ours = self.ours(versus.network, None)?;
            work(&mut ours)?;
            let samples = repeated(versus.rounds, || work(&mut ours))?;
            let key = format!("{} alone", versus.name);
            return Ok(vec![self.row(&key, versus.what, Unit::Seconds, samples, None, None)]);
        }
        self.peers.iter().map(|peer| self.against(peer, versus, &work)).collect()
    }

    /// Measures ours and one peer in turn, after a round each to warm up.
    pub(super) fn against(
        &self,
        peer: &Peer,
        versus: &Versus<'_>,
        work: impl Fn(&mut Side) -> Result<Vec<f64>>,
    ) -> Result<Row> {
        let mut network = versus.network;
        let mut name = peer.name().to_owned();
        if let (Peer::Torch(_), Device::Cpu) = (peer, network.device) {
            network.way = self.fastest_way(network, peer)?;
            name = format!("{name} {}", network.way);
        }
        let (mut ours, mut theirs) = self.pair(network, peer)?;
        work(&mut ours)?;
        work(&mut theirs)?;
        let mut b = Vec::new();
        let a = repeated(versus.rounds, || {
            let samples = work(&mut ours)?;
            b.extend(work(&mut theirs)?);
            Ok(samples)
        })?;
        // The targets are set against PyTorch.
        let target = matches!(peer, Peer::Torch(_)).then_some(versus.target);
        let key = format!("{} against {}", versus.name, peer.name());
        Ok(self.row(&key, versus.what, Unit::Seconds, a, Some((&name, b)), target))
    }

    /// The way in which PyTorch trains a step fastest on the CPU.
    fn fastest_way(&self, network: Network, peer: &Peer) -> Result<&'static str> {
        // Writes the data and the weights that the peer loads.
        drop(self.ours(network, Some(&self.folder))?);
        let mut best: Option<(f64, &'static str)> = None;
        for way in CPU_WAYS {
            let trial = || {
                let mut side = self.peer(Network { way, ..network }, peer)?;
                side.seconds("step", STEPS)?;
                Ok::<_, anyhow::Error>(median(&side.seconds("step", 2 * STEPS)?))
            };
            match trial() {
                Ok(seconds) => {
                    report(&format!("PyTorch {way}: {} a step", Unit::Seconds.show(seconds)));
                    if best.is_none_or(|(least, _)| seconds < least) {
                        best = Some((seconds, way));
                    }
                }
                // A compiler may be missing.
                Err(error) => report(&format!("left out: PyTorch {way}: {error:#}")),
            }
        }
        Ok(best.context("PyTorch trains in no way")?.1)
    }

    /// Both sides with the same network and data, after a check that they compute the same.
    fn pair(&self, network: Network, peer: &Peer) -> Result<(Side, Side)> {
        let mut ours = self.ours(network, Some(&self.folder))?;
        let mut theirs = self.peer(network, peer)?;
        let (a, b) = (ours.logits()?, theirs.logits()?);
        let name = peer.name();
        ensure!(a.len() == b.len() && !a.is_empty(), "{name} has another number of blocks");
        let mut difference: f64 = 0.0;
        for (a, b) in a.iter().zip(&b) {
            ensure!(a.len() == b.len(), "{name} has another number of logits");
            difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(difference, f64::max);
        }
        // A NaN is not within any tolerance.
        let tolerance = if network.precision == "f32" { TOLERANCE } else { ROUNDED_TOLERANCE };
        if difference.is_nan() || difference > tolerance {
            bail!(
                "the logits of {name} differ from ours by {difference:.1e}, so its times cannot be compared"
            );
        }
        report(&format!("same logits as {name}, to {difference:.0e}"));
        Ok((ours, theirs))
    }

    pub(super) fn ours(&self, network: Network, share: Option<&Path>) -> Result<Side> {
        self.worker("our worker", network, None, share)
    }

    pub(super) fn peer(&self, network: Network, peer: &Peer) -> Result<Side> {
        match peer {
            Peer::Candle => self.worker("candle", network, Some("reference"), None),
            Peer::Torch(torch) => {
                let mut side = self.torch_side(torch)?;
                side.ask(&self.setup(network, None, None, Some(&self.folder)))?;
                Ok(side)
            }
        }
    }

    pub(super) fn worker(
        &self,
        name: &'static str,
        network: Network,
        backend: Option<&str>,
        share: Option<&Path>,
    ) -> Result<Side> {
        let mut side = Side::start(name, Command::new(&self.built.worker), self.threads)?;
        side.ask(&self.setup(network, backend, self.mnist.as_deref(), share))?;
        Ok(side)
    }

    pub(super) fn setup(
        &self,
        network: Network,
        backend: Option<&str>,
        data: Option<&Path>,
        share: Option<&Path>,
    ) -> Value {
        json!({ "setup": {
            "network": self.network,
            "encoder": network.encoder,
            "blocks": network.blocks,
            "backend": backend,
            "device": network.device,
            "precision": network.precision,
            "way": network.way,
            "data": data,
            "share": share,
        }})
    }
}
