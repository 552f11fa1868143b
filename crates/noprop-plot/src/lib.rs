//! Figures from plain data, as PNG and SVG.
//!
#![doc = include_str!("../README.md")]

mod accuracy_curve;
mod accuracy_dots;
mod axis;
mod canvas;
mod class_label;
mod confusion_matrix;
mod denoising_path;
mod error;
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
pub use canvas::Canvas;
pub use confusion_matrix::ConfusionMatrix;
pub use denoising_path::{DenoisingPath, PathSample};
pub use error::PlotError;
pub use figure::{Figure, save};
pub use loss_curves::LossCurves;
pub use per_block_accuracy::PerBlockAccuracy;
pub use picture::{Picture, Placed};
pub use prototypes::{Prototype, Prototypes};
pub use ratio_bars::{RatioBar, RatioBars};
pub use sample_grid::{Sample, SampleGrid};
pub use schedule_figure::ScheduleFigure;
pub use series::{Series, SeriesAxes, SeriesFigure};
