//! The threads that the whole process computes with.
//!
//! The kernels and candle's matrix products run on rayon's global pool; candle's element-wise ops have their own pool. Both
//! read their size from the environment when they start, so it must be set before the first tensor is made.
//!
//! candle's pool is set to one thread: its workers wait actively between two ops and take a core away from the kernels (a
//! training step on two cores took 15 ms with its two threads, 12 ms with one).
//!
//! A program that does its work inside [`rayon::scope`] runs on a thread of the pool and shares work at less cost.
//!
//! There is one level of parallelism at a time: an op shares its work among the threads, unless it runs inside
//! [`side_by_side`], where every thread has its own task and the ops of a task stay on its thread.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The reason why the number of threads could not be set.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// Other threads exist, so changing the environment could race with them reading it.
    #[error(
        "the number of compute threads must be set before any other thread starts, but {running} are running; \
         set RAYON_NUM_THREADS and CANDLE_NUM_THREADS in the environment instead"
    )]
    TooLate {
        /// The number of threads in the process.
        running: usize,
    },
    /// The thread pool could not be started.
    #[error("could not start the thread pool: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
}

/// Makes the whole process compute with `threads` threads. Call it at the start of `main`.
///
/// Sets `RAYON_NUM_THREADS` to `threads` and `CANDLE_NUM_THREADS` to 1 for the process and its children, and starts rayon's
/// global pool. Results do not depend on the number.
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

/// Returns the number of threads that the process computes with.
pub fn count() -> usize {
    rayon::current_num_threads()
}

#[expect(unsafe_code, reason = "candle reads its pool size from the environment only")]
fn set_for_process(name: &str, value: &str) {
    // SAFETY: the environment may only be changed while no other thread reads it. On Linux this is the only thread,
    // as the caller has just checked; elsewhere `configure` is documented to be called at the start of `main`.
    unsafe { std::env::set_var(name, value) }
}

/// The number of threads of this process, if the system reports it.
fn running_threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

thread_local! {
    /// `true` while this thread runs a task of [`side_by_side`].
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// The number of tasks that run at a time in [`side_by_side`]. Results do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    /// One for each thread if there are enough tasks to keep all threads busy, else one.
    #[default]
    Auto,
    /// This number, with the threads split among them; at most the number of threads.
    Exactly(NonZeroUsize),
}

impl Workers {
    /// The number of workers for `tasks` tasks on `threads` threads.
    fn of(self, tasks: usize, threads: usize) -> usize {
        match self {
            Self::Auto => {
                let rounds = tasks.div_ceil(threads);
                // Four fifths of the threads' time must be in use.
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

/// Runs `f` on every task and passes the results to `fold` one by one, in the order of `tasks`, each as soon as all results before
/// it are done. If tasks are of like size, few more results are held at a time than there are workers.
///
/// Each worker takes one task at a time. A worker with one thread does not share the loops of its ops: no thread waits for another,
/// and the memory of a task stays in its core's cache. A single worker has all threads. `fold` must not share its own work among
/// threads.
pub fn fold_side_by_side<T: Send, R: Send>(
    workers: Workers,
    tasks: Vec<T>,
    f: impl Fn(T) -> R + Sync,
    mut fold: impl FnMut(R) + Send,
) {
    let threads = rayon::current_num_threads();
    let workers = workers.of(tasks.len(), threads);
    if workers == 1 || IN_TASK.get() {
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
                let _marked = InTask::begin();
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

/// Pools of threads for `workers` workers with more than one thread each; `None` if each has one, or if the system provides no more
/// threads. The pools are kept, because a step takes only milliseconds.
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

/// Results that wait for their turn in `fold`.
struct InOrder<R, F> {
    /// The number of the next result for `fold`.
    next: usize,
    /// Results that were done before their turn.
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

/// Locks `mutex`, poisoned or not: a panic in a task ends all tasks and is passed on, and the value is not used again.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The least number of elements of an op's own loop that a thread takes: all of them inside [`side_by_side`].
pub(crate) fn grain() -> usize {
    if IN_TASK.get() { usize::MAX } else { 1 }
}

/// Marks the thread as running a task, until dropped.
struct InTask;

impl InTask {
    fn begin() -> Self {
        IN_TASK.set(true);
        Self
    }
}

impl Drop for InTask {
    fn drop(&mut self) {
        IN_TASK.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the one level of parallelism: inside a task an op's loop stays on its thread, and afterwards it is shared again,
    /// even after a panic.
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
            // One task for two threads gets both threads.
            assert_eq!(side_by_side(Workers::Auto, vec![()], |()| grain()), [1]);
        });
    }

    /// Protects the split of three threads among two workers: one has two threads for its loops, and every task is done once.
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

    /// Protects the order of sums. In the order in which threads happen to finish, their last bits would differ from run to run.
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

    /// Protects the environment against a change while other threads run, as in the test harness.
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
