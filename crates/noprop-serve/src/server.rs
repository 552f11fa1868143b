//! The server: an address, and the loop that answers until it is asked to end.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use noprop_experiment::candle_core::Device;
use tokio::sync::watch;

use crate::access::Access;
use crate::connections::{self, Bounds};
use crate::error::ServeError;
use crate::models::Models;
use crate::request::Data;
use crate::routes;
use crate::runs::Runs;
use crate::site::Site;
use crate::trainer::Trainer;

/// The time that open connections have to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a server shows, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder whose runs are listed, and that new runs are written into. It need not be there.
    pub runs: PathBuf,
    /// A run to begin with.
    pub run: Option<PathBuf>,
    /// The folder that holds the data sets.
    pub data_dir: PathBuf,
    /// Folders of pictures that trainings may use.
    pub folders: Vec<PathBuf>,
    /// The name or the address by which other machines reach the server: then a token is needed. Without it the server is for this
    /// machine alone.
    pub host: Option<String>,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// The device that classifies and trains.
    pub device: Device,
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    site: Arc<Site>,
    stop: watch::Sender<bool>,
}

/// Asks a server to end, from any thread.
#[derive(Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Asks the server to end: a training saves and stops first.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Listens at the address.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if that cannot be, such as where another program listens already; [`ServeError::Token`].
    pub fn bind(options: Options) -> Result<Self, ServeError> {
        let Options { runs, run, data_dir, folders, host, port, device } = options;
        if runs.exists() && !runs.is_dir() {
            return Err(ServeError::NotAFolder(runs));
        }
        let name = host.as_deref().unwrap_or("127.0.0.1");
        let listening = |source| ServeError::Listen { address: format!("{name}:{port}"), source };
        let plain = name.trim_matches(['[', ']']);
        let listener = TcpListener::bind((plain, port)).map_err(listening)?;
        listener.set_nonblocking(true).map_err(listening)?;
        let port = listener.local_addr().map_err(listening)?.port();
        let access = Arc::new(Access::new(host.as_deref(), port)?);
        let models = Models::new(device.clone(), data_dir.clone());
        let data = Data { dir: data_dir, folders };
        let site = Site::new(access, Runs::new(runs, run), models, data, Trainer::new(device));
        Ok(Self { listener, site: Arc::new(site), stop: watch::Sender::new(false) })
    }

    /// The address for a browser, with the token if one is needed.
    pub fn address(&self) -> String {
        self.site.access.address()
    }

    /// The router, for a program that answers in its own way. Its requests must come from within a tokio runtime.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.site))
    }

    /// Asks this server to end.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Answers until it is asked to end. A training is then saved first; its pages see that.
    ///
    /// # Errors
    /// [`ServeError::Io`] if the operating system does not let it go on.
    pub fn run(self) -> Result<(), ServeError> {
        // One thread answers: the others are for classification and training.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let router = self.router();
        let Self { listener, site, stop } = self;
        let done = runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut asked = stop.subscribe();
            let ending = Arc::clone(&site);
            let end = async move {
                // The sender lives as long as this server.
                let _ = asked.wait_for(|asked| *asked).await;
                ending.end().await;
            };
            tokio::select! {
                () = connections::serve(listener, router, Bounds::default(), end) => {}
                () = async { site.ended().await; tokio::time::sleep(FAREWELL).await } => {}
            }
            Ok::<_, ServeError>(())
        });
        // Work that nobody waits for any more does not hold up the end.
        runtime.shutdown_background();
        done
    }
}
