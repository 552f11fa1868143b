//! Every image encoder learns, resumes exactly, and does not depend on threads.

use noprop_method::{EncoderKind, MethodKind};
use noprop_models::Backbone;
use noprop_train::{Outcome, StepReport, TrainConfig};

use crate::case::{Case, ONEHOT, case};
use crate::support::{CONFIG, few_images, go_on, model, new_run};

const BACKBONES: [Backbone; 3] = [
    Backbone::Mlp { width: 32, depth: 2 },
    Backbone::Resnet { width: 4 },
    Backbone::Vit { width: 32, depth: 1, patch: 7 },
];

/// A wrong gradient of an encoder does not lower the loss on a few images that are shown again and again.
#[test]
fn every_encoder_learns_by_the_losses_of_blocks_and_end_to_end() {
    let images = few_images();
    for kind in [MethodKind::DT, MethodKind::BACKPROP] {
        for backbone in BACKBONES {
            let case = Case { backbone, ..case(kind, EncoderKind::Shared, ONEHOT) };
            let config = TrainConfig { epochs: 20, warmup_steps: 0, ..CONFIG };
            let mut trainer = case.trainer(&images, config);
            let mut epoch = || {
                let reports = trainer.steps(3).unwrap();
                let losses = reports.iter().flatten().flat_map(|StepReport { losses, .. }| losses);
                losses.map(|loss| loss.loss).sum::<f64>()
            };
            let losses: Vec<f64> = (0..20).map(|_| epoch()).collect();
            assert!(losses[19] < 0.8 * losses[0], "{kind:?} {backbone}: {losses:?}");
        }
    }
}

/// Running statistics are part of the state, and no sum depends on the number of threads.
#[test]
fn stops_and_threads_do_not_change_a_bit() {
    let (dir, images) = (tempfile::tempdir().unwrap(), few_images());
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for backbone in BACKBONES {
        for encoder in [EncoderKind::PerBlock, EncoderKind::Shared] {
            let case = Case { backbone, ..case(MethodKind::DT, encoder, ONEHOT) };
            let run =
                |name: &str| new_run(&dir.path().join(format!("{backbone} {encoder} {name}")));
            let part = |run, stop| {
                let mut trainer = case.trainer(&images, CONFIG);
                go_on(&mut trainer, run, &images, stop)
            };
            let (whole, parts) = (run("whole"), run("parts"));
            let outcome = pool(1).install(|| part(&whole, u32::MAX));
            assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
            let outcome = pool(3).install(|| part(&parts, 4));
            assert!(matches!(outcome, Outcome::Stopped { .. }), "{outcome:?}");
            pool(2).install(|| part(&parts, u32::MAX));
            assert!(model(&whole) == model(&parts), "{backbone} {encoder}");
        }
    }
}
