//! Formats of runs: settings that mean another training now than they did, or have another name.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use noprop_method::{LossWeight, Readout, ScheduleKind};

use crate::config::{Method, RunConfig, at, read, usual_readout_lr_scale};

/// The formats of settings and weights. In the first one the image branch of `ct`, `fm` and `adjoint` lacks the last ReLU of Fig. 6.
/// In `dt` a block's weight is T times that of Eq. 8, and the KL of trained embeddings is not minimised.
const FIRST_FORMAT: u32 = 1;
pub const FORMAT: u32 = 2;

impl RunConfig {
    /// The config of a run.
    ///
    /// # Errors
    /// Refuses the runs whose network is not built any more, and those of a later format.
    pub fn of_run(path: &Path) -> Result<Self> {
        let config = Self::read(path)?;
        let run = path.parent().unwrap_or(path).display();
        ensure!(
            config.format <= FORMAT,
            "{run} has format {}, and this noprop reads formats up to {FORMAT}: take a newer noprop",
            config.format
        );
        ensure!(
            config.format != FIRST_FORMAT || !config.method.is_continuous(),
            "{run} has format {FIRST_FORMAT}: its image branch lacks the last ReLU of the paper's Fig. 6. Train it again with --config {}",
            path.display()
        );
        Ok(config)
    }

    /// The settings in the config file of a run, of any format.
    pub fn read(path: &Path) -> Result<Self> {
        let mut table = toml::from_str(&read(path)?).with_context(|| at(path))?;
        translate(&mut table);
        Self::from_table(table).with_context(|| at(path))
    }

    /// The settings that a run was saved with, as [`Self::to_json`] wrote them.
    pub fn of_json(text: &str) -> Option<Self> {
        // Its name in the first format, see `translate`.
        let text = text.replace("\"readout\":\"posterior\"", "\"readout\":\"bayes\"");
        serde_json::from_str(&text).ok()
    }

    /// Gives new settings the format that says what they mean.
    pub fn set_format(&mut self) {
        let weighted = self.loss_weight.is_some_and(|weight| weight != LossWeight::Uniform);
        let has_kl = self.embedding.is_trained() && self.schedule == ScheduleKind::Notebook;
        self.format = match self.method {
            Method::Ct | Method::Fm | Method::Adjoint => FORMAT,
            Method::Dt if weighted || has_kl => FORMAT,
            Method::Dt | Method::Backprop => FIRST_FORMAT,
        };
    }

    /// Refuses to go on with a training whose settings have another meaning now.
    ///
    /// # Errors
    /// Names the settings.
    pub fn check_resumable(&self, run: &Path) -> Result<()> {
        let mut now = self.clone();
        now.set_format();
        ensure!(
            self.format == now.format,
            "{} has format {}, in which these settings mean another loss (docs/method.md): its weights can be used, but not trained further",
            run.display(),
            self.format
        );
        Ok(())
    }
}

/// Gives the settings of a run, as an earlier version wrote them, the names and values that they have now.
pub fn translate(table: &mut toml::Table) {
    // The readout of Eqs. 15-16, which has this name now, is never written without its σ.
    if table.get("readout").and_then(toml::Value::as_str) == Some("posterior") {
        table.insert("readout".into(), Readout::Bayes.to_string().into());
    }
    // It was no setting.
    table.entry("readout-lr-scale").or_insert(usual_readout_lr_scale().into());
}

/// The format of settings that name none.
pub fn first() -> u32 {
    FIRST_FORMAT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub fn is_first(format: &u32) -> bool {
    *format == FIRST_FORMAT
}
