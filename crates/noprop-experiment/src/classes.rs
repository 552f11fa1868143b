//! Classes by name: those without images, and labels in the order of another data set.

use std::collections::HashSet;

use noprop_data::{Half, Split};

use crate::error::{Result, bail};
use crate::shell::shown;

/// Classes that are named one by one.
const NAMED: usize = 10;

/// A remark on the classes among `names` that none of the `images`, which are of one `half`, belongs to, if there are any.
pub(crate) fn absent_classes(
    names: &[String],
    images: &Split,
    half: Half,
) -> Result<Option<String>> {
    let labels: HashSet<u32> = images.labels.to_vec1::<u32>()?.into_iter().collect();
    let absent = (0u32..).zip(names).filter(|(label, _)| !labels.contains(label));
    let absent: Vec<&str> = absent.map(|(_, name)| name.as_str()).collect();
    let kind = half.adjective();
    Ok((!absent.is_empty()).then(|| format!("there are no {kind} images of {}", some(&absent))))
}

/// The images with labels that count in the order of the classes `known`, where theirs count in the order of `names`.
pub(crate) fn by_name(images: &Split, names: &[String], known: &[String]) -> Result<Split> {
    if names == known {
        return Ok(images.clone());
    }
    let used: HashSet<u32> = images.labels.to_vec1::<u32>()?.into_iter().collect();
    let mut labels = Vec::with_capacity(names.len());
    for (label, name) in (0u32..).zip(names) {
        match (0u32..).zip(known).find(|(_, known)| *known == name) {
            Some((place, _)) => labels.push(place),
            // No image has this label.
            None if !used.contains(&label) => labels.push(0),
            None => bail!(
                "the class {name} is not one of the run, which distinguishes {}",
                some(&known.iter().map(String::as_str).collect::<Vec<_>>())
            ),
        }
    }
    Ok(images.relabelled(&labels)?)
}

/// The first few names, and the number of the others.
fn some(names: &[&str]) -> String {
    let named: Vec<String> =
        names.iter().take(NAMED).map(|name| shown(name).into_owned()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
