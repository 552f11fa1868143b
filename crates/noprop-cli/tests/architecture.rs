//! The crates may import each other only along the arrows of docs/architecture.md: data flow one way.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each crate and all of the workspace that it may use outside its tests.
const ARROWS: [(&str, &[&str]); 10] = [
    ("noprop-schedule", &[]),
    ("noprop-kernels", &[]),
    ("noprop-method", &["noprop-schedule", "noprop-kernels"]),
    ("noprop-models", &["noprop-method", "noprop-kernels"]),
    ("noprop-data", &[]),
    ("noprop-train", &["noprop-method", "noprop-kernels", "noprop-data"]),
    ("noprop-plot", &[]),
    (
        "noprop-experiment",
        &[
            "noprop-schedule",
            "noprop-kernels",
            "noprop-method",
            "noprop-models",
            "noprop-data",
            "noprop-train",
            "noprop-plot",
        ],
    ),
    (
        "noprop-cli",
        &["noprop-kernels", "noprop-method", "noprop-data", "noprop-train", "noprop-experiment"],
    ),
    ("xtask", &["noprop-data", "noprop-plot"]),
];

#[test]
fn imports_follow_the_arrows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let allowed = allowed.get(name);
        assert!(
            allowed.is_some(),
            "{name} is new: give it a place in docs/architecture.md and here"
        );
        seen.insert(name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let in_workspace = dependency["path"].is_string();
            if in_workspace && dependency["kind"].is_null() {
                assert!(
                    allowed.unwrap().contains(used),
                    "{name} must not import {used}: see the arrows in docs/architecture.md"
                );
            }
        }
    }
    assert_eq!(seen.len(), ARROWS.len(), "a crate of the list is gone: {seen:?}");
}
