//! Figures from plain series and images, as PNG and SVG.
//!
//! | file | what it draws |
//! | --- | --- |
//! | `error_over_time.rs` | how the errors of several trainings fall with time |
//! | `loss_curves.rs` | the loss of every block over epochs |
//! | `accuracy_over_steps.rs` | what more steps of a solver are worth |
//! | `accuracy_over_time.rs` | how the accuracies of several trainings rise with time |
//! | `accuracy_dots.rs` | accuracies beside reported ones |
//! | `accuracy_curve.rs` | validation accuracy over epochs, the chosen epoch, the test accuracy |
//! | `schedule_figure.rs` | a noise schedule: signal share, SNR, loss weights |
//! | `sample_grid.rs` | images with predicted and true labels |
//! | `prototypes.rs` | what each class's embedding was, became, and what changed |
//! | `confusion_matrix.rs` | which classes are taken for which |
//! | `per_block_accuracy.rs` | accuracy after each block |
//! | `denoising_path.rs` | class probabilities along the chain of blocks |
//! | `ratio_bars.rs` | ratios, each with the bound that it is to keep |
//!
//! Names of classes and runs come from others. `font.rs` leaves out what the font cannot draw and what does not fit, and
//! `class_label.rs` puts a number beside names that lose something by it, so that they stay apart.
//!
//! **One design decision:** a figure is plain data that knows how to draw itself on any surface, so that PNG and SVG are
//! the same figure, and the crate knows nothing of training. Its font comes with it: the same data give the same bytes on
//! every machine.
//!
//! ```
//! use noprop_plot::{PerBlockAccuracy, save};
//!
//! let figure = PerBlockAccuracy {
//!     title: "Accuracy after each block".into(),
//!     per_block: vec![0.981, 0.992, 0.993],
//!     whole_chain: 0.9938,
//! };
//! let folder = std::env::temp_dir();
//! let [png, svg] = save(&figure, &folder.join("per-block-accuracy"))?;
//! assert!(png.is_file() && svg.is_file());
//! # Ok::<(), noprop_plot::PlotError>(())
//! ```

mod accuracy_curve;
mod accuracy_dots;
mod accuracy_over_steps;
mod accuracy_over_time;
mod axis;
mod class_label;
mod confusion_matrix;
mod denoising_path;
mod error;
mod error_over_time;
mod figure;
mod font;
mod loss_curves;
mod panel;
mod per_block_accuracy;
mod picture;
mod prototypes;
mod ratio_bars;
mod sample_grid;
mod schedule_figure;
mod series;
mod style;

pub use accuracy_curve::AccuracyCurve;
pub use accuracy_dots::{AccuracyDots, Dot, DotRow};
pub use accuracy_over_steps::AccuracyOverSteps;
pub use accuracy_over_time::AccuracyOverTime;
pub use confusion_matrix::ConfusionMatrix;
pub use denoising_path::{DenoisingPath, PathSample};
pub use error::PlotError;
pub use error_over_time::ErrorOverTime;
pub use figure::{Canvas, Figure, save};
pub use loss_curves::LossCurves;
pub use per_block_accuracy::PerBlockAccuracy;
pub use picture::{Picture, Placed};
pub use prototypes::{Prototype, Prototypes};
pub use ratio_bars::{RatioBar, RatioBars};
pub use sample_grid::{Sample, SampleGrid};
pub use schedule_figure::ScheduleFigure;
pub use series::Series;
