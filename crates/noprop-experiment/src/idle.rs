//! Settings that a training has no use for. Ignored in silence they would make a result that was not asked for.

use noprop_method::{EncoderKind, LossWeight, MethodKind, Setting, Time};
use noprop_models::{Backbone, Embedding, EmbeddingStart};

use crate::error::{Error, Result};
use crate::settings::{Settings, Setup};
use crate::source::Source;

/// Refuses the first of the `given` settings that changes nothing beside the others. A config file may hold idle settings of another
/// method; those of the network would be recorded as if they had been used, so they are refused wherever they stand.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn refuse_idle(setup: &Setup, given: &Settings) -> Result<()> {
    let method = setup.method;
    let with = |setting: Setting| MethodKind::names(|method| method.has(setting));
    let chainless = method.time == Time::None;
    let of_chains = || {
        format!(
            "is for {}: the others have no chain",
            MethodKind::names(|method| method.time != Time::None)
        )
    };
    let weighted = setup.loss_weight != LossWeight::Uniform;
    // The columns of prototypes are the paper's image branch, whatever the network is.
    let has_convolutions =
        setup.network == Backbone::Paper || setup.embedding == Embedding::Prototype;
    let idle = [
        (
            "schedule",
            given.schedule.is_some() && !method.has(Setting::Schedule),
            format!("is for {}: the others have no fixed noise schedule", with(Setting::Schedule)),
        ),
        (
            "loss-weight",
            given.loss_weight.is_some() && !method.has(Setting::LossWeight),
            format!("is for {}: the others have one loss, at the end", with(Setting::LossWeight)),
        ),
        (
            "eta",
            given.eta.is_some() && !(weighted && method.has(Setting::Eta)),
            format!("is for {} with the loss weight snr or clipped:NUMBER", with(Setting::Eta)),
        ),
        ("steps", given.steps.is_some() && chainless, of_chains()),
        ("embedding", given.embedding.is_some() && chainless, of_chains()),
        ("embedding-scale", given.embedding_scale.is_some() && chainless, of_chains()),
        (
            "solver",
            given.solver.is_some() && method.time != Time::Continuous,
            format!("is for {}", MethodKind::names(|method| method.time == Time::Continuous)),
        ),
        (
            "dropout",
            given.dropout.is_some() && setup.encoder == EncoderKind::Frozen,
            "is not for a frozen encoder, which is never trained".into(),
        ),
        (
            "dropout",
            setup.dropout > 0.0 && !has_convolutions,
            "is for the network paper: the others drop nothing".into(),
        ),
        (
            "padding",
            (setup.padding > 0 || given.padding.is_some()) && !has_convolutions,
            "is for the network paper: the convolutions of a resnet keep the size of the image"
                .into(),
        ),
        (
            "embedding-scale",
            given.embedding_scale.is_some()
                && setup.embedding_start == Some(EmbeddingStart::Prototype),
            "is not for embeddings that start from images, which have a length of their own".into(),
        ),
        (
            "validation-steps",
            given.validation_steps.is_some_and(|steps| steps >= setup.steps),
            "is for fewer steps than classify at the end".into(),
        ),
        (
            "skip-bad",
            given.skip_bad.is_some() && !matches!(setup.dataset, Source::Folder(_)),
            "is for folder:PATH: the other data sets have no files to leave out".into(),
        ),
    ];
    match idle.into_iter().find(|(_, idle, _)| *idle) {
        Some((key, _, reason)) => Err(Error::setting(key, reason)),
        None => Ok(()),
    }
}
