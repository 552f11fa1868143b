//! The formats of runs: settings that mean another training now than they did, or have another name.

use noprop_method::Readout;
use noprop_train::TrainConfig;

/// The first format of settings and weights. In it the image branch of `ct`, `fm` and `adjoint` lacks the last ReLU of Fig. 6, and in
/// `dt` a block's weight is T times that of Eq. 8, and the KL of trained embeddings is not minimised.
pub(crate) const FIRST_FORMAT: u32 = 1;
/// The format of this version.
pub(crate) const FORMAT: u32 = 2;

/// The readout's learning rate as a multiple of the others', where settings do not name it.
pub(crate) fn usual_readout_lr_scale() -> f64 {
    TrainConfig::default().readout_lr_scale
}

/// Gives the settings of a run, as an earlier version wrote them, the names and values that they have now.
pub(crate) fn translate(table: &mut toml::Table) {
    // The readout of Eqs. 15-16, which has this name now, is never written without its σ.
    if table.get("readout").and_then(toml::Value::as_str) == Some("posterior") {
        table.insert("readout".into(), Readout::Bayes.to_string().into());
    }
    // It was not a setting.
    table.entry("readout-lr-scale").or_insert(usual_readout_lr_scale().into());
}

/// [`translate`] for the settings that a weights file carries as JSON.
pub(crate) fn translate_json(text: &str) -> String {
    text.replace("\"readout\":\"posterior\"", "\"readout\":\"bayes\"")
}
