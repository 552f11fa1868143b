//! How much memory a training step of the paper's image branch takes, and that it takes no more the next time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::random::StreamKey;
use noprop_kernels::{Conv3x3, Dropout, Pool, conv3x3_stack};

/// The system's allocator, counted.
struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: as the caller promised for us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised for us.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// One step of the image branch, batch 128, two threads: 24 MB at most (stock candle holds 150 to 190), and steps after the first few
/// hold and reach no more than those did. Buffers that were taken from one pool and given to another grew for ever.
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
    // Every thread has working buffers of its own.
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
    // Which worker takes which task differs from step to step, and with it the buffers in use at once.
    assert!(late <= early + early / 4, "steps grew from {early} to {late} bytes");
    Ok(())
}
