//! Opens a run and asks it, in three lines: `outside-classify RUN PICTURE…`.

use noprop_data::picture::Polarity;
use noprop_experiment::{Classifier, Error};
use noprop_method::candle_core::Device;

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let classifier = Classifier::open(words.next().unwrap_or_default(), &Device::Cpu)?;
    for picture in words {
        println!("{picture}: {}", classifier.picture(&picture, Polarity::AsIs)?.class);
    }
    Ok(())
}

/// A run with a normalisation of its own is answered as the program answers it: with its mean and deviation, which stand in the run.
#[test]
fn a_normalised_run_is_answered_as_it_was_tested() {
    use noprop_data::Dataset;
    use noprop_experiment::{Ending, Layers, Means, MethodKind, NewRun, Normalize, Settings, train};
    use noprop_train::{Existing, Silent};

    let folder = tempfile::tempdir().unwrap();
    for method in [MethodKind::DT, MethodKind::CT] {
        let out = folder.path().join(method.name);
        let settings = Settings {
            dataset: Some("mnist-sample".parse().unwrap()),
            method: Some(method),
            normalize: Some(Normalize::Channel),
            epochs: Some(1),
            ..Settings::default()
        };
        let new = NewRun {
            layers: Layers { settings, ..Layers::default() },
            data_dir: None,
            out: Some(out.clone()),
            existing: Existing::Refuse,
        };
        let Ending::Finished(finished) = train(&new, Means::on(&Device::Cpu), &mut Silent).unwrap() else {
            panic!("not finished");
        };
        let images = Dataset::mnist_sample().unwrap().test;
        let classifier = Classifier::open(&out, &Device::Cpu).unwrap();
        let answers = classifier.classify(&images.range(0..200).unwrap()).unwrap();
        let truth = images.labels.to_vec1::<u32>().unwrap();
        let right = answers.iter().zip(&truth).filter(|(answer, truth)| answer.label == **truth).count();
        let reached = right as f64 / 200.0;
        // Without the normalisation it is near chance.
        assert!((reached - finished.test.accuracy()).abs() < 0.1, "{method}: {reached}");
        assert!(reached > 0.5, "{method}: {reached}");
    }
}
