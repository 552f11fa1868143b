//! Figures of a training. Nothing is drawn yet.
