//! How many threads the whole process computes with.
//!
//! Our kernels and candle's matrix products run on rayon's global pool; candle's element-wise ops have a pool of their
//! own. Both read their size from the environment when they start, so it has to be said before the first tensor.
//!
//! candle's pool is set to one thread: between two of its ops its workers wait actively, and take a core away from the
//! kernels (a training step on two cores took 15 ms with its two threads, 12 ms with one).
//!
//! A program that does its work inside [`rayon::scope`] runs on a thread of the pool and hands work over at less cost.
//!
//! There is one level of parallelism at a time: an op shares its work among the threads, unless it runs inside
//! [`side_by_side`], where every thread has a task of its own and its ops stay on it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the number of threads could not be set.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// Other threads exist, so changing the environment could race with them reading it.
    #[error(
        "the number of compute threads must be set before any other thread starts, but {running} are running; \
         set RAYON_NUM_THREADS and CANDLE_NUM_THREADS in the environment instead"
    )]
    TooLate {
        /// Threads in the process.
        running: usize,
    },
    /// The thread pool could not be started.
    #[error("could not start the thread pool: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
}

/// Makes the whole process compute with `threads` threads. Call it first thing in `main`.
///
/// Sets `RAYON_NUM_THREADS` to `threads` and `CANDLE_NUM_THREADS` to 1 for the process and its children, and starts
/// rayon's global pool.
/// Results do not depend on the number.
///
/// # Errors
/// [`ThreadsError::TooLate`] when other threads exist (checked on Linux), [`ThreadsError::Pool`] when the pool exists
/// already or cannot start.
pub fn configure(threads: NonZeroUsize) -> Result<(), ThreadsError> {
    if let Some(running) = running_threads()
        && running > 1
    {
        return Err(ThreadsError::TooLate { running });
    }
    set_for_process("RAYON_NUM_THREADS", &threads.to_string());
    set_for_process("CANDLE_NUM_THREADS", "1");
    rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global()?;
    Ok(())
}

#[expect(unsafe_code, reason = "candle reads its pool size from the environment only")]
fn set_for_process(name: &str, value: &str) {
    // SAFETY: the environment may only be changed while no other thread reads it. On Linux this is the only thread,
    // as the caller has just checked; elsewhere `configure` is documented as the first thing in `main`.
    unsafe { std::env::set_var(name, value) }
}

/// Threads of this process, where the system says.
fn running_threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

thread_local! {
    /// Whether this thread runs a task of [`side_by_side`].
    static ON_ITS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// How many tasks run at a time in [`side_by_side`]. Results do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    /// One a thread where there are tasks enough to keep all threads busy, else one.
    #[default]
    Auto,
    /// So many, with the threads split among them; never more than there are threads.
    Exactly(NonZeroUsize),
}

impl Workers {
    /// How many for so many tasks on so many threads.
    fn of(self, tasks: usize, threads: usize) -> usize {
        match self {
            Self::Auto => {
                let rounds = tasks.div_ceil(threads);
                // Four fifths of the threads' time in use.
                if 5 * tasks < 4 * rounds * threads { 1 } else { threads }
            }
            Self::Exactly(workers) => workers.get().min(threads).min(tasks).max(1),
        }
    }
}

/// Runs `f` on every task and returns the results in the order of `tasks`. See [`fold_side_by_side`].
pub fn side_by_side<T: Send, R: Send>(
    workers: Workers,
    tasks: Vec<T>,
    f: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let mut results = Vec::with_capacity(tasks.len());
    fold_side_by_side(workers, tasks, f, |result| results.push(result));
    results
}

/// Runs `f` on every task and gives the results to `fold` one by one, in the order of `tasks`, each as soon as those before it
/// are there: of tasks of like size hardly more results are ever held than there are workers.
///
/// Each worker takes one task at a time. A worker with one thread does not share the loops of its ops: no thread waits for another,
/// and what a task touches stays in its core's cache. A single worker has all threads. `fold` must not share its own work
/// among threads.
pub fn fold_side_by_side<T: Send, R: Send>(
    workers: Workers,
    tasks: Vec<T>,
    f: impl Fn(T) -> R + Sync,
    mut fold: impl FnMut(R) + Send,
) {
    let threads = rayon::current_num_threads();
    let workers = workers.of(tasks.len(), threads);
    if workers == 1 || ON_ITS_OWN.get() {
        tasks.into_iter().map(f).for_each(fold);
        return;
    }
    let queue = Mutex::new(tasks.into_iter().enumerate());
    let results = Mutex::new(InOrder { next: 0, early: BTreeMap::new(), fold: &mut fold });
    let work = || {
        loop {
            let task = locked(&queue).next();
            let Some((number, task)) = task else { return };
            let result = f(task);
            locked(&results).take(number, result);
        }
    };
    match teams(workers, threads) {
        None => {
            rayon::broadcast(|_| {
                let _alone = Alone::begin();
                work();
            });
        }
        Some(teams) => std::thread::scope(|scope| {
            for team in teams.iter() {
                scope.spawn(|| team.install(work));
            }
        }),
    }
}

/// Pools of threads for `workers` workers that have more than one thread each; none where each has one, or where the system
/// gives no more threads. Kept, since a step is over in milliseconds.
fn teams(workers: usize, threads: usize) -> Option<Arc<Vec<rayon::ThreadPool>>> {
    type Kept = BTreeMap<(usize, usize), Arc<Vec<rayon::ThreadPool>>>;
    static KEPT: Mutex<Kept> = Mutex::new(BTreeMap::new());
    if workers == threads {
        return None;
    }
    let mut kept = locked(&KEPT);
    if let Some(teams) = kept.get(&(workers, threads)) {
        return Some(Arc::clone(teams));
    }
    let size = |worker: usize| threads / workers + usize::from(worker < threads % workers);
    let team = |worker| rayon::ThreadPoolBuilder::new().num_threads(size(worker)).build();
    let teams = Arc::new((0..workers).map(team).collect::<Result<Vec<_>, _>>().ok()?);
    kept.insert((workers, threads), Arc::clone(&teams));
    Some(teams)
}

/// Results on their way to `fold`.
struct InOrder<R, F> {
    /// The number of the result that `fold` gets next.
    next: usize,
    /// Results that came before their turn.
    early: BTreeMap<usize, R>,
    fold: F,
}

impl<R, F: FnMut(R)> InOrder<R, F> {
    fn take(&mut self, number: usize, result: R) {
        self.early.insert(number, result);
        while let Some(result) = self.early.remove(&self.next) {
            self.next += 1;
            (self.fold)(result);
        }
    }
}

/// A panic in a task ends them all and is handed on: what the lock holds is not looked at again.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many elements of an op's own loop a thread takes at least: all of them inside [`side_by_side`].
pub(crate) fn grain() -> usize {
    if ON_ITS_OWN.get() { usize::MAX } else { 1 }
}

/// Marks the thread, until dropped.
struct Alone;

impl Alone {
    fn begin() -> Self {
        ON_ITS_OWN.set(true);
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        ON_ITS_OWN.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inside, an op's loop must stay on the thread of its task; afterwards it is shared again, even after a panic.
    #[test]
    fn tasks_side_by_side_do_not_share_their_loops() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            let grains = side_by_side(Workers::Auto, vec![1, 2, 3, 4], |task| (task, grain()));
            assert_eq!(grains, [1, 2, 3, 4].map(|task| (task, usize::MAX)));
            assert_eq!(grain(), 1);
            let panics = std::panic::catch_unwind(|| {
                side_by_side(Workers::Auto, vec![1, 2], |_| panic!("task"))
            });
            assert!(panics.is_err());
            assert_eq!(grain(), 1);
            // One task for two threads: better all threads on it.
            assert_eq!(side_by_side(Workers::Auto, vec![()], |()| grain()), [1]);
        });
    }

    /// Two workers of three threads: one has two threads to share loops among, and all tasks are done once.
    #[test]
    fn workers_split_the_threads_among_them() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let two = Workers::Exactly(NonZeroUsize::new(2).unwrap());
        let task = |task: usize| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            (task, rayon::current_num_threads())
        };
        let done = pool.install(|| side_by_side(two, (0..20).collect(), task));
        assert_eq!(
            done.iter().map(|(task, _)| *task).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
        let mut sizes: Vec<usize> = done.iter().map(|(_, threads)| *threads).collect();
        sizes.sort_unstable();
        sizes.dedup();
        assert_eq!(sizes, [1, 2]);
        let counts = |workers, tasks, threads| Workers::of(workers, tasks, threads);
        assert_eq!((counts(two, 10, 8), counts(two, 1, 8), counts(two, 10, 1)), (2, 1, 1));
        assert_eq!((counts(Workers::Auto, 10, 2), counts(Workers::Auto, 1, 2)), (2, 1));
    }

    /// Sums in the order in which threads happen to finish would differ in their last bits from run to run.
    #[test]
    fn results_are_folded_in_the_order_of_their_tasks() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let mut folded = Vec::new();
        pool.install(|| {
            let late_first = |task: u64| {
                std::thread::sleep(std::time::Duration::from_millis(20 - 2 * task));
                task
            };
            fold_side_by_side(Workers::Auto, (0..9).collect(), late_first, |task| {
                folded.push(task)
            });
        });
        assert_eq!(folded, (0..9).collect::<Vec<_>>());
    }

    /// The test harness has threads of its own, so a change of the environment must be refused, and not made.
    #[test]
    #[cfg(target_os = "linux")]
    fn refuses_once_other_threads_run() {
        let other = std::thread::spawn(std::thread::park);
        let refused = configure(NonZeroUsize::MIN);
        assert!(matches!(refused, Err(ThreadsError::TooLate { running }) if running > 1));
        other.thread().unpark();
        other.join().unwrap();
    }
}
