//! The settings that a page gives.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Context, Result, ensure};
use crate::settings::Settings;

/// Settings that a page does not give: they name files, or follow from data.
const FORBIDDEN: [&str; 3] = ["init", "images", "format"];

/// Reads settings from a JSON object, as `config.toml` has them; `batch_size` is `batch-size`.
///
/// # Errors
/// If they are not settings, or settings that a page does not give, or if one is given twice.
pub fn settings(json: &[u8]) -> Result<Settings> {
    let Entries(entries) = serde_json::from_slice(json).context("the settings cannot be read")?;
    let mut given = Map::new();
    for (key, value) in entries {
        let key = key.replace('_', "-");
        ensure!(!FORBIDDEN.contains(&key.as_str()), "{key} cannot be set here");
        ensure!(!given.contains_key(&key), "{key} is given twice");
        given.insert(key, value);
    }
    serde_json::from_value(Value::Object(given)).context("the settings cannot be used")
}

/// The entries of a JSON object. A [`Map`] would keep the last of two with one key.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OfObject)
    }
}

/// Reads [`Entries`].
struct OfObject;

impl<'de> Visitor<'de> for OfObject {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting with two values is refused: the training would use one of them, and the caller may have meant the other.
    #[test]
    fn a_setting_is_given_once() {
        let read = settings(br#"{"batch_size": 8, "lr": 0.5}"#).unwrap();
        assert_eq!((read.batch_size, read.lr), (Some(8), Some(0.5)));
        for twice in [
            r#"{"batch-size": 64, "batch_size": 8}"#,
            r#"{"batch_size": 64, "batch-size": 8}"#,
            r#"{"batch-size": 64, "batch-size": 64}"#,
        ] {
            let refused = settings(twice.as_bytes()).unwrap_err();
            assert_eq!(refused.to_string(), "batch-size is given twice", "{twice}");
        }
        let refused = settings(br#"{"init": "run"}"#).unwrap_err();
        assert_eq!(refused.to_string(), "init cannot be set here");
    }
}
