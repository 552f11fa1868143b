//! Flags that a training has no use for are refused: ignored in silence they would make a result that was not asked for.

use anyhow::{Result, bail};
use noprop_method::{EncoderKind, LossWeight};
use noprop_models::EmbeddingStart;

use crate::args::Train;
use crate::config::{Method, RunConfig};
use crate::source::Source;

impl RunConfig {
    /// Refuses the first of the `flags` that changes nothing beside the other settings.
    pub fn refuse_idle(&self, flags: &Train) -> Result<()> {
        let method = self.method;
        let one_loss = matches!(method, Method::Backprop | Method::Adjoint);
        let weighted = self.loss_weight != Some(LossWeight::Uniform) && !one_loss;
        let idle = [
            (
                "--schedule",
                flags.schedule.is_some() && method != Method::Dt,
                "is for the method dt: the others have no fixed noise schedule",
            ),
            (
                "--loss-weight",
                flags.loss_weight.is_some() && one_loss,
                "is for the methods dt, ct and fm: the others have one loss, at the end",
            ),
            (
                "--eta",
                flags.eta.is_some() && !(weighted && method != Method::Fm),
                "is for the methods dt and ct with --loss-weight snr or clipped:NUMBER",
            ),
            (
                "--dropout",
                flags.dropout.is_some() && self.encoder == EncoderKind::Frozen,
                "is not for --encoder frozen, which is never trained",
            ),
            (
                "--embedding-scale",
                flags.embedding_scale.is_some()
                    && self.embedding_start == Some(EmbeddingStart::Prototype),
                "is not for embeddings that start from images, which have a length of their own",
            ),
            (
                "--validation-steps",
                flags.validation_steps.is_some_and(|steps| steps >= self.steps),
                "is for fewer steps than --steps",
            ),
            (
                "--skip-bad",
                flags.skip_bad && matches!(self.dataset, Source::Known(_)),
                "is for folder:PATH: the other data sets have no files to leave out",
            ),
        ];
        match idle.into_iter().find(|(_, idle, _)| *idle) {
            Some((flag, _, reason)) => bail!("{flag} {reason}"),
            None => Ok(()),
        }
    }
}
