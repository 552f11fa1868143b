//! The memory of a training step of the paper's image branch, now and many steps later.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::random::StreamKey;
use noprop_kernels::{Conv3x3, Dropout, Pool, conv3x3_stack};

/// The system's allocator, with its bytes counted.
struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller's guarantees are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's guarantees are those of the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Protects the memory of a step of the image branch (batch 128, two threads): 24 MB at most, where candle's own ops hold 150 to
/// 190, and no growth from step to step. Buffers that were taken from one pool and returned to another once grew for ever.
#[test]
fn a_step_stays_within_its_budget_for_ever() -> candle_core::Result<()> {
    let zeros = |shape: &[usize]| Var::zeros(shape, DType::F32, &Device::Cpu);
    let shapes = [(1, 32), (32, 64), (64, 128)];
    let parameters = shapes
        .iter()
        .map(|&(i, o)| Ok((zeros(&[1, o, i, 3, 3])?.into_inner(), zeros(&[1, o])?.into_inner())))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let x = Tensor::zeros((1, 128, 1, 28, 28), DType::F32, &Device::Cpu)?;
    let layers = [Pool::Max2, Pool::None, Pool::Max2]
        .into_iter()
        .map(|pool| {
            let dropout = Some(Dropout::new(0.2, vec![StreamKey(1)])?);
            Ok(Conv3x3 { pool, dropout, ..Conv3x3::default() })
        })
        .collect::<noprop_kernels::Result<Vec<_>>>()?;
    // Every thread has its own working buffers.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let pool = pool.map_err(candle_core::Error::wrap)?;
    let before = HELD.load(Relaxed);
    let mut peaks = Vec::new();
    for _ in 0..30 {
        PEAK.store(HELD.load(Relaxed), Relaxed);
        pool.install(|| {
            let y = conv3x3_stack(&layers, &x, &parameters)?;
            y.sum_all()?.backward().map(drop)
        })?;
        peaks.push(PEAK.load(Relaxed) - before);
    }
    let early = peaks[..10].iter().max().copied().unwrap_or_default();
    let late = peaks[20..].iter().max().copied().unwrap_or_default();
    assert!(late <= 24 << 20, "a step reaches {} bytes", late);
    // Tasks fall to other workers from step to step, and the buffers in use at once differ with that.
    assert!(late <= early + early / 4, "steps grew from {early} to {late} bytes");
    Ok(())
}
