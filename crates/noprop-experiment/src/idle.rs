//! Settings that a training has no use for. Ignored in silence they would make a result that was not asked for.

use noprop_method::{EncoderKind, LossWeight};
use noprop_models::EmbeddingStart;

use crate::error::{Error, Result};
use crate::method::Method;
use crate::settings::{Settings, Setup};
use crate::source::Source;

/// Refuses the first of the `given` settings that changes nothing beside the others.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn refuse_idle(setup: &Setup, given: &Settings) -> Result<()> {
    let method = setup.method;
    let one_loss = matches!(method, Method::Backprop | Method::Adjoint);
    let weighted = setup.loss_weight != LossWeight::Uniform && !one_loss;
    let idle = [
        (
            "schedule",
            given.schedule.is_some() && method != Method::Dt,
            "is for the method dt: the others have no fixed noise schedule",
        ),
        (
            "loss-weight",
            given.loss_weight.is_some() && one_loss,
            "is for the methods dt, ct and fm: the others have one loss, at the end",
        ),
        (
            "eta",
            given.eta.is_some() && !(weighted && method != Method::Fm),
            "is for the methods dt and ct with the loss weight snr or clipped:NUMBER",
        ),
        (
            "dropout",
            given.dropout.is_some() && setup.encoder == EncoderKind::Frozen,
            "is not for a frozen encoder, which is never trained",
        ),
        (
            "embedding-scale",
            given.embedding_scale.is_some()
                && setup.embedding_start == Some(EmbeddingStart::Prototype),
            "is not for embeddings that start from images, which have a length of their own",
        ),
        (
            "validation-steps",
            given.validation_steps.is_some_and(|steps| steps >= setup.steps),
            "is for fewer steps than classify at the end",
        ),
        (
            "skip-bad",
            given.skip_bad.is_some() && matches!(setup.dataset, Source::Known(_)),
            "is for folder:PATH: the other data sets have no files to leave out",
        ),
    ];
    match idle.into_iter().find(|(_, idle, _)| *idle) {
        Some((key, _, reason)) => Err(Error::setting(key, reason)),
        None => Ok(()),
    }
}
