//! `noprop train --distributed`: this process among those that train with it.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use noprop_train::{OneRank, Ranks};

use crate::args::{Command, Distributed};

/// The processes that were started together: one without `--distributed`.
pub struct Job {
    #[cfg(feature = "mpi")]
    mpi: Option<Arc<noprop_train::Mpi>>,
    ranks: Arc<dyn Ranks>,
}

impl Job {
    /// Finds the others, if the command has any.
    pub fn start(command: &Command) -> Result<Self> {
        match command {
            Command::Train(args) if args.distributed == Some(Distributed::Mpi) => Self::over_mpi(),
            _ => Ok(Self {
                #[cfg(feature = "mpi")]
                mpi: None,
                ranks: Arc::new(OneRank),
            }),
        }
    }

    #[cfg(feature = "mpi")]
    fn over_mpi() -> Result<Self> {
        let mpi = Arc::new(noprop_train::Mpi::start()?);
        let (rank, report) = (mpi.rank(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            let _ = write!(std::io::stderr(), "rank {rank}: ");
            report(panic);
        }));
        Ok(Self { ranks: Arc::clone(&mpi) as _, mpi: Some(mpi) })
    }

    #[cfg(not(feature = "mpi"))]
    fn over_mpi() -> Result<Self> {
        anyhow::bail!(
            "this noprop was built without the feature mpi, which --distributed mpi needs: build it with cargo build --release --features mpi (docs/scale-out.md)"
        )
    }

    /// The processes that train together.
    pub fn ranks(&self) -> &Arc<dyn Ranks> {
        &self.ranks
    }

    /// Waits for the error of rank 0: its abort ends the others, so an error of all, such as a wrong setting, is printed once.
    pub fn before_failing(&self) {
        if !self.ranks().is_first() {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let _ = write!(std::io::stderr(), "rank {}: ", self.ranks().rank());
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
