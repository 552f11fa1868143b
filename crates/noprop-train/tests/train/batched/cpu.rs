//! Batched blocks compared with blocks that run one by one, on the CPU.

use noprop_method::{Denoiser as _, EncoderKind, MethodKind, Part};
use noprop_models::{Backbone, Embedding, Network};
use noprop_train::{ClassWeights, Engine, Outcome, TrainConfig, TrainError, Workers};

use super::support::{CONFIG, STEPS_PER_EPOCH, assert_close, losses_by_part, take_part, trainer};
use crate::case::{Case, LEARNED, ONEHOT, by_cross_entropy, case};
use crate::support::{CPU, model, new_run};

const THREADS: Engine = Engine::Threads(Workers::Auto);
/// The number of steps. It is small enough that rounding errors have not grown much.
const STEPS: u32 = 20;
const TOLERANCE: f32 = 1e-4;
/// The tolerance of a loss. With one-hot embeddings losses agree to the bit, with learned embeddings to 1e-6. A gradient that
/// is wrong or missing changes the second digit of the loss in the second step.
const LOSS_TOLERANCE: f64 = 1e-5;

/// Trains with the engines of `plan`, one after the other. Returns the network, and the losses of every step by part.
fn trained(case: Case, plan: &[(Engine, u32)]) -> (Network, Vec<Vec<(String, f64)>>) {
    let mut trainer = trainer(case, &CPU, CONFIG);
    let mut losses = Vec::new();
    for (engine, steps) in plan {
        trainer = trainer.engine(engine.clone());
        // Several calls, so that each begins with the parameters that the previous one wrote back.
        for _ in 0..*steps / 5 {
            losses.extend(losses_by_part(&mut trainer, 5));
        }
    }
    (trainer.into_network(), losses)
}

/// Returns the parameter with the largest difference between the networks, and the difference.
fn distance(a: &Network, b: &Network) -> (String, f32) {
    let pairs = a.parameters().iter().zip(b.parameters().iter());
    pairs
        .map(|(a, b)| {
            let apart = (a.var.as_tensor() - b.var.as_tensor()).unwrap().abs().unwrap();
            let most = apart.flatten_all().unwrap().max(0).unwrap();
            (a.name.clone(), most.to_scalar::<f32>().unwrap())
        })
        .fold((String::new(), 0.0), |most, next| if next.1 > most.1 { next } else { most })
}

/// The losses of every step agree; a loss depends on all weights that earlier steps changed. With fixed embeddings the weights
/// agree as well. With trained embeddings, a gradient that should be zero is a different rounding error in each form, and Adam
/// turns it into steps of full length.
#[test]
fn all_blocks_in_one_call_take_the_steps_of_one_by_one() {
    // With prototypes, which are images, rounding grows about tenfold in each step from the third on, so only the first steps
    // are compared.
    let all = STEPS as usize;
    for (name, compared, backbone, encoder, embedding) in [
        ("per-block", all, Backbone::Paper, EncoderKind::PerBlock, ONEHOT),
        ("shared", all, Backbone::Paper, EncoderKind::Shared, ONEHOT),
        ("frozen", all, Backbone::Paper, EncoderKind::Frozen, ONEHOT),
        ("learned", all, Backbone::Paper, EncoderKind::Shared, LEARNED),
        ("prototype", 4, Backbone::Paper, EncoderKind::Shared, Embedding::Prototype),
        ("resnet", 6, Backbone::Resnet { width: 4 }, EncoderKind::PerBlock, ONEHOT),
        ("vit", 6, Backbone::Vit { width: 32, depth: 1, patch: 7 }, EncoderKind::PerBlock, ONEHOT),
    ] {
        let case = Case { backbone, ..case(MethodKind::DT, encoder, embedding) };
        let (expected, expected_losses) = trained(case, &[(THREADS, STEPS)]);
        let (found, losses) = trained(case, &[(Engine::Batched, STEPS)]);
        if compared == all && expected.parameters().count(Part::Embedding) == 0 {
            let (parameter, most) = distance(&found, &expected);
            assert!(most < TOLERANCE, "{name}: {parameter} is {most:e} apart");
        }
        assert_eq!(losses.len(), all);
        assert_close(name, &losses[..compared], &expected_losses[..compared], LOSS_TOLERANCE);
    }
}

/// Class weights multiply the same losses in both forms.
#[test]
fn classes_are_balanced_alike_in_either_form() {
    let case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
    let losses = |engine, class_weights| {
        let settings = TrainConfig { class_weights, ..CONFIG };
        losses_by_part(&mut trainer(case, &CPU, settings).engine(engine), 5)
    };
    let expected = losses(THREADS, ClassWeights::Balanced);
    let found = losses(Engine::Batched, ClassWeights::Balanced);
    assert_ne!(expected, losses(THREADS, ClassWeights::Uniform));
    assert_close("balanced", &found, &expected, LOSS_TOLERANCE);
}

/// Cross-entropy takes the place of the distance in both forms.
#[test]
fn cross_entropy_is_the_same_in_either_form() {
    let case = by_cross_entropy(case(MethodKind::DT, EncoderKind::Shared, ONEHOT));
    let losses = |case, engine| losses_by_part(&mut trainer(case, &CPU, CONFIG).engine(engine), 5);
    let expected = losses(case, THREADS);
    assert_close("cross-entropy", &losses(case, Engine::Batched), &expected, LOSS_TOLERANCE);
}

/// Methods without a batched form make the same steps, to the bit. Only the losses are read later.
#[test]
fn other_methods_take_the_same_steps() {
    for kind in [MethodKind::CT, MethodKind::FM, MethodKind::BACKPROP] {
        let case = case(kind, EncoderKind::Shared, ONEHOT);
        let (expected, expected_losses) = trained(case, &[(THREADS, STEPS)]);
        let (found, losses) = trained(case, &[(Engine::Batched, STEPS)]);
        assert_eq!(losses, expected_losses, "{kind:?}");
        assert_eq!(distance(&found, &expected), (String::new(), 0.0), "{kind:?}");
    }
}

/// Losses that are read late are checked as well.
#[test]
fn a_loss_that_is_no_number_ends_a_training_in_either_form() {
    for kind in [MethodKind::DT, MethodKind::CT] {
        for engine in [THREADS, Engine::Batched] {
            let case = case(kind, EncoderKind::Shared, ONEHOT);
            let steep = TrainConfig { lr: 1e30, warmup_steps: 0, ..CONFIG };
            let mut trainer = trainer(case, &CPU, steep).engine(engine);
            let error = trainer.steps(STEPS).unwrap_err();
            assert!(matches!(error, TrainError::Diverged { .. }), "{kind:?}: {error}");
        }
    }
}

/// Where one call makes a whole epoch, a training stops after the epoch, and a resume gives the same weights.
#[test]
fn a_training_stops_after_an_epoch_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = new_run(&folder.path().join("whole"));
    let done = take_part(&whole, &CPU, Engine::Batched, u32::MAX);
    assert!(matches!(done, Outcome::Finished(_)), "{done:?}");
    let parted = new_run(&folder.path().join("parted"));
    let stopped = take_part(&parted, &CPU, Engine::Batched, STEPS_PER_EPOCH + 1);
    assert_eq!(stopped, Outcome::Stopped { epoch: 2, step: 0 });
    let done = take_part(&parted, &CPU, Engine::Batched, u32::MAX);
    assert!(matches!(done, Outcome::Finished(_)), "{done:?}");
    assert!(model(&whole) == model(&parted));
}

/// Weights and moments are converted in both directions: a training may change between the forms, as when it moves from a GPU
/// to a CPU.
#[test]
fn a_training_may_change_between_the_forms() {
    let case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
    let (expected, _) = trained(case, &[(THREADS, STEPS)]);
    for plan in [
        // A stacked copy must not be used again after the blocks were trained one by one.
        [(Engine::Batched, 5), (THREADS, 5), (Engine::Batched, 10)],
        [(THREADS, 5), (Engine::Batched, 5), (THREADS, 10)],
    ] {
        let (found, _) = trained(case, &plan);
        let (parameter, most) = distance(&found, &expected);
        assert!(most < TOLERANCE, "{plan:?}: {parameter} is {most:e} apart");
    }
}

/// A process that trains only some of the blocks does not stack them.
#[test]
fn a_part_of_the_blocks_is_trained_one_by_one() {
    let case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
    let trainer = trainer(case, &CPU, CONFIG).engine(Engine::Batched);
    let first = trainer.units()[0];
    let only = trainer.only(&[first]).steps(5).unwrap();
    assert_eq!(only.len(), 5);
    assert!(only.iter().flatten().all(|report| report.losses.len() == 1), "one block's losses");
}
