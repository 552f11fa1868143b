//! The settings that a page gives.

use serde_json::{Map, Value};

use crate::error::{Context, Result, ensure};
use crate::settings::Settings;

/// Settings that a page does not give: they name files, or follow from data.
const FORBIDDEN: [&str; 3] = ["init", "images", "format"];

/// Reads settings from a JSON object, as `config.toml` has them; `batch_size` is `batch-size`.
///
/// # Errors
/// If they are not settings, or settings that a page does not give.
pub fn settings(json: &[u8]) -> Result<Settings> {
    let given: Map<String, Value> =
        serde_json::from_slice(json).context("the settings cannot be read")?;
    let given: Map<String, Value> =
        given.into_iter().map(|(key, value)| (key.replace('_', "-"), value)).collect();
    let forbidden = FORBIDDEN.iter().find(|key| given.contains_key(**key));
    ensure!(forbidden.is_none(), "{} cannot be set here", forbidden.copied().unwrap_or_default());
    serde_json::from_value(Value::Object(given)).context("the settings cannot be used")
}
