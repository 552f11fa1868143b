//! Batched blocks compared with blocks that run one by one, on the CPU.

use noprop_method::{Denoiser as _, EncoderKind, MethodKind, Part, Seed};
use noprop_models::{Embedding, Network, NetworkConfig};
use noprop_train::{
    ClassWeights, Engine, Outcome, RunDirectory, TrainConfig, TrainError, Trainer, Workers,
};

use super::support::{
    CONFIG, CPU, STEPS_PER_EPOCH, config, images, losses_by_part, network, new_run, objective,
    take_part,
};

const LEARNED: Embedding = Embedding::Learned { dimension: 6 };
/// The number of steps. It is small enough that rounding errors have not grown much.
const STEPS: u32 = 20;
const TOLERANCE: f32 = 1e-4;
/// The tolerance of a loss. With one-hot embeddings losses agree to the bit, with learned embeddings to 1e-6. A gradient that
/// is wrong or missing changes the second digit of the loss in the second step.
const LOSS_TOLERANCE: f64 = 1e-5;

/// Trains with the engines of `plan`, one after the other. Returns the network, and the losses of every step by part.
fn trained(config: &NetworkConfig, plan: &[(Engine, u32)]) -> (Network, Vec<Vec<(String, f64)>>) {
    trained_by(MethodKind::DT, config, plan)
}

/// As [`trained`], with any method.
fn trained_by(
    kind: MethodKind,
    config: &NetworkConfig,
    plan: &[(Engine, u32)],
) -> (Network, Vec<Vec<(String, f64)>>) {
    let (images, network) = (images(&CPU), network(config, &CPU));
    let objective = objective(kind);
    let mut losses = Vec::new();
    {
        let mut trainer = Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap();
        for (engine, steps) in plan {
            trainer = trainer.engine(engine.clone());
            // Several calls, so that each begins with the parameters that the previous one wrote back.
            for _ in 0..*steps / 5 {
                losses.extend(losses_by_part(&mut trainer, 5));
            }
        }
    }
    (network, losses)
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
    for (name, compared, config) in [
        ("per-block", all, config(MethodKind::DT).encoder(EncoderKind::PerBlock)),
        ("shared", all, config(MethodKind::DT).encoder(EncoderKind::Shared)),
        ("frozen", all, config(MethodKind::DT).encoder(EncoderKind::Frozen)),
        ("learned", all, config(MethodKind::DT).encoder(EncoderKind::Shared).embedding(LEARNED)),
        (
            "prototype",
            4,
            config(MethodKind::DT).encoder(EncoderKind::Shared).embedding(Embedding::Prototype),
        ),
    ] {
        let (expected, expected_losses) =
            trained(&config, &[(Engine::Threads(Workers::Auto), STEPS)]);
        let (found, losses) = trained(&config, &[(Engine::Batched, STEPS)]);
        if expected.parameters().count(Part::Embedding) == 0 {
            let (parameter, most) = distance(&found, &expected);
            assert!(most < TOLERANCE, "{name}: {parameter} is {most:e} apart");
        }
        assert_eq!(losses.len(), STEPS as usize);
        for (losses, expected) in losses.iter().zip(&expected_losses).take(compared) {
            assert_eq!(losses.len(), expected.len(), "{name}: {losses:?} {expected:?}");
            for ((part, loss), (_, expected)) in losses.iter().zip(expected) {
                let error = (loss - expected).abs() / expected.abs().max(1.0);
                assert!(
                    error < LOSS_TOLERANCE,
                    "{name}: {part} has loss {loss}, one by one {expected}"
                );
            }
        }
    }
}

/// Class weights multiply the same losses in both forms.
#[test]
fn classes_are_balanced_alike_in_either_form() {
    let config = config(MethodKind::DT).encoder(EncoderKind::Shared);
    let losses = |engine, class_weights| {
        let (images, network) = (images(&CPU), network(&config, &CPU));
        let objective = objective(MethodKind::DT);
        let settings = TrainConfig { class_weights, ..CONFIG };
        let trainer = Trainer::new(&network, &*objective, &images, settings, Seed(1)).unwrap();
        losses_by_part(&mut trainer.engine(engine), 5)
    };
    let expected = losses(Engine::Threads(Workers::Auto), ClassWeights::Balanced);
    let found = losses(Engine::Batched, ClassWeights::Balanced);
    assert_ne!(expected, losses(Engine::Threads(Workers::Auto), ClassWeights::Uniform));
    for ((part, loss), (_, expected)) in found.iter().flatten().zip(expected.iter().flatten()) {
        let error = (loss - expected).abs() / expected.abs().max(1.0);
        assert!(error < LOSS_TOLERANCE, "{part} has loss {loss}, one by one {expected}");
    }
}

/// Methods without a batched form make the same steps, to the bit. Only the losses are read later.
#[test]
fn other_methods_take_the_same_steps() {
    for kind in [MethodKind::CT, MethodKind::FM, MethodKind::BACKPROP] {
        let config = config(kind).encoder(EncoderKind::Shared);
        let (expected, expected_losses) =
            trained_by(kind, &config, &[(Engine::Threads(Workers::Auto), STEPS)]);
        let (found, losses) = trained_by(kind, &config, &[(Engine::Batched, STEPS)]);
        assert_eq!(losses, expected_losses, "{kind:?}");
        assert_eq!(distance(&found, &expected), (String::new(), 0.0), "{kind:?}");
    }
}

/// Losses that are read late are checked as well.
#[test]
fn a_loss_that_is_no_number_ends_a_training_in_either_form() {
    for kind in [MethodKind::DT, MethodKind::CT] {
        for engine in [Engine::Threads(Workers::Auto), Engine::Batched] {
            let config = config(kind).encoder(EncoderKind::Shared);
            let (images, network) = (images(&CPU), network(&config, &CPU));
            let objective = objective(kind);
            let steep = TrainConfig { lr: 1e30, warmup_steps: 0, ..CONFIG };
            let trainer = Trainer::new(&network, &*objective, &images, steep, Seed(1)).unwrap();
            let mut trainer = trainer.engine(engine);
            let error = trainer.steps(STEPS).unwrap_err();
            assert!(matches!(error, TrainError::Diverged { .. }), "{kind:?}: {error}");
        }
    }
}

/// Where one call makes a whole epoch, a training stops after the epoch, and a resume gives the same weights.
#[test]
fn a_training_stops_after_an_epoch_and_goes_on() {
    let (_kept, whole) = new_run();
    let done = take_part(&whole, &CPU, Engine::Batched, u32::MAX);
    assert!(matches!(done, Outcome::Finished(_)), "{done:?}");
    let (_kept, parted) = new_run();
    let stopped = take_part(&parted, &CPU, Engine::Batched, STEPS_PER_EPOCH + 1);
    assert_eq!(stopped, Outcome::Stopped { epoch: 2, step: 0 });
    let done = take_part(&parted, &CPU, Engine::Batched, u32::MAX);
    assert!(matches!(done, Outcome::Finished(_)), "{done:?}");
    let bytes = |run: &RunDirectory| std::fs::read(run.model()).unwrap();
    assert!(bytes(&whole) == bytes(&parted));
}

/// Weights and moments are converted in both directions: a training may change between the forms, as when it moves from a GPU
/// to a CPU.
#[test]
fn a_training_may_change_between_the_forms() {
    let config = config(MethodKind::DT).encoder(EncoderKind::PerBlock);
    let (expected, _) = trained(&config, &[(Engine::Threads(Workers::Auto), STEPS)]);
    for plan in [
        // A stacked copy must not be used again after the blocks were trained one by one.
        [(Engine::Batched, 5), (Engine::Threads(Workers::Auto), 5), (Engine::Batched, 10)],
        [
            (Engine::Threads(Workers::Auto), 5),
            (Engine::Batched, 5),
            (Engine::Threads(Workers::Auto), 10),
        ],
    ] {
        let (found, _) = trained(&config, &plan);
        let (parameter, most) = distance(&found, &expected);
        assert!(most < TOLERANCE, "{plan:?}: {parameter} is {most:e} apart");
    }
}

/// A process that trains only some of the blocks does not stack them.
#[test]
fn a_part_of_the_blocks_is_trained_one_by_one() {
    let config = config(MethodKind::DT).encoder(EncoderKind::PerBlock);
    let (images, network) = (images(&CPU), network(&config, &CPU));
    let objective = objective(MethodKind::DT);
    let only = {
        let trainer = Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap();
        let units: Vec<_> = trainer.units().into_iter().take(1).collect();
        let mut trainer = trainer.only(&units).engine(Engine::Batched);
        trainer.steps(5).unwrap()
    };
    assert_eq!(only.len(), 5);
    assert!(only.iter().flatten().all(|report| report.losses.len() == 1), "one block's losses");
}
