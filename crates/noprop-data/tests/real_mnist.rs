//! The real MNIST, on machines that have it: in `$NOPROP_MNIST_DIR`, or in `../shared/data/mnist` beside the checkout.
//! On other machines this test prints that it skips.

use std::path::{Path, PathBuf};

use noprop_data::{DatasetName, Presence, load};
use noprop_fetch::{Mirror, fetch};

/// The folder with the four files, packed or not.
fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mnist");
    let folder = std::env::var_os("NOPROP_MNIST_DIR").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// Fetches, verifies and reads MNIST, and compares the tensors with facts that are published about it.
#[test]
#[expect(clippy::print_stderr, reason = "a test that did nothing must not look like one that did")]
fn fetched_and_loaded_it_is_what_the_literature_says() {
    let Some(source) = folder() else {
        eprintln!("SKIPPED: no MNIST here; set NOPROP_MNIST_DIR to the folder of its four files");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let name = DatasetName::Mnist;
    assert!(matches!(name.presence(dir.path()), Presence::Incomplete { .. }));
    let fetched =
        fetch(name, dir.path(), Some(&Mirror::Folder(source.clone())), &mut |_| ()).unwrap();
    assert_eq!(fetched.new.len(), 4);
    assert!(matches!(name.presence(dir.path()), Presence::Complete { .. }));

    let mnist = load(name, dir.path()).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    assert_eq!(mnist.image_shape().unwrap(), (1, 28, 28));
    let mut counts = [0; 10];
    for label in mnist.train.labels.to_vec1::<u32>().unwrap() {
        counts[label as usize] += 1;
    }
    assert_eq!(counts, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let pixels = mnist.train.images().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let n = pixels.len() as f64;
    let mean = pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / n;
    let square = pixels.iter().map(|&p| f64::from(p).powi(2)).sum::<f64>() / n;
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
    assert!(((square - mean * mean).sqrt() - 0.3081).abs() < 5e-5);

    // Straight from the packed files it is the same data.
    let direct = noprop_data::Dataset::open(name, &source).unwrap();
    assert_eq!(direct.sha256, mnist.sha256);
    // All files are the published ones: the hash over all of them, which stands for them, is right.
    assert!(mnist.notices.is_empty() && direct.notices.is_empty(), "{:?}", mnist.notices);
    let labels = mnist.listing.files().iter().find(|f| f.path.ends_with("t10k-labels-idx1-ubyte"));
    let bytes = std::fs::File::open(dir.path().join("mnist/t10k-labels-idx1-ubyte")).unwrap();
    assert_eq!(labels.unwrap().sha256, noprop_data::sha256_of(bytes).unwrap());
}
