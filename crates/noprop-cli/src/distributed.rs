//! `noprop train --distributed`: this process among those that train with it.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use noprop_method::Denoiser;
use noprop_train::{OneRank, Ranks, RunDirectory, Unit};

use crate::args::{Command, Distributed, Train};
#[cfg(feature = "mpi")]
use crate::mpi::Mpi;
use crate::output::note;
use crate::task::Task;
use crate::train;

/// The processes that were started together: one, unless `--distributed` says otherwise.
pub struct Job {
    #[cfg(feature = "mpi")]
    mpi: Option<Arc<Mpi>>,
    ranks: Arc<dyn Ranks>,
}

impl Job {
    /// Finds the others, if the command has any.
    pub fn start(command: &Command) -> Result<Self> {
        let distributed = match command {
            Command::Train(args) => args.distributed,
            _ => None,
        };
        Self::over(distributed)
    }

    #[cfg(feature = "mpi")]
    fn over(distributed: Option<Distributed>) -> Result<Self> {
        let mpi = match distributed {
            Some(Distributed::Mpi) => Some(Arc::new(Mpi::start()?)),
            None => None,
        };
        let ranks: Arc<dyn Ranks> = match &mpi {
            Some(mpi) => Arc::clone(mpi) as _,
            None => Arc::new(OneRank),
        };
        Ok(Self { mpi, ranks })
    }

    #[cfg(not(feature = "mpi"))]
    fn over(distributed: Option<Distributed>) -> Result<Self> {
        match distributed {
            Some(Distributed::Mpi) => anyhow::bail!(
                "this noprop was built without the feature mpi, which --distributed mpi needs: build it with cargo build --release --features mpi (docs/scale-out.md)"
            ),
            None => Ok(Self { ranks: Arc::new(OneRank) }),
        }
    }

    /// Those who train together.
    pub fn peers(&self) -> &Arc<dyn Ranks> {
        &self.ranks
    }

    /// Lets rank 0 speak: what is wrong for all, such as a setting, is then said once, since its abort ends the others.
    pub fn before_failing(&self) {
        if !self.peers().is_first() {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let _ = write!(std::io::stderr(), "rank {}: ", self.peers().rank());
        }
    }

    /// Ends every process of the job, if there are others: they would wait for this one for ever.
    pub fn abort(&self, exit_code: u8) {
        #[cfg(feature = "mpi")]
        if let Some(mpi) = &self.mpi {
            mpi.abort(exit_code);
        }
        let _ = exit_code;
    }
}

/// Says so if a training has no shares to give: any number of processes makes it no faster than one.
pub fn warn_of_no_shares(network: &dyn Denoiser, task: &Task, peers: &dyn Ranks) {
    let whole = |unit: &Unit| matches!(unit, Unit::EndToEnd { .. } | Unit::InTurn { .. });
    let units = Unit::of(network, &*task.objective, task.config.order.into());
    if !peers.is_single() && peers.is_first() && units.iter().any(whole) {
        note!(
            "warning: these blocks are trained through each other or in turn, so each of the {} processes makes every step whole: one alone is as fast",
            peers.size()
        );
    }
}

/// The run that is to be written. Of several processes the first makes it, once all are known to want the same.
pub fn create(
    args: &Train,
    peers: &dyn Ranks,
    (task, config): (&Task, &str),
) -> Result<RunDirectory> {
    let out = args.out.as_ref().context(
        "--distributed needs --out DIR, the run that all processes share, or --resume RUN",
    )?;
    agree(peers, config)?;
    let made = match peers.is_first() {
        true => {
            let settings = (&task.config.dataset, config);
            Some(train::create(out, train::existing(args), settings, &task.record)?)
        }
        false => None,
    };
    // It is there for the others from here on.
    peers.any(false)?;
    match made {
        Some(run) => Ok(run),
        None => Ok(RunDirectory::open(out)?),
    }
}

/// Checks that all processes were given the same settings.
fn agree(peers: &dyn Ranks, config: &str) -> Result<()> {
    let mine: Vec<f32> = config.bytes().map(f32::from).collect();
    let all = peers.gather(mine.clone())?;
    let other = all.iter().position(|theirs| *theirs != mine);
    ensure!(
        other.is_none(),
        "rank {} was started with other settings or data than rank {}: all need the same",
        other.unwrap_or_default(),
        peers.rank()
    );
    Ok(())
}
