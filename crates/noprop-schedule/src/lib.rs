//! Noise schedules of diffusion models as plain f64 mathematics.
//!
//! A schedule says how much of the signal is left at each noise level: `alpha_bar(t)` (ᾱ_t) is the
//! signal's share of the variance, 0 at t = 0 (pure noise) and close to 1 at t = T (nearly clean).
//! Everything a sampler or a loss needs follows from it: the signal-to-noise ratio, the weights of
//! the denoising loss, the coefficients of the Gaussian posterior and the divergence from the prior.
//!
//! **One design decision:** a [`Schedule`] cannot be built unless
//! 0 ≤ ᾱ_0 < ᾱ_1 < … < ᾱ_T < 1. A schedule that runs backwards is the classic fault of NoProp
//! implementations (it makes every SNR weight negative), so it is ruled out by construction
//! rather than checked at the places of use.
//!
//! There are no tensors here and no dependencies on the rest of the workspace: the crate can be used
//! by anything that needs a noise schedule.
//!
//! ```
//! use noprop_schedule::{Schedule, ScheduleKind};
//!
//! let schedule = Schedule::new(ScheduleKind::Cosine, 10)?;
//! assert_eq!(schedule.alpha_bar(0), 0.0);
//! // Feeding the clean signal to every step must end at the schedule's own clean end (Eq. 3).
//! let mut mean = 0.0;
//! for t in 1..=schedule.steps() {
//!     let step = schedule.posterior(t);
//!     mean = step.a * 1.0 + step.b * mean;
//! }
//! assert!((mean - schedule.alpha_bar(10).sqrt()).abs() < 1e-12);
//! # Ok::<(), noprop_schedule::ScheduleError>(())
//! ```
//!
//! Equation numbers are those of Li, Teh and Pascanu, *NoProp*, arXiv 2503.24322v1.

mod error;
mod kind;
mod posterior;
mod schedule;

pub use error::ScheduleError;
pub use kind::ScheduleKind;
pub use posterior::Posterior;
pub use schedule::{MAX_STEPS, Schedule, kl_to_prior};
