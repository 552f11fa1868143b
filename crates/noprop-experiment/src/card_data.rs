//! The part of a model card that machines read: YAML between two lines of dashes, with the keys of the Hugging Face hub.

use std::fmt;
use std::str::FromStr;

use noprop_data::DatasetName;

use crate::error::Error;
use crate::settings::Setup;
use crate::shell::shown;
use crate::source::Source;

/// The line before and after the data.
const FENCE: &str = "---\n";

/// The licence of weights, by its name on the hub, such as `mit` or `cc-by-4.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License(String);

impl Default for License {
    /// The name for weights whose owner has not chosen one.
    fn default() -> Self {
        Self("unknown".into())
    }
}

impl fmt::Display for License {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for License {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.+".contains(c);
        let is_word = text.starts_with(|c: char| c.is_ascii_lowercase());
        match is_word && text.len() <= 64 && text.chars().all(known) {
            true => Ok(Self(text.into())),
            false => Err(Error::setting(
                "license",
                "is the name of a licence as the hub writes it, such as mit, apache-2.0 or cc-by-4.0",
            )),
        }
    }
}

/// The data of the card of a run with the accuracy `accuracy` (0..=1) on its test images.
pub(crate) fn text(setup: &Setup, accuracy: f64, license: &License) -> String {
    let (on_hub, kind, title) = match &setup.dataset {
        Source::Known(name) => {
            let (id, title) = of_hub(*name);
            (Some(id), if *name == DatasetName::MnistSample { name.as_str() } else { id }, title)
        }
        Source::Folder(_) => (None, "imagefolder", ""),
        Source::Memory => (None, "array", ""),
    };
    // A string of JSON is one of YAML too, whatever a folder is called.
    let quoted = |text: &str| serde_json::Value::from(&*shown(text)).to_string();
    let title = if title.is_empty() { setup.dataset.name() } else { title.into() };
    let datasets = on_hub.map_or_else(String::new, |id| format!("datasets:\n- {id}\n"));
    format!(
        "{FENCE}library_name: noprop\n\
         pipeline_tag: image-classification\n\
         license: \"{license}\"\n\
         tags:\n- noprop\n- image-classification\n- candle\n\
         {datasets}\
         metrics:\n- accuracy\n\
         model-index:\n\
         - name: {name}\n  \
           results:\n  \
           - task:\n      \
               type: image-classification\n      \
               name: Image classification\n    \
             dataset:\n      \
               type: {kind}\n      \
               name: {title}\n      \
               split: test\n    \
             metrics:\n    \
             - type: accuracy\n      \
               value: {accuracy}\n      \
               name: Accuracy on the test images\n\
         {FENCE}\n",
        name = quoted(&format!("noprop-{}-{}", setup.method, setup.dataset.name())),
        title = quoted(&title),
    )
}

/// The part of a model card that people read: without the data for machines, if it begins with some.
pub fn card_body(card: &str) -> &str {
    let body = card.strip_prefix(FENCE).and_then(|rest| rest.split_once(&format!("\n{FENCE}")));
    body.map_or(card, |(_, body)| body.trim_start())
}

/// The name of a data set on the hub, and its title.
fn of_hub(name: DatasetName) -> (&'static str, &'static str) {
    match name {
        DatasetName::FashionMnist => ("zalando-datasets/fashion_mnist", "Fashion-MNIST"),
        DatasetName::Cifar10 => ("uoft-cs/cifar10", "CIFAR-10"),
        DatasetName::Cifar100 => ("uoft-cs/cifar100", "CIFAR-100"),
        DatasetName::MnistSample => ("ylecun/mnist", "MNIST, 1,000 of the training images"),
        _ => ("ylecun/mnist", "MNIST"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_found_behind_its_data() {
        assert_eq!(card_body("---\na: 1\n---\n\n# Card\n---\nrest\n"), "# Card\n---\nrest\n");
        assert_eq!(card_body("# Card\n"), "# Card\n");
        assert_eq!(card_body("---\nno end"), "---\nno end");
    }

    /// A licence is written into YAML as it is.
    #[test]
    fn a_licence_is_one_plain_word() {
        for good in ["mit", "apache-2.0", "cc-by-sa-4.0", "unknown"] {
            assert_eq!(good.parse::<License>().unwrap().to_string(), good);
        }
        for bad in ["", "-", "1", "MIT", "a b", "a\nb", "mit: x", &"a".repeat(65)] {
            assert!(bad.parse::<License>().is_err(), "{bad}");
        }
    }
}
