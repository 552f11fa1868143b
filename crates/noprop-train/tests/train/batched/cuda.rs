//! Training on a GPU: it makes the same steps as on the CPU, for every method, and a CPU can resume its state. Without a GPU
//! these tests report that they were skipped.

#![expect(clippy::print_stderr, reason = "reports skipped tests")]

use candle_core::{Device, Tensor};
use noprop_data::{Border, Change, Flipped, Hole};
use noprop_kernels::peak_device_memory;
use noprop_method::{EncoderKind, MethodKind};
use noprop_train::{Engine, Outcome, Workers};

use super::support::{
    CONFIG, STEPS_PER_EPOCH, assert_close, images, losses_by_part, take_part, trainer,
};
use crate::case::{ONEHOT, case};
use crate::support::{CPU, new_run};

/// The tolerance: rounding errors of f32 that grow over 20 steps.
const TOLERANCE: f64 = 1e-3;

fn gpu() -> Option<Device> {
    match noprop_kernels::cuda_device(0) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("skipped, for there is no GPU: {error}");
            None
        }
    }
}

/// Returns the loss of every part in each of 20 steps.
fn losses(
    kind: MethodKind,
    encoder: EncoderKind,
    device: &Device,
    engine: Engine,
) -> Vec<Vec<(String, f64)>> {
    let mut trainer = trainer(case(kind, encoder, ONEHOT), device, CONFIG).engine(engine);
    (0..4).flat_map(|_| losses_by_part(&mut trainer, 5)).collect()
}

#[test]
fn every_method_follows_the_cpu_over_20_steps() {
    let Some(gpu) = gpu() else { return };
    let (shared, per_block) = (EncoderKind::Shared, EncoderKind::PerBlock);
    for (kind, encoder, engine) in [
        (MethodKind::DT, per_block, Engine::Batched),
        (MethodKind::DT, shared, Engine::Batched),
        (MethodKind::DT, EncoderKind::Frozen, Engine::Batched),
        (MethodKind::DT, per_block, Engine::Threads(Workers::Auto)),
        (MethodKind::CT, shared, Engine::Batched),
        (MethodKind::FM, shared, Engine::Batched),
        (MethodKind::BACKPROP, shared, Engine::Batched),
        (MethodKind::ADJOINT, shared, Engine::Batched),
    ] {
        let expected = losses(kind, encoder, &CPU, Engine::Threads(Workers::Auto));
        let found = losses(kind, encoder, &gpu, engine.clone());
        assert_close(&format!("{kind:?} {encoder:?} {engine:?}"), &found, &expected, TOLERANCE);
    }
}

/// Augmentation uses another implementation on a GPU.
#[test]
fn images_are_changed_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let rows: Vec<u32> = (0..24).rev().collect();
    let change = |i: isize| Change {
        flipped: if i % 3 == 0 { Flipped::Yes } else { Flipped::No },
        down: i % 7 - 3,
        right: i % 5 - 2,
        border: if i % 2 == 0 { Border::Black } else { Border::Mirrored },
        hole: (i % 4 > 0).then_some(Hole { top: i - 2, left: 20 - i, side: 9 }),
        ..Change::default()
    };
    let changes: Vec<Change> = (0..24).map(change).collect();
    let there = images(&gpu);
    let placed = there.place_changed(&rows, &changes).unwrap();
    let (found, labels) = there.placed_batch(&placed, 8..24).unwrap();
    let (expected, expected_labels) =
        images(&CPU).changed_batch(&rows[8..], &changes[8..]).unwrap();
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // The division by 255 rounds differently on a GPU.
    for (found, expected) in values(&found).into_iter().zip(values(&expected)) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert_eq!(labels.to_vec1::<u32>().unwrap(), expected_labels.to_vec1::<u32>().unwrap());
}

/// A saved state does not depend on the device: a training begins on a GPU, resumes on a CPU, and ends on the GPU.
#[test]
fn a_state_goes_from_one_device_to_the_other() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(&folder.path().join("run"));
    let stopped = take_part(&run, &gpu, Engine::Batched, STEPS_PER_EPOCH + 1);
    assert_eq!(stopped, Outcome::Stopped { epoch: 2, step: 0 });
    let stopped = take_part(&run, &CPU, Engine::Threads(Workers::Auto), 1);
    assert_eq!(stopped, Outcome::Stopped { epoch: 2, step: 1 });
    let done = take_part(&run, &gpu, Engine::Batched, u32::MAX);
    assert!(matches!(done, Outcome::Finished(_)), "{done:?}");
    // The parameters use GPU memory.
    assert!(peak_device_memory(&gpu).is_some_and(|bytes| bytes > 0));
}
